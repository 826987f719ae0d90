"""Keep everything in memory: the simplest store that keeps the contract, for tests and simulations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate

from triggerhub import ids
from triggerhub.errors import Conflict
from triggerhub.model import FINISHED, Attempt, Bury, Complete, Delivery, Event, Leave, Millis, Retry, State
from triggerhub.policy.batching import look_again, ready
from triggerhub.policy.grouping import Grave, Group, group
from triggerhub.store import (
    NOTICED,
    Answered,
    Appended,
    Claimed,
    Created,
    Detail,
    Fence,
    Grant,
    Intake,
    Lane,
    Lease,
    Query,
    Record,
    Repeated,
    Settlement,
    Stats,
    Want,
)
from triggerhub.stores.searching import fits


@dataclass(slots=True)
class _Key:
    event: str
    deliveries: tuple[str, ...]
    until: Millis


@dataclass(slots=True)
class _Row:
    delivery: Delivery
    lane: Lane
    owner: int = 0
    blocked: bool = False
    attempts: list[Attempt] = field(default_factory=list)


class MemoryStore:
    """A ``store.Store`` whose rows live as long as the object."""

    def __init__(self) -> None:
        self.owner = 1
        self.rows: dict[str, _Row] = {}
        self._events: dict[str, Event] = {}
        self._keys: dict[tuple[str, str], _Key] = {}
        self._answers: dict[tuple[str, str], tuple[bytes, Millis]] = {}
        self._leases: dict[str, Lease] = {}
        self._checkpoints: dict[tuple[str, str], str] = {}
        self._queued: dict[Lane, dict[str, _Row]] = defaultdict(dict)
        self._ordered: dict[tuple[Lane, str], set[str]] = defaultdict(set)
        self._counts: dict[Lane, Counter[State]] = defaultdict(Counter)
        self._ledger: Counter[str] = Counter()

    def reopen(self) -> None:
        """Be the next hub on the same rows: everybody before is gone."""
        self.owner += 1

    # intake and dispatch

    async def append(
        self, intakes: Sequence[Intake], *, now: Millis, checkpoints: Mapping[tuple[str, str], str | None] | None = None
    ) -> list[Appended]:
        self._check(intakes)
        answers = [self._append(intake, now) for intake in intakes]
        for key, value in (checkpoints or {}).items():
            self._set_checkpoint(key, value)
        return answers

    @staticmethod
    def _check(intakes: Iterable[Intake]) -> None:
        for one in intakes:
            if len(one.owed) > ids.MAX_FAN_OUT:
                raise ValueError(
                    f"event {one.event.id} is owed to {len(one.owed)} functions; expected at most {ids.MAX_FAN_OUT}"
                )

    def _append(self, intake: Intake, now: Millis) -> Appended:
        event = intake.event
        if event.dedup_key is not None:
            known = self._keys.get((event.trigger, event.dedup_key))
            if known is not None and known.until > now:
                return Repeated(event=known.event, deliveries=known.deliveries)
        made = tuple(ids.delivery_id(event.id, number) for number in range(1, len(intake.owed) + 1))
        if made:
            self._events[event.id] = event
        for delivery, owed in zip(made, intake.owed, strict=True):
            row = _Row(
                Delivery(
                    id=delivery,
                    event_id=event.id,
                    trigger=event.trigger,
                    function=owed.function,
                    state=State.QUEUED,
                    attempts=0,
                    created=now,
                    due=max(now, event.due or now),
                    since=None if event.due is None else max(now, event.due),
                    dedup_key=event.dedup_key,
                    ordering_key=event.ordering_key,
                    idempotency_key=owed.idempotency_key,
                ),
                Lane(event.trigger, owed.function),
            )
            self.rows[delivery] = self._queued[row.lane][delivery] = row
            self._counts[row.lane][State.QUEUED] += 1
            self._order(row)
        self._ledger["accepted"] += len(made)
        if event.dedup_key is not None:
            self._keys[event.trigger, event.dedup_key] = _Key(event.id, made, now + intake.keep)
        return Created(event=event.id, deliveries=made)

    async def claim(self, wants: Sequence[Want], *, now: Millis) -> list[Grant]:
        return [self._claim(want, now) for want in wants]

    def _claim(self, want: Want, now: Millis) -> Grant:
        free = sorted(
            (row for row in self._queued[want.lane].values() if not row.blocked),
            key=lambda row: (row.delivery.due, row.delivery.id),
        )
        due = [row for row in free if row.delivery.due <= now]
        oldest = due[0].delivery.due if due else None
        taken: list[Claimed] = []
        if ready(len(due), oldest, size=want.size, window=want.window, now=now):
            sizes = [len(self._events[row.delivery.event_id].data) for row in due[: want.limit]]
            fitting = sum(want.bytes is None or total <= want.bytes for total in accumulate(sizes))
            taken = [self._take(row) for row in due[: max(fitting, 1)][: want.limit]]
        rest = [row for row in free if row.delivery.state is State.QUEUED]
        return Grant(taken, self._next(rest, want, now))

    @staticmethod
    def _next(rest: Sequence[_Row], want: Want, now: Millis) -> Millis | None:
        due = [row for row in rest if row.delivery.due <= now]
        if due:
            return look_again(len(due), due[0].delivery.due, size=want.size, window=want.window, now=now)
        if not rest:
            return None
        return rest[0].delivery.due

    def _take(self, row: _Row) -> Claimed:
        self._move(row, State.RUNNING)
        row.owner = self.owner
        row.delivery.attempts += 1
        row.delivery.claims += 1
        delivery = row.delivery
        return Claimed(replace(delivery), self._events[delivery.event_id], Fence(self.owner, delivery.claims))

    async def settle(self, settlements: Sequence[Settlement], *, now: Millis) -> list[bool]:
        self._check(intake for one in settlements for intake in one.then)
        return [self._settle(one, now) for one in settlements]

    def _settle(self, settlement: Settlement, now: Millis) -> bool:
        row = self.rows.get(settlement.delivery)
        if (
            row is None
            or row.delivery.state is not State.RUNNING
            or settlement.fence != Fence(row.owner, row.delivery.claims)
        ):
            return False
        delivery = row.delivery
        if attempt := settlement.attempt:
            row.attempts.append(attempt)
            delivery.version, delivery.duration_ms, delivery.error = attempt.version, attempt.duration_ms, attempt.error
        match settlement.decision:
            case Complete(reason):
                delivery.error = delivery.error if attempt else None
                self._finish(row, State.SUCCEEDED, now, reason)
            case Bury(reason):
                self._finish(row, State.DEAD, now, reason)
            case Leave(reason):
                self._finish(row, State.CANCELLED, now, reason)
            case Retry(at, counted):
                delivery.attempts -= 0 if counted else 1
                delivery.due = at
                self._queue(row)
        if settlement.answer:
            self._keep(settlement.answer)
        for intake in settlement.then:
            self._append(intake, now)
        return True

    async def record(
        self,
        records: Sequence[Record],
        *,
        now: Millis,
        checkpoints: Mapping[tuple[str, str], str | None] | None = None,
    ) -> list[Appended]:
        self._check(intake for one in records for intake in (one.intake, *one.then))
        written: set[str] = set()
        answers = [self._record(one, now, written) for one in records]
        for key, value in (checkpoints or {}).items():
            self._set_checkpoint(key, value)
        return answers

    def _record(self, one: Record, now: Millis, written: set[str]) -> Appended:
        answer = self._append(one.intake, now)
        if isinstance(answer, Repeated) and answer.deliveries and self._is_anew(answer.deliveries[0], one.intake):
            del self._keys[one.intake.event.trigger, one.intake.event.dedup_key or ""]
            answer = self._append(one.intake, now)
        row = self.rows[answer.deliveries[0]] if answer.deliveries else None
        if row is None or row.delivery.id in written:
            return answer
        if isinstance(answer, Repeated) and row.delivery.state is not State.CANCELLED:
            return answer
        written.add(row.delivery.id)
        self._move(row, State.RUNNING)
        row.owner = self.owner
        row.delivery.attempts += one.attempt is not None
        row.delivery.claims += 1
        self._settle(
            Settlement(
                delivery=row.delivery.id,
                fence=Fence(self.owner, row.delivery.claims),
                decision=one.decision,
                attempt=one.attempt,
                answer=one.answer,
                then=one.then,
            ),
            now,
        )
        return replace(answer, resumed=True) if isinstance(answer, Repeated) else answer

    def _is_anew(self, delivery: str, intake: Intake) -> bool:
        """Whether the delivery that has the key is gone, or was left by a function that is not the trigger's now."""
        row = self.rows.get(delivery)
        if row is None:
            return True
        return row.delivery.state is State.CANCELLED and row.delivery.function != intake.owed[0].function

    async def known(self, trigger: str, keys: Sequence[str], *, now: Millis) -> dict[str, Delivery]:
        found = {key: one for key in keys if (one := self._keys.get((trigger, key))) and one.until > now}
        return {
            key: replace(self.rows[one.deliveries[0]].delivery)
            for key, one in found.items()
            if one.deliveries and one.deliveries[0] in self.rows
        }

    async def reap(self) -> list[str]:
        given_back = []
        for row in self.rows.values():
            if row.delivery.state is State.RUNNING and row.owner != self.owner:
                row.delivery.attempts -= 1
                row.delivery.lost += 1
                self._queue(row)
                given_back.append(row.delivery.id)
        return given_back

    async def answer(self, keys: Sequence[tuple[str, str]], *, now: Millis) -> list[bytes | None]:
        found = [self._answers.get(key) for key in keys]
        return [one[0] if one and one[1] > now else None for one in found]

    async def keep_answer(self, answer: Answered) -> None:
        self._keep(answer)

    # coordination

    async def lease(self, name: str, holder: str, ttl: Millis, *, now: Millis) -> Lease | None:
        held = self._leases.get(name)
        if held and held.holder != holder and held.until > now:
            return None
        self._leases[name] = Lease(name=name, holder=holder, until=now + ttl)
        return self._leases[name]

    async def unlease(self, name: str, holder: str) -> None:
        if (held := self._leases.get(name)) and held.holder == holder:
            del self._leases[name]

    async def checkpoints(self, scope: str, prefix: str = "") -> dict[str, str]:
        return {key: value for (of, key), value in self._checkpoints.items() if of == scope and key.startswith(prefix)}

    async def set_checkpoints(self, scope: str, values: Mapping[str, str | None]) -> None:
        for key, value in values.items():
            self._set_checkpoint((scope, key), value)

    # people

    async def page(self, query: Query) -> list[Delivery]:
        found = (row.delivery for row in sorted(self.rows.values(), key=lambda row: row.delivery.id, reverse=True))
        return [replace(one) for one in found if fits(one, query)][: query.limit]

    async def get(self, delivery: str) -> Detail | None:
        row = self.rows.get(delivery)
        if row is None:
            return None
        return Detail(
            delivery=replace(row.delivery), event=self._events[row.delivery.event_id], attempts=list(row.attempts)
        )

    async def event(self, event: str) -> tuple[Event, list[Delivery]] | None:
        if event not in self._events:
            return None
        rows = [replace(row.delivery) for row in self.rows.values() if row.delivery.event_id == event]
        return self._events[event], sorted(rows, key=lambda one: one.id)

    async def hasten(self, by: Millis, *, now: Millis) -> int:
        def since(one: Delivery) -> bool:
            return one.id >= ids.first_at(now) and now - NOTICED <= one.created <= now

        waiting = [row.delivery for row in self.rows.values() if row.delivery.state is State.QUEUED]
        late = [one for one in waiting if one.due > now and not since(one)]
        for one in late:
            one.due -= by
        return len(late)

    async def redrive(
        self, deliveries: Sequence[str], *, now: Millis, states: Container[State] = FINISHED
    ) -> list[str]:
        queued = []
        for row in self._known(deliveries):
            if row.delivery.state in states:
                row.delivery.attempts = row.delivery.lost = 0
                row.delivery.due = row.delivery.since = now
                row.delivery.finished = row.delivery.error = None
                self._queue(row)
                queued.append(row.delivery.id)
        return queued

    async def retry(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        waiting = [row.delivery for row in self._known(deliveries) if row.delivery.retrying(now)]
        for one in waiting:
            one.due = now
        return [one.id for one in waiting]

    async def cancel(self, deliveries: Sequence[str], *, now: Millis, reason: str) -> list[str]:
        ended = []
        for row in self._known(deliveries):
            if not row.delivery.state.finished:
                self._finish(row, State.CANCELLED, now, reason)
                ended.append(row.delivery.id)
        return ended

    async def discard(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        gone = [row for row in self._known(deliveries) if row.delivery.state is State.DEAD]
        self._remove(gone, "discarded")
        return [row.delivery.id for row in gone]

    async def graves(self, limit: int = 10_000) -> list[Group]:
        found: dict[tuple[str, str | None, str | None], list[Delivery]] = defaultdict(list)
        for row in self.rows.values():
            one = row.delivery
            if one.state is State.DEAD:
                error = one.error
                text = (error.type, error.message) if error else (None, None)
                found[one.function, *text].append(one)
        return group(
            Grave(
                function=function,
                type=kind,
                message=message,
                count=len(dead),
                first=min(one.finished or 0 for one in dead),
                last=max(one.finished or 0 for one in dead),
                newest=max(one.id for one in dead),
            )
            for (function, kind, message), dead in list(found.items())[:limit]
        )

    async def earliest(self, lanes: Sequence[Lane]) -> Millis | None:
        waiting = (row for lane in lanes for row in self._queued[lane].values() if not row.blocked)
        return min((row.delivery.due for row in waiting), default=None)

    async def stats(self) -> Stats:
        return Stats(
            accepted=self._ledger["accepted"],
            discarded=self._ledger["discarded"],
            pruned=self._ledger["pruned"],
            by_lane={lane: dict(counts) for lane, counts in self._counts.items()},
        )

    async def audit(self) -> list[str]:
        counted: dict[Lane, Counter[State]] = defaultdict(Counter)
        for row in self.rows.values():
            counted[row.lane][row.delivery.state] += 1
        return [
            f"{lane.trigger} → {lane.function}: {counted[lane][state]} {state} deliveries, the ledger says {number}"
            for lane, counts in self._counts.items()
            for state, number in counts.items()
            if counted[lane][state] != number
        ]

    async def prune(
        self, *, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int = 1000
    ) -> int:
        def old(one: Delivery) -> bool:
            before = finished_before
            if one.state is State.DEAD:
                before = dead_before.get(one.function, finished_before)
            return one.state.finished and one.finished is not None and one.finished < before

        gone = sorted((row for row in self.rows.values() if old(row.delivery)), key=lambda row: row.delivery.id)[:limit]
        self._remove(gone, "pruned")
        self._keys = {key: one for key, one in self._keys.items() if one.until > now}
        self._answers = {key: one for key, one in self._answers.items() if one[1] > now}
        self._leases = {name: one for name, one in self._leases.items() if one.until > now}
        return len(gone)

    @asynccontextmanager
    async def backup(self) -> AsyncGenerator[Iterator[bytes]]:
        raise Conflict("a store in memory has no file to copy")
        yield iter(())

    async def size(self) -> int:
        return sum(len(event.data) for event in self._events.values())

    async def held(self) -> int:
        rows = (row.delivery for row in self.rows.values())
        lasting = {one.event_id for one in rows if one.state is State.DEAD or not one.state.finished}
        return sum(len(self._events[event].data) for event in lasting)

    # within

    def _move(self, row: _Row, state: State) -> None:
        counts = self._counts[row.lane]
        counts[row.delivery.state] -= 1
        counts[state] += 1
        row.delivery.state = state
        if state is State.QUEUED:
            self._queued[row.lane][row.delivery.id] = row
        else:
            self._queued[row.lane].pop(row.delivery.id, None)

    def _queue(self, row: _Row) -> None:
        self._move(row, State.QUEUED)
        row.delivery.reason = None
        self._order(row)

    def _finish(self, row: _Row, state: State, now: Millis, reason: str | None) -> None:
        self._move(row, state)
        row.delivery.finished, row.delivery.reason, row.blocked = now, reason, False
        self._order(row)

    def _order(self, row: _Row) -> None:
        """Let the oldest unfinished one of the row's ordering key go next; while one runs, nobody."""
        key = row.delivery.ordering_key
        if key is None:
            return
        line = self._ordered[row.lane, key]
        line.discard(row.delivery.id)
        if not row.delivery.state.finished:
            line.add(row.delivery.id)
        running = any(self.rows[one].delivery.state is State.RUNNING for one in line)
        for place, one in enumerate(sorted(line)):
            self.rows[one].blocked = running or place > 0

    def _remove(self, rows: Iterable[_Row], entry: str) -> None:
        for row in rows:
            del self.rows[row.delivery.id]
            self._counts[row.lane][row.delivery.state] -= 1
            self._ledger[entry] += 1
            event = row.delivery.event_id
            if not any(other.delivery.event_id == event for other in self.rows.values()):
                del self._events[event]

    def _known(self, deliveries: Sequence[str]) -> list[_Row]:
        return [row for one in dict.fromkeys(deliveries) if (row := self.rows.get(one))]

    def _keep(self, answer: Answered) -> None:
        self._answers[answer.function, answer.key] = (answer.payload, answer.until)

    def _set_checkpoint(self, key: tuple[str, str], value: str | None) -> None:
        if value is None:
            self._checkpoints.pop(key, None)
        else:
            self._checkpoints[key] = value
