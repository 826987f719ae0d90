"""Word the Lambda Extensions API, version 2020-01-01, as extensions expect it.

Pure. The texts are those of AWS's own emulator.
"""

from __future__ import annotations

import json
from enum import Enum

from triggerhub.aws.runtimeapi import Refusal
from triggerhub.model import Invocation, Json, Millis

VERSION = "/2020-01-01/extension"
NAME = "lambda-extension-name"
IDENTIFIER = "lambda-extension-identifier"
ERROR_TYPE = "lambda-extension-function-error-type"
INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
MOST = 10
"""How many extensions a function may have."""


class Ask(Enum):
    """What a request of an extension's is."""

    REGISTER = ("POST", f"{VERSION}/register")
    NEXT = ("GET", f"{VERSION}/event/next")
    INIT_ERROR = ("POST", f"{VERSION}/init/error")
    EXIT_ERROR = ("POST", f"{VERSION}/exit/error")


_UNSUPPORTED = {
    "/2022-07-01/telemetry": Refusal(202, "Telemetry.NotSupported", "Telemetry API is not supported"),
    "/2020-08-15/logs": Refusal(202, "Logs.NotSupported", "Logs API is not supported"),
}
CLOSED = Refusal(403, "Extension.RegistrationClosed", "Extension registration closed already")
UNNAMED = Refusal(403, "Extension.InvalidExtensionName", "Empty extension name")
TAKEN = Refusal(403, "Extension.InvalidExtensionState", "Extension with this name already registered")
TOO_MANY = Refusal(403, "Extension.TooManyExtensions", f"Extension limit ({MOST}) reached")
MISSING = Refusal(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
UNEXPLAINED = Refusal(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")


def route(method: str, target: str) -> Ask | Refusal | None:
    """Return what a request line asks for; None where it is none of this API's."""
    path = target.partition("?")[0]
    if path in _UNSUPPORTED and method == "PUT":
        return _UNSUPPORTED[path]
    try:
        return Ask((method, path))
    except ValueError:
        if any(path == ask.value[1] for ask in Ask):
            return Refusal(405, "MethodNotAllowed", f"{method} is not what {path} takes")
        return None


def unknown(identifier: str) -> Refusal:
    """Refuse an extension that did not register."""
    return Refusal(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier[:80]}")


def events(body: bytes, *, external: bool) -> frozenset[str] | Refusal:
    """Return what an extension wants to hear of. Only an external one, a process of its own, hears of the end."""
    try:
        wanted: Json = json.loads(body)["events"]
        if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
            raise TypeError("events is no list of texts")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Refusal(403, "InvalidRequestFormat", str(error))
    for one in wanted:
        if one not in (INVOKE, SHUTDOWN):
            return Refusal(403, "Extension.InvalidEventType", f"{one[:80]}: ErrorInvalidEventType")
        if one == SHUTDOWN and not external:
            message = "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"
            return Refusal(403, "Extension.InvalidEventType", message)
    return frozenset(wanted)


def invoked(invocation: Invocation, trace: str) -> bytes:
    """Return the event of an invocation that begins."""
    return _json(
        {
            "eventType": INVOKE,
            "deadlineMs": invocation.deadline,
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": trace},
        }
    )


def ending(reason: str, deadline: Millis) -> bytes:
    """Return the event of the end: *reason* is spindown, timeout or failure."""
    return _json({"eventType": SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline})


def registered(function: str, version: str, handler: str) -> bytes:
    """Return the answer to a registration."""
    return _json({"functionName": function, "functionVersion": version, "handler": handler})


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
