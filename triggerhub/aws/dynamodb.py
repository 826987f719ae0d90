"""Shape the records of DynamoDB streams as Lambda's event source mapping hands them to a function.

Field by field after "Using Lambda with Amazon DynamoDB" of the Lambda Developer Guide. The API has the same
names but for ``userIdentity``; binary values are base64 in JSON, and moments are numbers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triggerhub.model import Millis


def record(given: Mapping[str, Any], *, stream_arn: str, region: str) -> bytes:
    """Return one record of GetRecords, as botocore gives it, as JSON, ASCII only."""
    change: dict[str, Any] = {**given["dynamodb"]}
    created = change.get("ApproximateCreationDateTime")
    if isinstance(created, datetime):
        change["ApproximateCreationDateTime"] = _number(created)
    shaped: dict[str, Any] = {
        "eventID": given["eventID"],
        "eventName": given["eventName"],
        "eventVersion": given.get("eventVersion", "1.1"),
        "eventSource": "aws:dynamodb",
        "awsRegion": region,
        "dynamodb": change,
        "eventSourceARN": stream_arn,
    }
    if identity := given.get("userIdentity"):
        shaped["userIdentity"] = {"type": identity.get("Type"), "principalId": identity.get("PrincipalId")}
    return json.dumps(shaped, separators=(",", ":"), default=_text).encode("ascii")


def key(given: Mapping[str, Any]) -> str:
    """Return a text that is the item's own: its key, both parts."""
    return json.dumps(given["dynamodb"].get("Keys", {}), separators=(",", ":"), sort_keys=True, default=_text)


def arrived(given: Mapping[str, Any]) -> Millis:
    """Return when the change was made: DynamoDB says it to the second."""
    created = given["dynamodb"].get("ApproximateCreationDateTime")
    return int(created.timestamp() * 1000) if isinstance(created, datetime) else 0


def _number(moment: datetime) -> float:
    seconds = moment.timestamp()
    return int(seconds) if seconds == int(seconds) else seconds


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"a record of a stream has a {type(value).__name__}, which is no JSON")
