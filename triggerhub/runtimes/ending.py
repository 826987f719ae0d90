"""Word how a call, or the start of a worker, ends when its process does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from triggerhub.aws import errors
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Fault, Outcome, TimedOut, Usage

Ending: TypeAlias = Callable[[Usage], Outcome]
"""What becomes of a call, once it is known what it used."""


def timed_out(fault: Fault) -> Ending:
    return lambda usage: TimedOut(fault=fault, payload=errors.payload(fault.type, fault.message), usage=usage)


def crashed(fault: Fault, *, severed: bool = False) -> Ending:
    payload = errors.payload(fault.type, fault.message)
    return lambda usage: Crashed(fault=fault, payload=payload, usage=usage, severed=severed)


def last_words(fault: Fault, words: str) -> Fault:
    """Return the fault of a process that ended by itself, with the end of what it wrote."""
    return Fault(type=fault.type, message=f"{fault.message}\n{words}") if words else fault


def start_failed(ending: Ending) -> StartFailed:
    """Return the error of a start that ended so."""
    outcome = ending(Usage())
    if isinstance(outcome, TimedOut | Crashed):
        severed = isinstance(outcome, Crashed) and outcome.severed
        return StartFailed(outcome.fault.type, outcome.fault.message, outcome.payload, severed=severed)
    fault = Fault(type="Runtime.Interrupted", message="the hub ended the worker while it started")
    return StartFailed(fault.type, fault.message, errors.payload(fault.type, fault.message))
