"""Word function errors as AWS does, so that callers who match on them go on working.

The shapes and texts are those that AWS recorded answers show for each runtime.
"""

from __future__ import annotations

import json
import signal

from triggerhub.model import Fault

MAX_RESPONSE = 6 * 1024 * 1024 + 100
"""The most bytes that a function may answer with: 6 MB and what AWS allows on top."""
MAX_STREAM = 200 * 1024 * 1024
"""The most bytes of an answer that is passed on while its handler writes it."""

TIMED_OUT = "Sandbox.Timedout"
EXITED = "Runtime.ExitError"
OUT_OF_MEMORY = "Runtime.OutOfMemory"
UNKNOWN = "Runtime.Unknown"
BROKEN = "Runtime.BrokenProtocol"
TRUNCATED = "Runtime.TruncatedResponse"
NO_ENTRY = "Runtime.InvalidEntrypoint"
NOT_READY = "Runtime.DependenciesNotReady"
INVALID_METADATA = "Runtime.InvalidMetadata"
SANDBOX = "Sandbox.Failure"
TOO_LARGE = "Function.ResponseSizeTooLarge"


def payload(type: str, message: str) -> bytes:  # noqa: A002 - AWS's word
    """Return the error object of a fault that no runtime described."""
    return json.dumps({"errorType": type, "errorMessage": message}, separators=(",", ":")).encode()


def timed_out(request_id: str, milliseconds: float) -> Fault:
    """Say that a call reached its timeout."""
    message = f"RequestId: {request_id} Error: Task timed out after {milliseconds / 1000:.2f} seconds"
    return Fault(type=TIMED_OUT, message=message)


def start_timed_out(milliseconds: float) -> Fault:
    """Say that loading the code reached its limit."""
    return Fault(type=TIMED_OUT, message=f"Task timed out after {milliseconds / 1000:.2f} seconds")


def broken(request_id: str | None, why: str) -> Fault:
    """Say that a worker did not keep to the protocol between it and the hub."""
    return Fault(type=BROKEN, message=f"{_of(request_id)}Runtime broke its protocol: {why}")


def exited(request_id: str | None, status: int | None) -> Fault:
    """Say that the process ended: *status* is its exit status, minus the signal that killed it, or None if unknown.

    Without a request id the process ended before its first request.
    """
    return Fault(type=EXITED, message=_of(request_id) + ending(status))


def out_of_memory(request_id: str | None, status: int = -signal.SIGKILL) -> Fault:
    """Say that the process was killed over its memory, or ended over it with *status*."""
    return Fault(type=OUT_OF_MEMORY, message=_of(request_id) + ending(status))


def truncated(request_id: str | None) -> Fault:
    """Say that a streamed answer broke off."""
    return Fault(type=TRUNCATED, message=f"{_of(request_id)}Response broke off before it was whole")


def too_large(most: int = MAX_RESPONSE) -> Fault:
    """Say that an answer is over *most* bytes."""
    message = f"Response payload size exceeded maximum allowed payload size ({most} bytes)."
    return Fault(type=TOO_LARGE, message=message)


def ending(status: int | None) -> str:
    """Return ``Runtime exited …`` for an exit status (negative: the signal)."""
    if not status:
        return "Runtime exited without providing a reason"
    if status > 0:
        return f"Runtime exited with error: exit status {status}"
    return f"Runtime exited with error: signal: {_signal(-status)}"


def _signal(number: int) -> str:
    return (signal.strsignal(number) or f"signal {number}").lower()


def _of(request_id: str | None) -> str:
    return "" if request_id is None else f"RequestId: {request_id} Error: "
