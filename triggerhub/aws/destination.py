"""Shape the record that a destination of asynchronous invocations receives, and the message of a dead-letter target.

After "Capturing records of Lambda asynchronous invocations" of the Lambda Developer Guide; the order of
the keys is that of AWS's own records.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast

from triggerhub.model import Json, Millis
from triggerhub.policy.strict import is_json

_ARN = re.compile(
    r"arn:aws[a-z-]*:(?P<service>sqs|sns):(?P<region>[a-z]{2,}(?:-[a-z]+)+-\d+):(?P<account>\d{12}):"
    r"(?P<name>[A-Za-z0-9_-]{1,256})(?P<fifo>\.fifo)?"
)
_EVENT = b',"requestPayload":'
MESSAGE = 1024
"""The most bytes of an error's message that a dead-letter target is told."""


class Place(NamedTuple):
    """A queue of SQS or a topic of SNS."""

    arn: str
    service: Literal["sqs", "sns"]
    region: str
    account: str
    name: str


def place(arn: str) -> Place:
    """Read the ARN of a queue or topic that outcomes can be sent to. ValueError says what is wrong with it."""
    found = _ARN.fullmatch(arn)
    if found is None:
        raise ValueError(f"expected the ARN of a queue of SQS or of a topic of SNS, got {arn[:300]!r}")
    if found["fifo"]:
        raise ValueError(f"{arn} is FIFO, which outcomes cannot be sent to, as at AWS: a standard one can")
    service = cast('Literal["sqs", "sns"]', found["service"])
    return Place(arn, service, found["region"], found["account"], found["name"])


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
    ``responsePayload``. Payloads are spliced in as the bytes they are; one that is not UTF-8 JSON, as one
    with NaN in it, becomes a JSON string, an empty one null.
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


def dead_letter(record: bytes) -> tuple[str, dict[str, Json]]:
    """Return the body and the attributes of a dead-letter target's message, from the record of a failure.

    The body is the event, byte for byte. Attributes are as SQS and SNS both take them: RequestID, and, where the
    function was run at all, ErrorCode, which is that of the invocation's answer, and ErrorMessage.
    """
    text = record.decode()
    start = text.index(_EVENT.decode()) + len(_EVENT)
    # Numbers stay text: only where the event ends is asked, and no number is too long for it.
    _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text, _past_spaces(text, start))
    end = _past_spaces(text, end)
    rest = json.loads(f"{text[:start]}null{text[end:]}")
    attributes = {"RequestID": _attribute("String", rest["requestContext"]["requestId"])}
    if "responseContext" in rest:
        attributes["ErrorCode"] = _attribute("Number", str(rest["responseContext"]["statusCode"]))
    answer = rest.get("responsePayload")
    if isinstance(answer, dict) and isinstance(told := answer.get("errorMessage"), str) and told:
        cut = told.encode("utf-8", "replace")[:MESSAGE].decode("utf-8", "ignore")
        attributes["ErrorMessage"] = _attribute("String", cut)
    return text[start:end], attributes


def _past_spaces(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _attribute(kind: str, value: str) -> Json:
    return {"DataType": kind, "StringValue": value}


def _spliced(payload: bytes) -> bytes:
    """Return a payload that may stand inside JSON."""
    if not payload:
        return b"null"
    return payload if is_json(payload) else _json(payload.decode("utf-8", "replace"))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _moment(time: Millis) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
