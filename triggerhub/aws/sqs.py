"""Shape messages as an SQS event source mapping hands them to a function.

Field by field after the example event in "Using Lambda with Amazon SQS" of the Lambda Developer Guide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from triggerhub.aws.arn import ACCOUNT
from triggerhub.aws.records import records
from triggerhub.model import Json, Millis


def record(
    *,
    message_id: str,
    body: str,
    sent: Millis,
    queue_arn: str,
    receipt_handle: str | None = None,
    received: Millis | None = None,
    receive_count: int = 1,
    sender: str = ACCOUNT,
    attributes: Mapping[str, str] | None = None,
    message_attributes: Mapping[str, Json] | None = None,
) -> bytes:
    """Return one record as JSON, ASCII only.

    *received* is when it was first received, *sent* unless told. *attributes* are added to the four that
    every message has, and win over them. *message_attributes* are in Lambda's shape (``stringValue``,
    ``dataType`` …). The region is the ARN's. Without a receipt handle (nothing here needs one to delete
    a message) the message's id stands in its place.
    """
    system = {
        "ApproximateReceiveCount": str(receive_count),
        "SentTimestamp": str(sent),
        "SenderId": sender,
        "ApproximateFirstReceiveTimestamp": str(sent if received is None else received),
    }
    return json.dumps(
        {
            "messageId": message_id,
            "receiptHandle": receipt_handle or message_id,
            "body": body,
            "attributes": {**system, **(attributes or {})},
            "messageAttributes": dict(message_attributes or {}),
            "md5OfBody": hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": queue_arn.split(":")[3],
        },
        separators=(",", ":"),
    ).encode("ascii")


def envelope(messages: Sequence[bytes]) -> bytes:
    """Return the event that holds these records, spliced and not parsed."""
    return records(messages)
