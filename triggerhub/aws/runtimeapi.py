"""Word the Lambda Runtime API, version 2018-06-01, as official clients expect it.

Pure: what a request asks for, and the heads and bodies of the answers. The texts are those of AWS's own
emulator of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from triggerhub.aws import errors
from triggerhub.model import Fault, Invocation, Json
from triggerhub.policy.stepwise import is_long

VERSION = "/2018-06-01/runtime"
ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"
MODE = "lambda-runtime-function-response-mode"
INTEGRATION = "application/vnd.awslambda.http-integration-response"
"""The content type of a streamed answer that begins with the status and headers of an HTTP response."""
ACCEPTED = b'{"status":"OK"}\n'
"""The body of an answer with 202."""
PRELUDE_ENDS = b"\0" * 8
"""What lies between the head of such an answer and its body."""
HEAD = 64 * 1024
"""Bytes of the head of such an answer: more than clients and proxies take."""
UUID = 32
"""How many digits one has."""
_TYPE, _MESSAGE = 256, 4096
"""Characters of an error's type and message that are kept, as the hub's own workers keep them."""


class Ask(Enum):
    """What a request of the runtime's is; its value is the state that it leads to."""

    NEXT = "Ready"
    RESPONSE = "InvocationResponse"
    ERROR = "InvocationErrorResponse"
    INIT_ERROR = "InitError"


class Call(NamedTuple):
    """A request that the API knows; ``id`` is the invocation it is about, if any."""

    ask: Ask
    id: str = ""


class Refusal(NamedTuple):
    """An answer other than 200 and 202."""

    status: int
    type: str
    message: str

    @property
    def body(self) -> bytes:
        return json.dumps({"errorType": self.type, "errorMessage": self.message}, separators=(",", ":")).encode()


_FIXED = {
    ("GET", f"{VERSION}/invocation/next"): Call(Ask.NEXT),
    ("POST", f"{VERSION}/init/error"): Call(Ask.INIT_ERROR),
}
_ASKS = {"response": Ask.RESPONSE, "error": Ask.ERROR}


def route(method: str, target: str) -> Call | Refusal:
    """Return what a request line asks for."""
    path = target.partition("?")[0]
    if (call := _FIXED.get((method, path))) is not None:
        return call
    parts = path.removeprefix(f"{VERSION}/invocation/").split("/")
    known = path.startswith(f"{VERSION}/invocation/") and len(parts) == 2 and parts[1] in _ASKS
    if known and method == "POST":
        return Call(_ASKS[parts[1]], parts[0])
    if known or any(path == fixed for _, fixed in _FIXED):
        return Refusal(405, "MethodNotAllowed", f"{method} is not what {path} takes")
    return Refusal(404, "NotFound", f"the Runtime API has no {path}; it is version 2018-06-01")


def not_allowed(state: str, ask: Ask) -> Refusal:
    """Refuse what does not fit the state of the runtime."""
    message = f"State transition from {state} to {ask.value} failed for runtime. Error: State transition is not allowed"
    return Refusal(403, "InvalidStateTransition", message)


def unknown_id() -> Refusal:
    """Refuse an answer to an invocation that is not the running one."""
    return Refusal(400, "InvalidRequestID", "Invalid request ID")


def odd_mode(mode: str) -> tuple[Refusal, Fault]:
    """Refuse an answer in a mode that there is not, and say what becomes of its call."""
    message = f"Lambda-Runtime-Function-Response-Mode must be streaming where it is there, got {_line(mode)[:100]!r}"
    fault = Fault(type="Runtime.InvalidResponseModeHeader", message=message)
    return Refusal(400, "InvalidFunctionResponseMode", message), fault


def too_large() -> Refusal:
    """Refuse a body over the limit."""
    return Refusal(
        413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({errors.MAX_RESPONSE} bytes)."
    )


def next_head(invocation: Invocation) -> list[tuple[str, str]]:
    """Return the headers that hand out an invocation."""
    headers = [
        ("Content-Type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(invocation.deadline)),
        ("Lambda-Runtime-Invoked-Function-Arn", invocation.arn),
        # Some clients end without one.
        ("Lambda-Runtime-Trace-Id", _line(invocation.trace or trace(invocation))),
    ]
    if invocation.client_context is not None:
        headers.append(("Lambda-Runtime-Client-Context", _json_line(invocation.client_context)))
    return headers


def trace(invocation: Invocation) -> str:
    """Make the value of an X-Amzn-Trace-Id header that nobody sampled, the same for the same invocation."""
    digits = invocation.request_id.replace("-", "")
    if len(digits) != UUID:  # the digits of one are as unique as what could be made of them
        digits = hashlib.sha256(invocation.request_id.encode()).hexdigest()
    return f"Root=1-{invocation.deadline // 1000 & 0xFFFFFFFF:08x}-{digits[-24:]};Parent={digits[-16:]};Sampled=0"


def described(headers: Mapping[str, str], body: bytes) -> tuple[Fault, bytes]:
    """Return the fault of an error that the runtime posted, and the error object that callers see."""
    told = headers.get(ERROR_TYPE, "")
    said = _said(body)
    if said is None:
        text = body[: 4 * _MESSAGE + 4].decode("utf-8", "replace").strip()
        fault = Fault(type=_cut(told or errors.UNKNOWN, _TYPE), message=_cut(text, _MESSAGE))
        return fault, errors.payload(fault.type, fault.message)
    kind, message = said.get("errorType") or told or errors.UNKNOWN, said.get("errorMessage") or ""
    return Fault(type=_cut(_text(kind), _TYPE), message=_cut(_text(message), _MESSAGE)), body


def _said(body: bytes) -> dict[str, Json] | None:
    """Return the object that an error is; None where it is none, or has so much in it that nobody reads it."""
    if is_long(body):
        return None
    try:
        said: Json = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def torn(trailers: Mapping[str, str]) -> tuple[Fault, bytes] | None:
    """Return the error by which a stream ended, told by its trailers; None where it ended well."""
    if ERROR_TYPE not in trailers:
        return None
    try:
        body = base64.b64decode(trailers.get(ERROR_BODY, ""), validate=True)
    except (binascii.Error, ValueError):
        body = b""
    return described(trailers, body)


def integrated(body: bytes) -> bytes:
    """Return a streamed HTTP response as the object that a handler which does not stream would have returned.

    What has no prelude, or one that no client would take, is the body as it is.
    """
    prelude, ends, rest = body.partition(PRELUDE_ENDS)
    try:
        answer = json.loads(prelude) if ends and len(prelude) <= HEAD else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return body
    try:
        text, encoded = rest.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(rest).decode(), True
    return json.dumps({"statusCode": 200, **answer, "body": text, "isBase64Encoded": encoded}).encode()


def _text(value: Json) -> str:
    # A lone surrogate is legal in JSON, and in no store and on no terminal.
    return str(value).encode("utf-8", "replace").decode()


def _line(text: str) -> str:
    return "".join(character for character in text if character.isprintable() and character.isascii())


def _json_line(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    try:
        return json.dumps(json.loads(text))
    except (ValueError, RecursionError):
        return _line(text)
