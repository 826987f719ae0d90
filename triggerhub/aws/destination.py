"""Shape the record that a destination of asynchronous invocations receives.

After "Capturing records of Lambda asynchronous invocations" of the Lambda Developer Guide; the order of
the keys is that of AWS's own records.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from triggerhub.model import Millis


def record(
    *,
    condition: str,
    request_id: str,
    function_arn: str,
    count: int,
    payload: bytes,
    executed_version: str,
    response: bytes | None,
    error: bool,
    timestamp: Millis,
) -> bytes:
    """Return the record as UTF-8 JSON.

    *condition* is Success, RetriesExhausted, EventAgeExceeded or ZeroReservedConcurrency. *function_arn* is
    qualified (``…:$LATEST``), *count* the number of attempts, *payload* the event that the
    function received. *response* is what it answered, or its error object where *error* is set; None
    where it never ran to an answer, and then there is neither ``responseContext`` nor
    ``responsePayload``. Payloads are spliced in as the bytes they are; one that is not UTF-8 JSON becomes
    a JSON string, an empty one null.
    """
    context = _json(
        {
            "requestId": request_id,
            "functionArn": function_arn,
            "condition": condition,
            "approximateInvokeCount": count,
        }
    )
    parts = [
        b'{"version":"1.0","timestamp":',
        _json(_moment(timestamp)),
        b',"requestContext":',
        context,
        b',"requestPayload":',
        _spliced(payload),
    ]
    if response is not None:
        answered: dict[str, object] = {"statusCode": 200, "executedVersion": executed_version}
        if error:
            answered["functionError"] = "Unhandled"
        parts += [b',"responseContext":', _json(answered), b',"responsePayload":', _spliced(response)]
    return b"".join([*parts, b"}"])


def _spliced(payload: bytes) -> bytes:
    """Return a payload that may stand inside JSON."""
    if not payload:
        return b"null"
    try:
        # Decoded first: json would take UTF-16 as well, which cannot stand among UTF-8.
        json.loads(payload.decode())
    except (ValueError, RecursionError):
        return _json(payload.decode("utf-8", "replace"))
    return payload


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _moment(time: Millis) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
