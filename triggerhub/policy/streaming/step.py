"""Name what goes in and out of a shard: records, what to do next, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from triggerhub.model import Millis
from triggerhub.policy.streaming.position import Window

Condition: TypeAlias = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]
"""Why records were given up, in the words of Lambda's records of failures."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a shard."""

    sequence: str
    """Its sequence number: digits, greater than that of every record before it in its shard."""
    key: str
    """Its partition key: records that share it are handled in order."""
    arrived: Millis
    data: bytes
    """JSON, as the function sees it."""
    name: str = ""
    """What tells it from all others that the trigger reads: the same whenever and by whom it is read."""
    wanted: bool = True
    """False where the trigger's filter turns it down."""


@dataclass(frozen=True, slots=True)
class Windowed:
    """What a call is told of its tumbling window."""

    window: Window
    end: Millis
    final: bool


@dataclass(frozen=True, slots=True)
class Call:
    """Call the function with these records; none of them where it closes a window."""

    lane: int
    records: Sequence[Record]
    attempt: int
    """The how-manieth counted attempt at them this is."""
    windowed: Windowed | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Store these records as dead, and tell so."""

    lane: int
    records: Sequence[Record]
    condition: Condition
    calls: int
    """How often the function was called with them."""
    last: Failed | FailedFrom | None
    """How the last of these calls failed."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function handled all records of the call."""

    state: str = "{}"
    """The state of the tumbling window, as JSON."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The function handled none of them."""

    request_id: str = ""


@dataclass(frozen=True, slots=True)
class FailedFrom:
    """The function handled the records before this one, by its own word."""

    index: int
    request_id: str = ""
    state: str = "{}"


@dataclass(frozen=True, slots=True)
class Unheard:
    """The call did not come about, or the hub cut it: nothing is known of the function."""


Step: TypeAlias = Call | GiveUp
Verdict: TypeAlias = Succeeded | Failed | FailedFrom | Unheard
