"""Call a function for a source that keeps its events until they are handled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import anyio
import structlog

from triggerhub import ids
from triggerhub.aws import arn
from triggerhub.crash import crash_point
from triggerhub.errors import Conflict, StoreBroken, StoreFull
from triggerhub.hub.call import Caller
from triggerhub.hub.dispatch import Dispatcher
from triggerhub.hub.feed import Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.grace import Grace
from triggerhub.hub.group import Group
from triggerhub.hub.idempotent import holder
from triggerhub.hub.lane import LanePlan
from triggerhub.hub.pending import Key, Pending, keys_of, once, withhold
from triggerhub.hub.pool import Pool
from triggerhub.hub.services import Services
from triggerhub.hub.settler import TOLD, account
from triggerhub.model import (
    Bury,
    Complete,
    Delivery,
    Event,
    Interrupted,
    Invocation,
    Leave,
    Millis,
    Outcome,
    Returned,
    State,
)
from triggerhub.policy.masking import shortened
from triggerhub.policy.quiet import Quiet
from triggerhub.settings import RetryPolicy, Trigger
from triggerhub.source import Duplicate, Filtered, Handled, Judge
from triggerhub.store import Appended, Claimed, Created, Fence, Lane, Record

log = structlog.get_logger("dispatch")

LOOK = 0.02
"""Seconds between looks for a free place."""
Remember: TypeAlias = Callable[[Handled], Mapping[str, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a source asks of a call besides its events; see ``source.Context.handle``."""

    payload: bytes | None
    judge: Judge | None
    remember: Remember | None
    grace: Grace


