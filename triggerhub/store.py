"""Say what a store of events and deliveries promises.

Each verb is one transaction, all or nothing, also when its caller is cancelled: then it may have
happened, never by half. Raises StoreFull where there is no room for new events, StoreBroken where
nothing that was answered since can be trusted. ``tests/stores`` is the specification.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from triggerhub.model import FINISHED, Attempt, Bury, Complete, Decision, Delivery, Event, Leave, Millis, State
from triggerhub.policy.grouping import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One function that an event is owed to."""

    function: str
    idempotency_key: str | None = None


@dataclass(slots=True, kw_only=True)
class Intake:
    """An event to accept; its n-th function gets ``ids.delivery_id(event.id, n)``, counted from 1."""

    event: Event
    owed: tuple[Owed, ...]
    keep: Millis = 0
    """The horizon of ``event.dedup_key``, counted from acceptance."""


@dataclass(slots=True, kw_only=True)
class Created:
    event: str
    deliveries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """The trigger saw this dedup key within its horizon; the ids are the first one's (some may be pruned)."""

    event: str
    deliveries: tuple[str, ...]
    resumed: bool = False
    """Whether a ``record`` was written to the delivery that has the key."""


Appended: TypeAlias = Created | Repeated


class Lane(NamedTuple):
    """One trigger's deliveries to one function: what is claimed and batched together."""

    trigger: str
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a dispatcher would take from a lane."""

    lane: Lane
    limit: int
    """At most so many deliveries …"""
    bytes: int | None = None
    """… and no more when their payloads come to so many bytes; the first is taken whatever its size."""
    size: int = 1
    window: Millis = 0
    """Take nothing before *size* deliveries are due or the oldest due one has waited for *window*
    (see policy.batching.ready)."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of ownership: who claimed a delivery, and the how-manieth claim it was."""

    owner: int
    claim: int


@dataclass(slots=True)
class Claimed:
    """A delivery now running, its event, and the fence that a settle must show."""

    delivery: Delivery
    event: Event
    fence: Fence


@dataclass(slots=True)
class Grant:
    """The answer to one Want."""

    claimed: list[Claimed]
    next: Millis | None
    """When the lane may have something more to claim: a moment in the past is at once; None is
    nothing until something is appended, redriven or unblocked."""
    damaged: list[Delivery] = field(default_factory=list)
    """Those that were buried instead, since their payload is not the one that was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A function's answer to keep for its idempotency key."""

    function: str
    key: str
    payload: bytes
    until: Millis


@dataclass(slots=True, kw_only=True)
class Settlement:
    """What became of one claimed delivery."""

    delivery: str
    fence: Fence
    decision: Decision | Leave
    attempt: Attempt | None = None
    """None where nothing was run (given back, or answered from an idempotency key)."""
    answer: Answered | None = None
    then: tuple[Intake, ...] = ()
    """Events to accept in the same transaction: destinations inside the hub."""


NOTICED: Millis = 5000
"""A clock that was put back is noticed within so long."""
LOOKED_AT = 100_000
"""How many rows a search reads where no index leads to what it looks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of one event that its source kept until it was handled."""

    intake: Intake
    """Owed to one function, without an ordering key: its order is the source's."""
    decision: Complete | Bury | Leave
    attempt: Attempt | None = None
    """None where nothing was run."""
    answer: Answered | None = None
    then: tuple[Intake, ...] = ()
    """Events to accept in the same transaction: destinations inside the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which deliveries to list, newest first."""

    state: State | None = None
    function: str | None = None
    trigger: str | None = None
    since: Millis | None = None
    """Created at or after."""
    before: str | None = None
    """Only ids smaller than this one: the cursor of the next page."""
    error: str | None = None
    """A part of ``TYPE: MESSAGE``, whatever the case of ASCII letters. Of more than :data:`LOOKED_AT` dead letters,
    and of what is unfinished or cancelled, about the newest so many are looked at."""
    typed: bool = False
    """Whether *error* is a part of ``TYPE`` alone: the message is not even looked at."""
    later: Millis | None = None
    """With *error*: only those that are queued for a time after this."""
    key: str | None = None
    """The whole dedup or ordering key; beyond the keys that are still remembered, the newest :data:`LOOKED_AT`
    deliveries are looked at."""
    limit: int = 100


@dataclass(slots=True, kw_only=True)
class Detail:
    """One delivery with all that is kept of it."""

    delivery: Delivery
    event: Event
    attempts: list[Attempt]


@dataclass(slots=True, kw_only=True)
class Stats:
    """Counts over the whole life of the store, from ledgers kept in the same transactions."""

    accepted: int
    discarded: int
    pruned: int
    by_lane: Mapping[Lane, Mapping[State, int]] = field(default_factory=dict)

    def count(self, state: State) -> int:
        """Return how many deliveries stand in *state*."""
        return sum(counts.get(state, 0) for counts in self.by_lane.values())

    @property
    def drift(self) -> int:
        """Return accepted minus all it must equal: queued, running, finished, discarded, pruned. Zero, always."""
        return self.accepted - self.discarded - self.pruned - sum(self.count(state) for state in State)


@dataclass(slots=True, kw_only=True)
class Lease:
    name: str
    holder: str
    until: Millis


