"""Hold the values that the whole hub speaks of.

Times are integers: milliseconds since the epoch, UTC. Payloads are the bytes that arrived; nothing
here parses them. Nobody changes a value; those that are made for every event are not frozen all the
same, for a frozen one takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

Millis: TypeAlias = int
"""A moment (since the epoch, UTC) or a length of time, in milliseconds."""

Json: TypeAlias = Any
"""A value as ``json.loads`` returns it."""

API_TRIGGER = "api"
"""The built-in trigger of ``invoke --async``."""


def destination_trigger(function: str) -> str:
    """Name the built-in trigger of what *function*'s destinations send to other functions."""
    return f"destination:{function}"


def alarm_trigger(alarm: str) -> str:
    """Name the built-in trigger of what *alarm* tells."""
    return f"alarm:{alarm}"


class State(StrEnum):
    """Where a delivery stands. Retrying and delayed are not states: they are a ``due`` in the future."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


FINISHED = tuple(state for state in State if state.finished)


_MOMENT = 2**63
"""What the store can hold."""


@dataclass(slots=True, kw_only=True)
class Event:
    """What happened. A source makes it without ``id`` and ``trigger``; intake stamps both on acceptance."""

    data: bytes
    """One record as JSON in the shape of its source, as the handler sees it (before any envelope)."""
    time: Millis
    dedup_key: str | None = None
    """The source's own key; the trigger's ``key`` setting replaces it."""
    ordering_key: str | None = None
    trace: str | None = None
    """The value of an X-Amzn-Trace-Id header."""
    due: Millis | None = None
    """Not to be delivered before this moment; None is at once."""
    hops: int = 0
    """How many handlers' answers led to this event: the recursion guard counts it."""
    id: str = ""
    trigger: str = ""

    def check(self) -> None:
        """Raise TypeError where a field is of a type that no event has."""
        if not isinstance(self.data, bytes):
            raise TypeError(f"an event's data is bytes, got {type(self.data).__name__}")
        for name, at in (("time", self.time), ("due", self.due or 0)):
            if not isinstance(at, int) or not -_MOMENT <= at < _MOMENT:
                raise TypeError(f"an event's {name} is whole milliseconds since 1970, got {str(at)[:60]!r}")
        for name, key in (("dedup_key", self.dedup_key), ("ordering_key", self.ordering_key)):
            if not isinstance(key, str | None):
                raise TypeError(f"an event's {name} is a text, got {type(key).__name__}")

    def stamped(self, id: str, trigger: str) -> Event:  # noqa: A002 - the field's name
        """Return the event as accepted; written out, since it is done for every event."""
        return Event(
            data=self.data,
            time=self.time,
            dedup_key=self.dedup_key,
            ordering_key=self.ordering_key,
            trace=self.trace,
            due=self.due,
            hops=self.hops,
            id=id,
            trigger=trigger,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an attempt failed, as people see it."""

    type: str
    message: str


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One event owed to one function: the unit that is retried, ordered, dead-lettered, redriven."""

    id: str
    event_id: str
    trigger: str
    function: str
    state: State
    attempts: int
    """Counted attempts, the running one included."""
    created: Millis
    due: Millis
    finished: Millis | None = None
    version: str | None = None
    """The code version of the last attempt."""
    duration_ms: float | None = None
    dedup_key: str | None = None
    ordering_key: str | None = None
    idempotency_key: str | None = None
    error: Fault | None = None
    reason: str | None = None
    claims: int = 0
    """How often it was claimed, counted or not: with the owner's epoch, the fence of a settle."""
    lost: int = 0
    """How often the hub died while it ran."""
    since: Millis | None = None
    """When its delay was over or it was redriven: from then on it is as new. None where neither ever was."""

    def age(self, now: Millis) -> Millis:
        """How old it is, as ``max_age`` counts."""
        return now - (self.created if self.since is None else self.since)

    def waits(self, now: Millis) -> bool:
        """Whether it is queued for a time to come."""
        return self.state is State.QUEUED and self.due > now

    def retrying(self, now: Millis) -> bool:
        """Whether it was tried, and waits for the moment of its next attempt."""
        return self.attempts > 0 and self.waits(now)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The record of one finished attempt."""

    request_id: str
    started: Millis
    duration_ms: float
    version: str
    outcome: str
    """``returned``, ``raised``, ``timed-out``, ``crashed`` or ``interrupted``."""
    error: Fault | None = None
    payload: bytes | None = None
    """What the function answered, or its error object; None where nothing is kept."""
    init_ms: float | None = None
    memory: int | None = None
    """The most memory seen in use, in bytes."""
    level: str | None = None
    """How it was isolated; None where no handler of the project's ran."""


class Sink(Protocol):
    """Takes an answer in parts, from a handler that writes it so."""

    @property
    def begun(self) -> bool:
        """Whether there was a part, or the promise of one: such a call cannot be made again."""

    def begin(self, content_type: str, room: Callable[[], None], leave: Callable[[], None]) -> None:
        """Say of what type the answer is, once, before its first part.

        *room* is called when parts are wanted again after :meth:`write` said no, *leave* when nobody takes them any
        more.
        """

    def write(self, data: bytes) -> bool:
        """Take a part; return whether another one is wanted now."""


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One call of a worker."""

    request_id: str
    function: str
    payload: bytes
    deadline: Millis
    arn: str
    attempt: int = 1
    deliveries: tuple[str, ...] = ()
    """The ids it carries; empty when a caller waits for the answer."""
    trace: str | None = None
    linked: tuple[str, ...] = ()
    """The traces of the other events of a batch."""
    client_context: str | None = None
    """JSON text, as the context object shows it."""
    sink: Sink | None = None
    """Who takes the answer while the handler writes it; None is for one that is wanted whole."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """What an invocation used."""

    duration_ms: float = 0.0
    init_ms: float | None = None
    """Set on the first invocation of a fresh worker: how long its start took, whether or not the call waited for it."""
    memory: int | None = None
    """The most resident memory seen, in bytes."""


@dataclass(slots=True, kw_only=True)
class Returned:
    """The function answered."""

    payload: bytes
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The function failed by its own word."""

    fault: Fault
    payload: bytes
    """The error object, in the shape AWS documents for the runtime."""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The function was still running at its deadline; the worker is gone with all its children."""

    fault: Fault
    payload: bytes
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The worker died, could not start, broke its protocol or outgrew its memory."""

    fault: Fault
    payload: bytes
    usage: Usage = field(default_factory=Usage)
    scarce: bool = False
    """The host had no room for a process, or no level of isolation: the function never began, and is not to blame."""
    severed: bool = False
    """What makes the sandboxes ended, or the hub could not hold this one: the function is not to blame."""
    throttled: bool = False
    """It could not begin in time. No name of an error says so: a function may choose that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The hub itself cut the call short (shutdown, reload, a lost worker before it began)."""

    usage: Usage = field(default_factory=Usage)


Failed: TypeAlias = Raised | TimedOut | Crashed
Outcome: TypeAlias = Returned | Raised | TimedOut | Crashed | Interrupted


@dataclass(frozen=True, slots=True)
class Complete:
    """Settle as succeeded."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Queue again, due at a moment; an uncounted retry gives the attempt back."""

    at: Millis
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Bury:
    """Settle as dead."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Settle as cancelled: the source keeps the event and gives it again."""

    reason: str


Decision: TypeAlias = Complete | Retry | Bury
