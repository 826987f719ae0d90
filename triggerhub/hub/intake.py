"""Take events in: what is answered here is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

import anyio

from triggerhub.errors import BacklogFull, StoreBroken, StoreFull
from triggerhub.hub.feed import Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.keyless import Keyless
from triggerhub.hub.services import Services
from triggerhub.model import Event, Millis
from triggerhub.source import Accepted, Answer, Duplicate, Filtered
from triggerhub.store import Appended, Created, Intake, Lane
from triggerhub.telemetry.tracing import Span, Tracing

BACKLOG = 100_000
"""How many unfinished deliveries the built-in triggers may have."""


_lane = lru_cache(maxsize=1000)(Lane)
"""The same few for every event."""


class Inlet:
    """Stamps, filters, keys and stores events, and rouses the dispatchers that they are owed to."""

    def __init__(self, services: Services, tracing: Tracing | None) -> None:
        self._store, self._clock, self._feed = services.store, services.clock, services.feed
        self._mint, self._depth, self._metrics = services.mint, services.depth, services.metrics
        self._unstored = services.unstored
        self._wake, self._tracing = services.wake, tracing
        self._keyless = Keyless(services.metrics)
        self._broken: StoreBroken | None = None
        self._breaking = anyio.Event()
        self.full = False
        """Whether the store refused the latest event for want of room."""

    async def until_broken(self) -> None:
        """Raise StoreBroken once the store is: those who asked are told, but only the hub itself can end the hub."""
        await self._breaking.wait()
        assert self._broken is not None, "it is said before the event is set"
        raise self._broken

    async def accept(
        self,
        gate: Gate,
        events: Sequence[Event],
        *,
        checkpoints: Mapping[str, str | None] | None = None,
        wait: bool = True,
    ) -> list[Answer]:
        """Return one answer per event after the commit; see ``source.Context.emit``."""
        trigger = gate.trigger
        if self._depth[trigger.name] >= trigger.backlog:
            await self._room(gate, wait=wait)
        answers: list[Answer | None] = []
        intakes: list[Intake] = []
        spans: list[Span] = []
        for event in events:
            stamped = event.stamped(self._mint(), trigger.name)
            if self._tracing is not None:
                spans.append(
                    self._tracing.begin(f"accept {trigger.name}", "producer", event.trace, {"event.id": stamped.id})
                )
                stamped.trace = spans[-1].header
            admitted = await gate.admitted(stamped) if gate.looks else gate.admit(stamped)
            if isinstance(admitted, Filtered):
                answers.append(admitted)
                self._metrics.count("filtered", trigger.name)
                self._unstored.refused(trigger.name, admitted, self._clock.now())
                self._tell("filtered", trigger.name, text=admitted.why)
            else:
                answers.append(None)
                intakes.append(admitted)
                if trigger.key or trigger.order:
                    self._keyless.look(trigger, admitted.event)
        # Others may have come in while a large record was looked into.
        if self._depth[trigger.name] >= trigger.backlog:
            await self._room(gate, wait=wait)
        scoped = {(trigger.name, key): value for key, value in (checkpoints or {}).items()}
        try:
            appended = iter(await self._append(intakes, scoped, wait=wait))
        except BaseException as error:
            for span in spans:
                span.end((type(error).__name__, str(error)))
            raise
        told = [answer or self._answer(next(appended), trigger.name) for answer in answers]
        for span, one in zip(spans, told, strict=False):
            span.note("triggerhub.answer", type(one).__name__.lower())
            span.end()
        return told

    async def put(self, intakes: Sequence[Intake]) -> list[Answer]:
        """Store what needs no gate: asynchronous invokes. BacklogFull."""
        for intake in intakes:
            if self._depth[intake.event.trigger] >= BACKLOG:
                raise BacklogFull(intake.event.trigger, BACKLOG)
        return [
            self._answer(one, intake.event.trigger)
            for one, intake in zip(await self._append(intakes, {}, wait=False), intakes, strict=True)
        ]

    async def _append(
        self, intakes: Sequence[Intake], checkpoints: Mapping[tuple[str, str], str | None], *, wait: bool
    ) -> list[Appended]:
        if not intakes and not checkpoints:
            return []
        # Counted before the commit: what is on its way in takes up room, too. And roused before it: a claim that
        # follows at once shares the commit, so that a lone event waits for one sync and not for two.
        for intake in intakes:
            self._depth.add(intake.event.trigger, len(intake.owed))
            self._rouse(intake)
        appended: list[Appended] = []
        try:
            appended = await self._stored(intakes, checkpoints, wait=wait)
        finally:
            for one, intake in zip_longest(appended, intakes):
                if isinstance(one, Created):
                    self._rouse(intake)
                else:
                    self._depth.add(intake.event.trigger, -len(intake.owed))
        return appended

    def _rouse(self, intake: Intake) -> None:
        for owed in intake.owed:
            self._wake(_lane(intake.event.trigger, owed.function))

    async def _stored(
        self, intakes: Sequence[Intake], checkpoints: Mapping[tuple[str, str], str | None], *, wait: bool
    ) -> list[Appended]:
        while True:
            try:
                # Whoever is cancelled still rouses what the commit has made due: the store holds it back till then.
                appended = await self._store.append(intakes, now=self._clock.now(), checkpoints=checkpoints)
            except StoreBroken as error:
                self._broken = error
                self._breaking.set()
                raise
            except StoreFull:
                self.full = True
                if not wait:
                    raise
                await anyio.sleep(1)
            else:
                self.full = False
                return appended

    async def _room(self, gate: Gate, *, wait: bool) -> None:
        trigger = gate.trigger
        while self._depth[trigger.name] >= trigger.backlog:
            if not wait:
                raise BacklogFull(trigger.name, trigger.backlog)
            await anyio.sleep(0.05)

    def _answer(self, appended: Appended, trigger: str) -> Answer:
        if isinstance(appended, Created):
            self._metrics.count("accepted", trigger)
            self._tell("accepted", trigger, appended.deliveries)
            return Accepted(event=appended.event, deliveries=appended.deliveries)
        self._metrics.count("duplicates", trigger)
        self._unstored.repeated(appended.event, self._clock.now())
        self._tell("duplicate", trigger, appended.deliveries)
        return Duplicate(event=appended.event, deliveries=appended.deliveries)

    def _tell(self, kind: str, trigger: str, deliveries: Sequence[str] = (), text: str = "") -> None:
        if self._feed.watched:
            now: Millis = self._clock.now()
            for delivery in deliveries or (None,):
                self._feed.publish(Happening(time=now, kind=kind, trigger=trigger, delivery=delivery, text=text))
