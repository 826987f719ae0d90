"""Shape what an alarm tells as CloudWatch tells EventBridge.

Field by field after the sample events in "Alarm events and EventBridge" of the CloudWatch User Guide; what is only
known of CloudWatch's own metrics is not there.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Literal

from triggerhub.aws import arn
from triggerhub.aws.eventbridge import stamp
from triggerhub.model import Millis

Value = Literal["OK", "ALARM"]
_NAMESPACE = uuid.UUID("9a4c2f4e-6a57-5d0c-8f0e-2f3f8f1a7b61")


def alarm_state_change(
    *, name: str, state: Value, previous: Value, reason: str, since: Millis, time: Millis, description: str
) -> bytes:
    """Return the event as JSON, ASCII only; *since* is when the previous state began."""
    return json.dumps(
        {
            "version": "0",
            "id": str(uuid.uuid5(_NAMESPACE, f"{name}:{state}:{time}")),
            "detail-type": "CloudWatch Alarm State Change",
            "source": "aws.cloudwatch",
            "account": arn.ACCOUNT,
            "time": stamp(time),
            "region": arn.REGION,
            "resources": [arn.alarm(name)],
            "detail": {
                "alarmName": name,
                "state": {"value": state, "reason": reason, "timestamp": _precise(time)},
                "previousState": {"value": previous, "timestamp": _precise(since)},
                "configuration": {"description": description},
            },
        },
        separators=(",", ":"),
    ).encode("ascii")


def _precise(time: Millis) -> str:
    moment = datetime.fromtimestamp(time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{time % 1000:03d}+0000"
