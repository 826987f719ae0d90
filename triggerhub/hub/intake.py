"""Take events in: what is answered here is committed."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

import anyio

from triggerhub import ids
from triggerhub.errors import BacklogFull, StoreBroken, StoreFull
from triggerhub.hub.clock import Clock
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.keyless import Keyless
from triggerhub.hub.unstored import Unstored
from triggerhub.model import Event, Millis
from triggerhub.source import Accepted, Answer, Duplicate, Filtered
from triggerhub.store import Appended, Created, Intake, Lane, Stats, Store
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.tracing import Span, Tracing

BACKLOG = 100_000
"""How many unfinished deliveries the built-in triggers may have."""


_lane = lru_cache(maxsize=1000)(Lane)
"""The same few for every event."""


class Mint:
    """Makes event ids that only grow, also within a millisecond and when the clock steps back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._counter = 0
        self._random: Iterator[tuple[int, ...]] = iter(())

    def __call__(self) -> str:
        now = self._clock.now()
        if now > self._last:
            self._last, self._counter = now, 0
        else:
            self._counter += 1
            if self._counter > 0xFFF:
                self._last, self._counter = self._last + 1, 0
        return ids.event_id(self._last, self._counter, self._drawn())

    def _drawn(self) -> int:
        """Return the next eight random bytes; they are fetched for many ids at once, since each fetch is a wait."""
        for drawn in self._random:
            return drawn[0]
        self._random = struct.iter_unpack("Q", os.urandom(8 * 512))
        return self._drawn()


class Depth:
    """Counts the unfinished deliveries of each trigger, for backpressure."""

    def __init__(self, stats: Stats) -> None:
        self._unfinished: Counter[str] = Counter()
        for lane, counts in stats.by_lane.items():
            self._unfinished[lane.trigger] += sum(n for state, n in counts.items() if not state.finished)

    def __getitem__(self, trigger: str) -> int:
        return self._unfinished[trigger]

    def add(self, trigger: str, count: int) -> None:
        self._unfinished[trigger] += count


class Inlet:
    """Stamps, filters, keys and stores events, and rouses the dispatchers that they are owed to."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mint: Mint,
        depth: Depth,
        feed: Feed,
        metrics: Metrics,
        wake: Callable[[Lane], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._depth = depth
        self._feed = feed
        self._metrics = metrics
        self._keyless = Keyless(metrics)
        self._wake = wake
        self.unstored = Unstored()
        self.tracing: Tracing | None = None
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
            if self.tracing is not None:
                spans.append(
                    self.tracing.begin(f"accept {trigger.name}", "producer", event.trace, {"event.id": stamped.id})
                )
                stamped.trace = spans[-1].header
            admitted = await gate.admitted(stamped) if gate.looks else gate.admit(stamped)
            if isinstance(admitted, Filtered):
                answers.append(admitted)
                self._metrics.count("filtered", trigger.name)
                self.unstored.refused(trigger.name, admitted, self._clock.now())
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
        self.unstored.repeated(appended.event, self._clock.now())
        self._tell("duplicate", trigger, appended.deliveries)
        return Duplicate(event=appended.event, deliveries=appended.deliveries)

    def _tell(self, kind: str, trigger: str, deliveries: Sequence[str] = (), text: str = "") -> None:
        if self._feed.watched:
            now: Millis = self._clock.now()
            for delivery in deliveries or (None,):
                self._feed.publish(Happening(time=now, kind=kind, trigger=trigger, delivery=delivery, text=text))
