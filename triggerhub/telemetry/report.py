"""Word the lines that frame an invocation's log as Lambda does, as text or as JSON; pure.

Which of the lines in JSON are written depends on the system log level, by Lambda's own table: a start and the report
of a success are INFO, the end of a success is DEBUG, and both lines of a failure are WARN. As text, all of them are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from triggerhub.aws import errors
from triggerhub.aws.reference import LATEST
from triggerhub.model import Crashed, Interrupted, Millis, Outcome, Raised, Returned, TimedOut
from triggerhub.settings import MB, Function, Secret, SystemLevel

Frame: TypeAlias = Literal["start", "end", "report"]
FORMAT = "AWS_LAMBDA_LOG_FORMAT"
OWN = ("START ", "END ", "REPORT ", '{"time":"')
"""How the lines of the hub's own begin that quote nobody: those that frame an invocation, and all in JSON."""

# Made once: this runs with every call.
_json = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_LEVELS: dict[str, int] = {"DEBUG": 0, "INFO": 1, "WARN": 2}
_LONGEST = 500
"""Characters of an error that are quoted: a handler may call its own whatever it likes."""
_UNSAID = frozenset((errors.EXITED, errors.NO_ENTRY))
"""The errors that count as the handler's, and of which its runtime writes nothing."""
_FRAMES: dict[str, Frame] = {
    "START": "start", "END": "end", "REPORT": "report",
    "platform.start": "start", "platform.runtimeDone": "end", "platform.report": "report",
}  # fmt: skip
_FRAMED = re.compile(
    r'(?:(START|END|REPORT) RequestId: |\{"time":"[^"]*","type":"(platform\.(?:start|runtimeDone|report))",)'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What an invocation came to."""

    duration_ms: float
    memory_mb: int
    max_memory: int | None = None
    """In bytes; None where nobody measured."""
    init_ms: float | None = None
    level: str | None = None
    """Of the sandbox, which Lambda does not have."""
    status: str = "success"
    error: str | None = None
    """The type of the error, where it failed."""
    ended: str | None = None
    """What ended it, in one line, where its handler could not tell: see :func:`ended`."""


def least(function: Function) -> SystemLevel | None:
    """Return the level from which on a function's lines are written in JSON; None where they are text."""
    said = function.env.get(FORMAT)
    if said is None:
        return None
    text = said.reveal() if isinstance(said, Secret) else said
    return function.system_level if text.upper() == "JSON" else None


def status(outcome: Outcome) -> str:
    """Return what Lambda calls an outcome."""
    match outcome:
        case Returned():
            return "success"
        case TimedOut():
            return "timeout"
        case Raised() | Crashed(scarce=False, severed=False):
            return "error"
        case Crashed() | Interrupted():
            return "failure"


def ended(outcome: Outcome) -> str | None:
    """Return in one line what ended a call that could not tell itself, as Lambda words it; None where there is no need.

    What a process that exited wrote at its end is left out: it is in the log already.
    """
    match outcome:
        case TimedOut() | Crashed():
            return _line(outcome.fault.message)
        case Raised() if outcome.fault.type in _UNSAID:
            return _line(outcome.fault.message)
        case _:
            return None


def before(
    request_id: str, version: str, *, level: SystemLevel | None, now: Millis, trace: str | None = None
) -> Iterator[str]:
    """Yield the lines before an invocation, of *level* and above in JSON, or as text where it is None."""
    version = version or LATEST
    if level is None:
        yield f"START RequestId: {request_id} Version: {version}"
    elif _LEVELS[level] <= _LEVELS["INFO"]:
        yield _event(now, "platform.start", request_id, {"version": version}, trace)


def after(
    request_id: str, took: Took, *, level: SystemLevel | None, now: Millis, trace: str | None = None
) -> Iterator[str]:
    """Yield the lines after an invocation, as :func:`before` does."""
    if took.ended is not None:
        yield from _ended(request_id, took.ended, took, level, now)
    if level is None:
        yield f"END RequestId: {request_id}"
        yield _report(request_id, took)
        return
    duration = round(took.duration_ms, 2)
    failed = {} if took.error is None else {"errorType": took.error}
    good = took.status == "success"
    if _LEVELS[level] <= _LEVELS["DEBUG" if good else "WARN"]:
        done = {"status": took.status, **failed, "metrics": {"durationMs": duration}}
        yield _event(now, "platform.runtimeDone", request_id, done, trace)
    if _LEVELS[level] <= _LEVELS["INFO" if good else "WARN"]:
        metrics = {
            "durationMs": duration,
            "billedDurationMs": math.ceil(took.duration_ms),
            "memorySizeMB": took.memory_mb,
            "maxMemoryUsedMB": _megabytes(took.max_memory),
            "initDurationMs": None if took.init_ms is None else round(took.init_ms, 2),
        }
        told = {name: value for name, value in metrics.items() if value is not None}
        sandbox = {} if took.level is None else {"sandbox": took.level}
        yield _event(
            now, "platform.report", request_id, {"metrics": told, **sandbox, "status": took.status, **failed}, trace
        )


def unstarted(request_id: str, kind: str, message: str, *, level: SystemLevel | None, now: Millis) -> str:
    """Return the line about an invocation for which no worker could be started."""
    if level is None:
        return f"[ERROR] {kind}: {message}"
    return _error(request_id, kind, message, now)


def _error(request_id: str, kind: str, message: str, now: Millis) -> str:
    said = {"errorMessage": message, "errorType": kind, "requestId": request_id}
    return _json.encode({"timestamp": _moment(now), "log_level": "ERROR", **said})


def dropped(size: int, lines: int, request_id: str | None, *, level: SystemLevel | None, now: Millis) -> str:
    """Return the line about output that was dropped, of *size* bytes in *lines*, since there was too much of it."""
    if level is None:
        return f"{size} bytes of output dropped"
    record = {"reason": "there was too much of it", "droppedRecords": lines, "droppedBytes": size}
    return _event(now, "platform.logsDropped", request_id, record, None)


def said(text: str, request_id: str | None, *, level: SystemLevel | None, now: Millis) -> str:
    """Return any other line of the hub's; what is JSON already stays what it is."""
    if level is None or text.startswith('{"'):
        return text
    return _event(now, "platform.message", request_id, {"message": text}, None)


def frame(line: str) -> Frame | None:
    """Return which of the lines around an invocation a line is, in either form; None for any other."""
    found = _FRAMED.match(line)
    return None if found is None else _FRAMES[found[1] or found[2]]


def _ended(request_id: str, why: str, took: Took, level: SystemLevel | None, now: Millis) -> Iterator[str]:
    kind = _line(took.error or errors.UNKNOWN)
    if level is not None:
        yield _error(request_id, kind, why, now)
        return
    why = why.removeprefix(f"RequestId: {request_id} Error: ")
    if took.status == "timeout":
        yield f"{_moment(now)} {request_id} {why}"
    else:
        yield f"RequestId: {request_id} Error: {why}"
        if kind.replace(".", "").isalnum():  # not one that a handler made up to look like another line
            yield kind


def _report(request_id: str, took: Took) -> str:
    most = _megabytes(took.max_memory)
    used = "" if most is None else f"Max Memory Used: {most} MB\t"
    init = "" if took.init_ms is None else f"Init Duration: {took.init_ms:.2f} ms\t"
    sandbox = "" if took.level is None else f"Sandbox: {took.level}\t"
    # As on Lambda, nothing follows these.
    status = "" if took.status == "success" else f"Status: {took.status}"
    # Of a timeout Lambda tells no type: it has but one.
    error = "" if took.error is None or took.status == "timeout" else f"\tError Type: {_line(took.error)}"
    return (
        f"REPORT RequestId: {request_id}\tDuration: {took.duration_ms:.2f} ms\t"
        f"Billed Duration: {math.ceil(took.duration_ms)} ms\tMemory Size: {took.memory_mb} MB\t{used}{init}{sandbox}"
        f"{status}{error}"
    )


def _line(text: str) -> str:
    """Return the first line of a text whose end is not known, without what would look like another field."""
    return " ".join(text[: 2 * _LONGEST].strip().partition("\n")[0].split())[:_LONGEST]


def _megabytes(size: int | None) -> int | None:
    return None if size is None else -(-size // MB)


def _event(now: Millis, kind: str, request_id: str | None, record: dict[str, Any], trace: str | None) -> str:
    whose = {} if request_id is None else {"requestId": request_id}
    tracing = {} if trace is None else {"tracing": {"type": "X-Amzn-Trace-Id", "value": trace}}
    return _json.encode({"time": _moment(now), "type": kind, "record": {**whose, **record, **tracing}})


def _moment(time: Millis) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