class Store(Protocol):
    """Batch first: a verb takes many and answers in order."""

    @property
    def owner(self) -> int:
        """This opening's epoch: greater than that of every opening before it."""
        ...

    # intake and dispatch
    async def append(
        self, intakes: Sequence[Intake], *, now: Millis, checkpoints: Mapping[tuple[str, str], str | None] | None = None
    ) -> list[Appended]:
        """Accept events and write *checkpoints* ((scope, key) to value, None removes), or neither.

        A delivery is blocked (kept from being claimed) while an older unfinished one of its lane has its
        ordering key. ``created`` is *now*, ``due`` is *now* or ``event.due`` if later. Who is cancelled meanwhile
        gets his answer all the same, and is cancelled at his next wait.
        """
        ...

    async def claim(self, wants: Sequence[Want], *, now: Millis) -> list[Grant]:
        """Make due, unblocked deliveries running, the earliest due first, and count the attempt.

        At most one per ordering key of a lane is running at any time. Who is cancelled meanwhile gets what he claimed,
        as with :meth:`append`.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], *, now: Millis) -> list[bool]:
        """Record attempts and carry out decisions; False where the fence no longer holds (nothing was done).

        Complete and Bury finish a delivery and unblock the next of its ordering key; Retry makes it
        queued again (an ordered one still blocks those behind it), uncounted gives the attempt back.
        """
        ...

    async def record(
        self,
        records: Sequence[Record],
        *,
        now: Millis,
        checkpoints: Mapping[tuple[str, str], str | None] | None = None,
    ) -> list[Appended]:
        """Write finished deliveries and *checkpoints*, or neither: nothing of it was ever queued or running.

        Created is a new delivery. Repeated is the one that has the event's dedup key: if it is cancelled it gets the
        attempt and the decision, else it is left alone; one that was pruned is written anew, and so is a cancelled one
        of another function than the record's. Of *records* that share a
        key the first is written, and the others repeat it.
        """
        ...

    async def known(self, trigger: str, keys: Sequence[str], *, now: Millis) -> dict[str, Delivery]:
        """Return, by dedup key, the first delivery of the event that has it within its horizon and is still kept."""
        ...

    async def reap(self) -> list[str]:
        """Give back what owners that are gone left running: queued, attempt uncounted, ``lost`` + 1."""
        ...

    async def answer(self, keys: Sequence[tuple[str, str]], *, now: Millis) -> list[bytes | None]:
        """Return the stored answer for each (function, idempotency key)."""
        ...

    async def keep_answer(self, answer: Answered) -> None:
        """Store the answer of a call that had no delivery."""
        ...

    # coordination
    async def lease(self, name: str, holder: str, ttl: Millis, *, now: Millis) -> Lease | None:
        """Take or extend a named lease; None while another holder's has not run out."""
        ...

    async def unlease(self, name: str, holder: str) -> None: ...

    async def checkpoints(self, scope: str, prefix: str = "") -> dict[str, str]: ...

    async def set_checkpoints(self, scope: str, values: Mapping[str, str | None]) -> None: ...

    # people
    async def page(self, query: Query) -> list[Delivery]: ...

    async def get(self, delivery: str) -> Detail | None: ...

    async def event(self, event: str) -> tuple[Event, list[Delivery]] | None:
        """Return an event and its deliveries that are still kept."""
        ...

    async def hasten(self, by: Millis, *, now: Millis) -> int:
        """Make due earlier by so much what is queued for after *now*; return how much of it there was.

        For a clock that was put back: what waits goes on waiting as long as it would have, and no longer. What was
        created since, in the last :data:`NOTICED` and with an id that lies ahead, is due by the clock as it is now.
        """
        ...

    async def redrive(
        self, deliveries: Sequence[str], *, now: Millis, states: Container[State] = FINISHED
    ) -> list[str]:
        """Queue again what stands in one of these finished *states*, attempts and losses from 0, ids kept, due now.

        Returns those that did.
        """
        ...

    async def retry(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        """Make due now what was tried and waits for its next attempt; return those that did.

        Nothing else of them changes: attempts go on counting, and an ordered one keeps its place in line.
        """
        ...

    async def cancel(self, deliveries: Sequence[str], *, now: Millis, reason: str) -> list[str]:
        """Finish queued or running deliveries as cancelled; a late settle finds its fence gone."""
        ...

    async def discard(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        """Remove dead deliveries and count them as discarded."""
        ...

    async def graves(self, limit: int = 10_000) -> list[Group]:
        """Return the dead letters by function and fingerprint of error; of at most *limit* different texts."""
        ...

    async def stats(self) -> Stats: ...

    async def earliest(self, lanes: Sequence[Lane]) -> Millis | None:
        """Return when the first of the lanes' unblocked queued deliveries is or was due; None where none waits."""
        ...

    async def audit(self) -> list[str]:
        """Count the rows themselves and compare with the ledgers, and look for damage; a sentence per finding."""
        ...

    async def prune(
        self, *, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int = 1000
    ) -> int:
        """Remove up to *limit* finished deliveries that ended before the moment (dead ones: by function, where
        named), with attempts, events and payloads nothing else needs; expired keys, answers and leases too.
        Returns how many deliveries went; they count as pruned."""
        ...

    async def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        ...

    async def held(self) -> int:
        """Return about how many of them no pruning by age frees: what is unfinished or dead, answers, checkpoints."""
        ...

    def backup(self) -> AbstractAsyncContextManager[Iterator[bytes]]:
        """Lend the bytes of an archive of everything as it was at one moment; the store goes on meanwhile.

        They are read from files: iterate in a thread before leaving. Conflict while another backup is lent, and
        where no copy can be made.
        """
        ...
