"""Shape the event of a schedule as an EventBridge rule sends it.

Field by field after the example in "Invoke Lambda on a schedule" of the Lambda Developer Guide.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from triggerhub.aws.arn import ACCOUNT, REGION
from triggerhub.model import Millis


def scheduled(*, event_id: str, time: Millis, rule_arn: str) -> bytes:
    """Return the event as JSON, ASCII only; *time* is shown to the second, the region is the ARN's."""
    return json.dumps(
        {
            "version": "0",
            "id": event_id,
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": stamp(time),
            "region": rule_arn.split(":")[3] or REGION,
            "resources": [rule_arn],
            "detail": {},
        },
        separators=(",", ":"),
    ).encode("ascii")


def stamp(time: Millis) -> str:
    """Write a moment as EventBridge does: ``2019-03-01T01:23:45Z``."""
    return datetime.fromtimestamp(time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