class Handling:
    """The calls of all triggers whose sources acknowledge after handling."""

    def __init__(
        self,
        services: Services,
        dispatchers: Mapping[str, Dispatcher],
        caller: Caller,
        pool: Pool,
    ) -> None:
        self._services = services
        self._dispatchers = dispatchers
        self._caller = caller
        self._pool = pool
        self._under_way: Counter[str] = Counter()
        """Calls by trigger."""
        self._busy: set[Key] = set()
        """Dedup keys under way, by trigger."""
        self._full = Quiet(every=60_000)
        self._buried = Quiet(every=1000)

    def aged(self, trigger: Trigger, events: Sequence[Event]) -> None:
        """Note how far the reading of a source is behind what it reads."""
        if events:
            age = self._services.clock.now() - max(one.time for one in events)
            self._services.metrics.aged(trigger.name, age)

    async def filtered(self, gate: Gate, events: Sequence[Event]) -> list[Filtered | None]:
        """Serve ``source.Context.filtered``."""
        answers = [await gate.admitted(one) for one in events]
        refused = [one if isinstance(one, Filtered) else None for one in answers]
        for one in filter(None, refused):
            self._tell_filtered(gate.trigger, one)
        return refused

    async def free(self, gate: Gate) -> None:
        """Serve ``source.Context.free``."""
        while not self._has_room(gate.trigger):
            await anyio.sleep(LOOK)

    def _has_room(self, trigger: Trigger) -> bool:
        dispatcher = self._dispatchers.get(trigger.functions[0])
        if dispatcher is None or dispatcher.halting() or self._has_most(trigger):
            return False
        return self._pool.free(dispatcher.function)

    def _has_most(self, trigger: Trigger) -> bool:
        return trigger.maximum_concurrency is not None and self._under_way[trigger.name] >= trigger.maximum_concurrency

    def places(self, trigger: Trigger) -> int:
        """Serve ``source.Context.places``."""
        dispatcher = self._dispatchers.get(trigger.functions[0])
        most = dispatcher.function.concurrency if dispatcher else 1
        return min(most, trigger.maximum_concurrency or most)

    def retry(self, trigger: Trigger) -> RetryPolicy:
        """Serve ``source.Context.retry``."""
        dispatcher = self._dispatchers.get(trigger.functions[0])
        plan = dispatcher.plan(Lane(trigger.name, trigger.functions[0])) if dispatcher else None
        return plan.retry if plan else RetryPolicy()

    async def handle(self, gate: Gate, events: Sequence[Event], asked: Asked) -> Handled:
        """Serve ``source.Context.handle``."""
        trigger = gate.trigger
        dispatcher = self._dispatchers.get(trigger.functions[0])
        plan = dispatcher.plan(Lane(trigger.name, trigger.functions[0])) if dispatcher else None
        if dispatcher is None or plan is None:
            return Handled(outcome=Interrupted(), each=(Interrupted(),) * len(events))
        answers = [await self._admitted(gate, one, at) for at, one in enumerate(events)]
        pending, again = once([one for one in answers if isinstance(one, Pending)], lambda one: one.dedup_key)
        keys = keys_of(trigger, pending)
        busy = keys & self._busy
        for one in pending:
            if (trigger.name, one.claimed.event.dedup_key) in busy:
                one.answer = Interrupted()  # another call has its key, and it is not run beside that
        with self._holding(keys - busy):
            await self._look_up(trigger, pending)
            withhold(pending)
            group = Group(plan, [one.claimed for one in pending if one.answer is None])
            held = [holder(one) for one in group.claimed]
            try:
                outcome, records = await self._serve(dispatcher, trigger, group, pending, asked)
                self._answer_again(trigger, again)
                each = (one.known if isinstance(one, Pending) else one for one in answers)
                handled = Handled(outcome=outcome, each=tuple(each))
                await self._write(trigger, records, asked.remember(handled) if asked.remember else {})
            finally:
                for name in held:
                    dispatcher.idempotent.done(name)
        return handled

    async def bury(
        self,
        gate: Gate,
        events: Sequence[Event],
        why: str,
        outcome: Outcome | None,
        checkpoints: Mapping[str, str | None],
        body: bytes | None,
    ) -> None:
        """Serve ``source.Context.bury``."""
        trigger = gate.trigger
        dispatcher = self._dispatchers.get(trigger.functions[0])
        plan = dispatcher.plan(Lane(trigger.name, trigger.functions[0])) if dispatcher else None
        if plan is None:
            raise Conflict(f"the function of trigger {trigger.name!r} is not there any more")
        answers = [await self._admitted(gate, one, at) for at, one in enumerate(events)]
        pending, _ = once([one for one in answers if isinstance(one, Pending)], lambda one: one.dedup_key)
        keys = keys_of(trigger, pending)
        while not self._busy.isdisjoint(keys):
            await anyio.sleep(LOOK)
        with self._holding(keys):
            await self._look_up(trigger, pending)
            records = []
            for one in pending:
                if one.answer is not None:
                    continue
                one.claimed.delivery.attempts -= 1  # nothing is run here
                given_up = self._services.verdicts.given_up(
                    plan, one.claimed, outcome or Interrupted(), why, trigger.keep, body, now=self._services.clock.now()
                )
                records.append((outcome or Interrupted(), given_up))
                # One body tells of them all.
                body = b"" if body is not None else None
            await self._write(trigger, records, checkpoints)

    # before the call

    async def _admitted(self, gate: Gate, event: Event, at: int) -> Pending | Filtered:
        admitted = await gate.admitted(event.stamped(self._services.mint(), gate.trigger.name))
        if isinstance(admitted, Filtered):
            self._tell_filtered(gate.trigger, admitted)
            return admitted
        event, owed, now = admitted.event, admitted.owed[0], self._services.clock.now()
        line, event.ordering_key = event.ordering_key, None  # its order is its source's; the stamped event is ours
        delivery = Delivery(
            id=ids.delivery_id(event.id, 1),
            event_id=event.id,
            trigger=event.trigger,
            function=owed.function,
            state=State.RUNNING,
            attempts=1,
            created=now,
            due=now,
            dedup_key=event.dedup_key,
            idempotency_key=owed.idempotency_key,
        )
        return Pending(Claimed(delivery, event, Fence(self._services.store.owner, 0)), at, line)

    @contextmanager
    def _holding(self, keys: set[Key]) -> Generator[None]:
        """Hold dedup keys that no other call has."""
        self._busy |= keys
        try:
            yield
        finally:
            self._busy -= keys

    async def _look_up(self, trigger: Trigger, pending: Sequence[Pending]) -> None:
        """Find what the hub has already, and what was left before: that goes on as the same delivery."""
        keys = [key for one in pending if one.answer is None and (key := one.claimed.event.dedup_key)]
        if not keys:
            return
        known = await self._services.store.known(trigger.name, keys, now=self._services.clock.now())
        for one in pending:
            before = known.get(one.claimed.event.dedup_key or "")
            if before is None or one.answer is not None:
                continue
            if before.state is State.CANCELLED:
                if before.function == one.claimed.delivery.function:
                    one.claimed.delivery.id, one.claimed.delivery.attempts = before.id, before.attempts + 1
                continue
            one.answer = self._duplicate(trigger, before.id)

    def _answer_again(self, trigger: Trigger, again: Sequence[tuple[Pending, Pending]]) -> None:
        """Answer what repeats another event of its batch: that one's end is its own."""
        for one, first in again:
            match first.answer:
                case Duplicate(deliveries=(delivery,)):
                    one.answer = self._duplicate(trigger, delivery)
                case Returned():
                    one.answer = self._duplicate(trigger, first.claimed.delivery.id)
                case _:
                    one.answer = Interrupted()

    def _duplicate(self, trigger: Trigger, delivery: str) -> Duplicate:
        services, event = self._services, ids.event_of(delivery)
        services.metrics.count("duplicates", trigger.name)
        services.unstored.repeated(event, services.clock.now())
        self._tell(trigger, "duplicate", delivery)
        return Duplicate(event=event, deliveries=(delivery,))

    # the call

    async def _serve(
        self,
        dispatcher: Dispatcher,
        trigger: Trigger,
        group: Group,
        pending: Sequence[Pending],
        asked: Asked,
    ) -> tuple[Outcome, list[tuple[Outcome, Record]]]:
        """Call the function for what is left; give every pending event its answer, and return what to write."""
        firsts, again = once([one for one in pending if one.answer is None], lambda one: one.idempotency_key)
        now, keyed = self._services.clock.now(), [one.claimed for one in firsts]
        answered, later, _ = await dispatcher.idempotent.sift(keyed, now=now)
        records = self._repeat(dispatcher, trigger, group.plan, answered, pending)
        withhold(pending, {one.delivery.id for one, _ in later})
        group.claimed = [one.claimed for one in firsts if one.answer is None]
        outcome: Outcome = Interrupted()
        if group.claimed if asked.payload is None else not any(one.withheld for one in pending):
            with asked.grace.call():
                outcome, version, started = await self._call(dispatcher, trigger, group, asked)
        if not isinstance(outcome, Interrupted):
            crash_point("handled")
            records += self._judge(dispatcher, trigger, group, outcome, version, started, pending, asked.judge)
        copies = [one.claimed for one, first in again if one.answer is None and isinstance(first.answer, Returned)]
        return outcome, records + self._repeat(dispatcher, trigger, group.plan, copies, pending)

    def _repeat(
        self,
        dispatcher: Dispatcher,
        trigger: Trigger,
        plan: LanePlan,
        answered: list[Claimed],
        pending: Sequence[Pending],
    ) -> list[tuple[Outcome, Record]]:
        """Answer events whose keys of idempotency are answered, and return what to write of them."""
        records = self._judge(dispatcher, trigger, Group(plan, answered), Returned(payload=b"null"), "", 0, pending)
        known = Complete("idempotent")
        return [(own, replace(one, decision=known, attempt=None, answer=None, then=())) for own, one in records]

    async def _call(
        self, dispatcher: Dispatcher, trigger: Trigger, group: Group, asked: Asked
    ) -> tuple[Outcome, str, Millis]:
        """Return the outcome, the version and when it began; Interrupted where it is not to begin."""
        while self._has_most(trigger) and not asked.grace.ending:
            await anyio.sleep(LOOK)
        self._under_way[trigger.name] += 1
        try:
            giving_up = dispatcher.halting() or not await dispatcher.throttle.pass_(dispatcher.halting)
            if giving_up or asked.grace.ending:
                return Interrupted(), "", 0
            first = group.claimed[0].delivery if group.claimed else None
            alone = first is not None and len(group.claimed) == 1
            group.request_id = first.id if alone and first else self._services.mint()
            if self._services.feed.watched:
                for claimed in group.claimed:
                    self._tell(trigger, "started", claimed.delivery.id)
            started = self._services.clock.now()
            invocation = _invocation(group, asked.payload, trigger)
            outcome, version = await self._caller.call(dispatcher.function, invocation, giving_up=dispatcher.halting)
            group.trace = invocation.trace
            return outcome, version, started
        finally:
            self._under_way[trigger.name] -= 1

    def _judge(
        self,
        dispatcher: Dispatcher,
        trigger: Trigger,
        group: Group,
        outcome: Outcome,
        version: str,
        started: Millis,
        pending: Sequence[Pending],
        judge: Judge | None = None,
    ) -> list[tuple[Outcome, Record]]:
        now = self._services.clock.now()
        own_outcomes = None
        if judge is not None:
            places = {one.claimed.delivery.id: one.at for one in pending}
            own_outcomes = judge(outcome, group.request_id, [places[one.delivery.id] for one in group.claimed])
        records = self._services.verdicts.recorded(
            group, outcome, version, dispatcher.function, trigger.keep, own_outcomes, started=started, now=now
        )
        own = {claimed.delivery.id: one for claimed, (one, _) in zip(group.claimed, records, strict=True)}
        for one in pending:
            if one.claimed.delivery.id in own and one.answer is None:
                one.answer = own[one.claimed.delivery.id]
        return records

    # after it

    async def _write(
        self, trigger: Trigger, records: Sequence[tuple[Outcome, Record]], checkpoints: Mapping[str, str | None]
    ) -> None:
        """Commit; waits where the host has no room, no descriptor or no memory."""
        if not records and not checkpoints:
            return
        services = self._services
        scoped = {(trigger.name, key): value for key, value in checkpoints.items()}
        written = [record for _, record in records]
        try:
            answers = await self._stored(trigger, written, scoped)
        except StoreBroken:
            raise
        except Exception as error:  # what came of a call cannot be stored, and would not be if it were made again
            log.error("an outcome could not be stored", trigger=trigger.name, exc_info=error)
            services.metrics.count("lost_records", trigger.functions[0], sum(len(one.then) for one in written))
            written = [_bare(one, error) for one in written]
            answers = await self._stored(trigger, written, scoped)
        crash_point("recorded")
        services.metrics.count("accepted", trigger.name, sum(isinstance(one, Created) for one in answers))
        for (own, _), record, answer in zip(records, written, answers, strict=True):
            if _held(answer):
                self._tell_end(trigger, answer.deliveries[0], own, record)

    async def _stored(
        self, trigger: Trigger, written: Sequence[Record], checkpoints: Mapping[tuple[str, str], str | None]
    ) -> list[Appended]:
        services = self._services
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    answers = await services.store.record(written, now=services.clock.now(), checkpoints=checkpoints)
                    for one, answer in zip(written, answers, strict=True):
                        if _held(answer):
                            await account(services, one.then)
                return answers
            except (StoreFull, OSError, MemoryError) as error:  # no room, no descriptor or no memory is left just now
                if self._full.due(services.clock.now()):
                    why = "the disk is full" if isinstance(error, StoreFull) else str(error)
                    log.error(
                        "what was handled waits for what the host has no more of", trigger=trigger.name, error=why
                    )
            await anyio.sleep(1)

    def _tell_end(self, trigger: Trigger, delivery: str, own: Outcome, record: Record) -> None:
        services, function = self._services, trigger.functions[0]
        if isinstance(record.decision, Complete) and not services.feed.watched:
            return
        kind, text = "succeeded", record.decision.reason or ""
        if isinstance(record.decision, Bury):
            kind = "dead"
            services.metrics.count("dead", function)
            if count := self._buried.due(services.clock.now()):
                log.warning(
                    "a delivery is a dead letter",
                    delivery=delivery,
                    trigger=trigger.name,
                    function=function,
                    why=shortened(text, TOLD),
                    count=count,
                    on_screen=True,
                )
        elif isinstance(record.decision, Leave):
            kind = "retried"
        fault = getattr(own, "fault", None)
        if fault is not None:
            text = f"{fault.type}: {fault.message} ({text})"
        self._tell(trigger, kind, delivery, text, own.usage.duration_ms)

    def _tell_filtered(self, trigger: Trigger, why: Filtered) -> None:
        self._services.metrics.count("filtered", trigger.name)
        self._services.unstored.refused(trigger.name, why, self._services.clock.now())
        self._tell(trigger, "filtered", None, why.why)

    def _tell(
        self, trigger: Trigger, kind: str, delivery: str | None, text: str = "", duration_ms: float | None = None
    ) -> None:
        services = self._services
        if services.feed.watched:
            services.feed.publish(
                Happening(
                    time=services.clock.now(),
                    kind=kind,
                    trigger=trigger.name,
                    function=None if kind == "filtered" else trigger.functions[0],
                    delivery=delivery,
                    duration_ms=duration_ms,
                    text=text,
                )
            )


def _held(answer: Appended) -> bool:
    """Whether a record was written: nobody has queued, ended or given up its delivery meanwhile."""
    return isinstance(answer, Created) or answer.resumed


def _bare(record: Record, error: Exception) -> Record:
    """Return what is left to write of a call where all that came of it cannot be stored."""
    reason = ascii(f"its outcome could not be stored: {type(error).__name__}: {error}")[1:-1]
    return replace(record, decision=replace(record.decision, reason=reason), attempt=None, answer=None, then=())


def _invocation(group: Group, payload: bytes | None, trigger: Trigger) -> Invocation:
    plan, claimed = group.plan, group.claimed
    if payload is None or plan.input is not None:
        payload = plan.payload([one.event.data for one in claimed])
    return Invocation(
        request_id=group.request_id,
        function=trigger.functions[0],
        payload=payload,
        deadline=0,
        arn=arn.function(trigger.functions[0]),
        attempt=claimed[0].delivery.attempts if claimed else 1,
        deliveries=tuple(one.delivery.id for one in claimed),
        trace=claimed[0].event.trace if claimed else None,
        linked=tuple(one.event.trace for one in claimed[1:] if one.event.trace),
    )
