"""Shape what streams have in common: the event of a tumbling window, and the record of a failure.

After "Using Lambda with Amazon DynamoDB" of the Lambda Developer Guide, and records that AWS sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from triggerhub.aws.records import records
from triggerhub.model import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Which records of a stream an event or a failure is of."""

    stream_arn: str
    shard: str
    first: str
    """The sequence number of the first record, and …"""
    last: str
    """… of the last."""
    first_arrived: Millis
    last_arrived: Millis
    size: int


def windowed(
    data: Sequence[bytes],
    *,
    start: Millis,
    end: Millis,
    state: str,
    shard: str,
    stream_arn: str,
    final: bool,
    early: bool,
) -> bytes:
    """Return the event of a call within a tumbling window; *state* is JSON."""
    rest = {
        "window": {"start": _moment(start, "seconds"), "end": _moment(end, "seconds")},
        "shardId": shard,
        "eventSourceARN": stream_arn,
        "isFinalInvokeForWindow": final,
        "isWindowTerminatedEarly": early,
    }
    return records(data)[:-1] + b',"state":' + state.encode() + b"," + _json(rest)[1:]


def failure(
    batch: Batch,
    *,
    service: Literal["dynamodb", "kinesis"],
    request_id: str,
    function_arn: str,
    condition: str,
    count: int,
    error: str | None,
    responded: bool,
    timestamp: Millis,
) -> bytes:
    """Return the record that an on-failure destination receives of a batch that was given up.

    *condition* is RetryAttemptsExhausted or RecordAgeExceeded, *count* how often the function was called with
    it. *error* is None where the function answered and named the failed records itself. Where the function was
    not the reason (*responded* is false) there is no ``responseContext``. *function_arn* is unqualified.
    """
    precision: Literal["seconds", "milliseconds"] = "seconds" if service == "dynamodb" else "milliseconds"
    told: dict[str, object] = {
        "requestContext": {
            "requestId": request_id,
            "functionArn": function_arn,
            "condition": condition,
            "approximateInvokeCount": count,
        },
        "version": "1.0",
        "timestamp": _moment(timestamp, "milliseconds"),
        ("DDBStreamBatchInfo" if service == "dynamodb" else "KinesisBatchInfo"): {
            "shardId": batch.shard,
            "startSequenceNumber": batch.first,
            "endSequenceNumber": batch.last,
            "approximateArrivalOfFirstRecord": _moment(batch.first_arrived, precision),
            "approximateArrivalOfLastRecord": _moment(batch.last_arrived, precision),
            "batchSize": batch.size,
            "streamArn": batch.stream_arn,
        },
    }
    if responded:
        told["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": error}
    return _json(told)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _moment(time: Millis, precision: Literal["seconds", "milliseconds"]) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
