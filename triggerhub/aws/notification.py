"""Find S3's records in what a queue is sent: by the bucket itself, by SNS, or by EventBridge.

After "Event message structure" of the Amazon S3 User Guide, "Amazon SNS message and JSON formats", and "Amazon S3
event structure" of EventBridge. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triggerhub.aws import s3
from triggerhub.model import Json, Millis

_NAMES = {
    "PutObject": "ObjectCreated:Put",
    "POST Object": "ObjectCreated:Post",
    "CopyObject": "ObjectCreated:Copy",
    "CompleteMultipartUpload": "ObjectCreated:CompleteMultipartUpload",
    "DeleteObject": "ObjectRemoved:Delete",
    "Lifecycle Expiration": "LifecycleExpiration:Delete",
}
"""EventBridge's reasons, in S3's own words."""
_MARKER = {
    "DeleteObject": "ObjectRemoved:DeleteMarkerCreated",
    "Lifecycle Expiration": "LifecycleExpiration:DeleteMarkerCreated",
}
_DEEP = 4
"""Envelopes within one another: SNS within SNS is possible, more is a mistake."""


def records(body: str) -> list[dict[str, Any]]:
    """Return the records of a message; none of a test event. ValueError where it is no notification of S3."""
    value: Json = body
    for _ in range(_DEEP):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise ValueError("it is not JSON") from None
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        if value.get("Event") == "s3:TestEvent":
            return []
        if isinstance(found := value.get("Records"), list):
            return [_checked(_writable(one)) for one in found]
        if value.get("source") == "aws.s3" and isinstance(value.get("detail"), dict):
            return [_bridged(_writable(value))]
        if "Message" not in value:
            raise ValueError("it has no Records, and is neither from SNS nor from EventBridge")
        value = value["Message"]
    raise ValueError("it has too many envelopes")


def _checked(record: Json) -> dict[str, Any]:
    try:
        if isinstance(record["s3"]["bucket"]["name"], str) and isinstance(record["s3"]["object"]["key"], str):
            checked: dict[str, Any] = record
            return checked
    except (KeyError, TypeError):
        pass
    raise ValueError("a record has no s3.bucket.name and s3.object.key")


def _writable(told: Json) -> Json:
    """Refuse half of a surrogate pair, which JSON can say and no key and no store can hold."""
    try:
        json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds text that is not valid Unicode") from None
    return told


def _bridged(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return EventBridge's event as the bucket itself would have told it; its key is not encoded."""
    detail = event["detail"]
    try:
        thing = detail["object"]
        record = s3.record(
            bucket=detail["bucket"]["name"],
            key=thing["key"],
            event_name=_name(event, detail),
            time=moment(event.get("time", "")),
            sequencer=str(thing.get("sequencer", "")),
            size=thing.get("size"),
            etag=thing.get("etag"),
            region=str(event.get("region", s3.REGION)),
        )
    except (KeyError, TypeError, AttributeError):
        raise ValueError("its detail has no bucket.name and object.key") from None
    found: dict[str, Any] = json.loads(record)
    if "version-id" in thing:
        found["s3"]["object"]["versionId"] = thing["version-id"]
    found["requestParameters"]["sourceIPAddress"] = detail.get("source-ip-address", "127.0.0.1")
    return found


def _name(event: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    reason = str(detail.get("reason", ""))
    if detail.get("deletion-type") == "Delete Marker Created":
        reason_name = _MARKER.get(reason)
        if reason_name:
            return reason_name
    kinds = {"Object Created": "ObjectCreated:Put", "Object Deleted": s3.REMOVED}
    kind = str(event.get("detail-type", ""))
    return _NAMES.get(reason) or kinds.get(kind) or kind.replace(" ", "")


def moment(text: str) -> Millis:
    """Return an ISO 8601 time in milliseconds; 0 where it is none."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0


def change(event_name: str) -> str:
    """Return what an event name tells: ``created`` (S3 does not say whether anew), ``deleted`` or ``other``."""
    name = event_name.removeprefix("s3:")
    if name.startswith("ObjectCreated:"):
        return "created"
    return "deleted" if name.startswith(("ObjectRemoved:", "LifecycleExpiration:")) else "other"
