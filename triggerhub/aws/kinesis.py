"""Shape the records of Kinesis streams as Lambda's event source mapping hands them to a function.

Field by field after "Using Lambda with Amazon Kinesis" of the Lambda Developer Guide.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

from triggerhub.model import Millis


def record(given: Mapping[str, Any], *, shard: str, stream_arn: str, region: str, identity: str) -> bytes:
    """Return one record of GetRecords, as botocore gives it, as JSON, ASCII only; *identity* is a role's ARN."""
    return json.dumps(
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": given["PartitionKey"],
                "sequenceNumber": given["SequenceNumber"],
                "data": b2a_base64(given["Data"], newline=False).decode("ascii"),
                "approximateArrivalTimestamp": arrived(given) / 1000,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": name(given, shard),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": identity,
            "awsRegion": region,
            "eventSourceARN": stream_arn,
        },
        separators=(",", ":"),
    ).encode("ascii")


def name(given: Mapping[str, Any], shard: str) -> str:
    """Return the record's eventID."""
    return f"{shard}:{given['SequenceNumber']}"


def arrived(given: Mapping[str, Any]) -> Millis:
    """Return when the record arrived in the stream."""
    moment = given.get("ApproximateArrivalTimestamp")
    return round(moment.timestamp() * 1000) if moment is not None else 0
