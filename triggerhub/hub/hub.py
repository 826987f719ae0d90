"""Be the hub, as the web and the tests hold it."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import ModuleType
from typing import Literal, Unpack

import anyio
import structlog

from triggerhub.aws.arn import function as function_arn
from triggerhub.errors import Conflict, NotFound
from triggerhub.hub import handmade
from triggerhub.hub.alarms import Alarms
from triggerhub.hub.call import Answered, Caller, Tap
from triggerhub.hub.clock import Clock, SystemClock
from triggerhub.hub.direct import Direct
from triggerhub.hub.feed import Feed
from triggerhub.hub.feed import Happening as Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.hindsight import Hindsight
from triggerhub.hub.history import History
from triggerhub.hub.intake import Depth, Inlet, Mint
from triggerhub.hub.lane import envelope_of
from triggerhub.hub.maintain import audit, maintain, prune
from triggerhub.hub.outlet import Outlet, Performer
from triggerhub.hub.pause import Kind, Paused, pausable
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import NoEnvironments, Preparation
from triggerhub.hub.pulse import Pulse
from triggerhub.hub.settler import Services
from triggerhub.hub.status import Status
from triggerhub.hub.tokens import Tokens
from triggerhub.hub.trial import Trial
from triggerhub.hub.veil import Veil, unveiled
from triggerhub.hub.verdict import Verdicts
from triggerhub.hub.wiring import Parts, Reader, Wiring
from triggerhub.model import (
    API_TRIGGER,
    Delivery,
    Event,
    Invocation,
    Json,
    Millis,
    Outcome,
    Sink,
)
from triggerhub.policy import selecting
from triggerhub.policy.grouping import Group
from triggerhub.runtime import Environments, Runtime
from triggerhub.settings import Function, Project, Trigger
from triggerhub.source import Accepted, Answer, Filtered, Routes
from triggerhub.store import Detail, Intake, Lane, Owed, Query, Stats, Store
from triggerhub.telemetry.changes import Changes
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.output import Line, OutputLog, Wanted
from triggerhub.telemetry.tracing import Tracing

log = structlog.get_logger("hub")


class Hub:
    """Everything between the web and the store. Open it, then its sources; close in the opposite order."""

    def __init__(
        self,
        project: Project,
        sources: Mapping[str, ModuleType],
        *,
        store: Store,
        runtime: Callable[[Tap], Runtime],
        output: OutputLog,
        routes: Routes,
        read: Reader,
        deployed: Mapping[str, Function] | None = None,
        mapped: Mapping[str, Trigger] | None = None,
        history: History | None = None,
        environments: Environments | None = None,
        tracing: Tracing | None = None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.addresses: dict[str, str] = {}
        """Where the listeners ended up, for status."""
        self.phase: Literal["starting", "running", "stopping"] = "starting"
        self._store = store
        self._output = output
        self._routes = routes
        self._clock = clock or SystemClock()
        self.history = history or History(store, self._clock.now)
        self.veil = Veil(lambda: self.project)
        self._wiring = Wiring(project, sources, self.veil.ahead(read), self.history, deployed, mapped)
        self.deploy, self.map, self.weigh = self._wiring.deploy, self._wiring.map, self._wiring.weigh
        self.rollback, self.trouble = self._wiring.rollback, self._wiring.trouble
        self._feed = Feed(self.veil.text)
        self._metrics = Metrics()
        self.pulse = Pulse(self._metrics, self._clock)
        self._tap = Tap(output, self._feed, self._clock, self._metrics, self.veil.line)
        self._pool = Pool(runtime(self._tap), self._clock)
        self.warmth = self._pool.warmth
        self._caller = Caller(self._pool, self._tap, self._clock, self._metrics, draw, self.veil.text)
        self.tracing = self._caller.tracing = tracing
        if tracing is not None:
            tracing.hide = self.veil.text
        self._paused = Paused(store)
        self._preparation = Preparation(environments or NoEnvironments(), self._wiring.prepared, self.veil.text)
        self.tokens = Tokens(store, self._clock.now)
        self.changes = Changes(project.hub.data / "changes")
        self._mint = Mint(self._clock)
        self.trial = Trial(self._wiring, self._mint, self._clock)
        self.hindsight = Hindsight(self._wiring, store, self._paused, self._clock)
        outlet = Outlet(self._stamp, self._queue, self._metrics, self.hindsight.unstored)
        self._verdicts = Verdicts(outlet, draw, self._pool.applied)
        self._calls = Direct(self._caller, self._clock)
        self._depth: Depth
        self._inlet: Inlet
        self._status: Status
        self.alarms: Alarms

    # lifetime

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Hub]:
        """Dispatch; leaving drains within ``[hub] drain``, then cuts what still runs and gives it back."""
        reaped = await self._store.reap()
        if reaped:
            log.warning("deliveries that a dead hub left running are queued again", count=len(reaped))
        await self._paused.load()
        await self.tokens.load()
        await anyio.to_thread.run_sync(lambda: self.changes.retain(self._clock.now()))
        self._depth = Depth(await self._store.stats())
        self._inlet = Inlet(self._store, self._clock, self._mint, self._depth, self._feed, self._metrics, self._wake)
        services = Services(
            store=self._store,
            clock=self._clock,
            mint=self._mint,
            depth=self._depth,
            feed=self._feed,
            metrics=self._metrics,
            verdicts=self._verdicts,
            wake=self._wake,
            unstored=self.hindsight.unstored,
        )
        self._status = Status(
            self._wiring, services, self._inlet, self._pool, self._paused, self._preparation, self._output
        )
        self.alarms = Alarms(self._wiring, services, self._inlet, self._stamp, self._queue)
        performer = Performer(self.project.hub.project)
        self._inlet.unstored = self.hindsight.unstored
        self._inlet.tracing = performer.tracing = self.tracing
        parts = Parts(
            services=services,
            inlet=self._inlet,
            pool=self._pool,
            caller=self._caller,
            performer=performer,
            paused=self._paused,
            routes=self._routes,
            call_now=self._call_now,
            preparation=self._preparation,
        )
        async with performer.open(), self._pool.open(), anyio.create_task_group() as background:
            background.start_soon(self._inlet.until_broken)
            background.start_soon(self.pulse.beat)
            background.start_soon(self._preparation.run)
            background.start_soon(self.alarms.watch)
            background.start_soon(maintain, self._store, self._pool, self._clock, self._wiring)
            background.start_soon(audit, self._store, self._status.audited)
            async with self._wiring.dispatching(parts):
                yield self
            await self._calls.ended()
            background.cancel_scope.cancel()

    @asynccontextmanager
    async def sources(self) -> AsyncGenerator[None]:
        """Take events; leaving stops every source at once, and the time to drain begins."""
        async with self._wiring.sourcing():
            self.phase = "running"
            try:
                yield
            finally:
                self.phase = "stopping"
                self._calls.end_in(self.project.hub.drain / 1000)

    async def reload(self) -> list[str]:
        """Read the project again; returns the problems, empty when all of the new configuration is in force."""
        return await self._wiring.reload()

    @property
    def project(self) -> Project:
        """The configuration in force."""
        return self._wiring.project

    @property
    def ready(self) -> bool:
        """Whether events are being taken."""
        return self._wiring.ready and not self._inlet.full

    # events in

    async def send(
        self, trigger: str, body: bytes | None, *, sample: str | None = None, delay: Millis = 0, key: str | None = None
    ) -> Answer:
        """Push one event through filter, key and queue. NotFound, BadInput, BacklogFull, StoreFull."""
        found, module = self._wiring.trigger(trigger)
        event = handmade.sent(found, module, body, sample, self._clock.now())
        if delay:
            event = replace(event, due=self._clock.now() + delay)
        if key is not None:
            event = replace(event, dedup_key=key)
        return await self._take(trigger, event)

    async def fire(self, trigger: str) -> Answer:
        """Make the trigger's source fire now. Conflict where its source has nothing to fire."""
        found, module = self._wiring.trigger(trigger)
        return await self._take(trigger, handmade.fired(found, module, self._clock.now()))

    async def _take(self, trigger: str, event: Event) -> Answer:
        (answer,) = await self._inlet.accept(self._wiring.gates[trigger], [event], wait=False)
        return answer

    async def invoke(
        self,
        function: str,
        payload: bytes,
        *,
        arn: str | None = None,
        client_context: str | None = None,
        sink: Sink | None = None,
        request_id: str | None = None,
    ) -> Answered:
        """Call once, no queue and no retry. *arn* names it as the caller did. NotFound, BadInput.

        *sink* takes an answer that is streamed, and the outcome has none then. *request_id* is one of :meth:`mint`.
        """
        found = self._wiring.function(function)
        handmade.require_json(payload)
        request_id = request_id or self._mint()
        invocation = Invocation(
            request_id=request_id,
            function=function,
            payload=payload,
            deadline=0,
            arn=arn or function_arn(function),
            client_context=client_context,
            sink=None if found.idempotency else sink,  # an answer that is kept is wanted whole
        )
        with self._tap.lines(request_id) as lines:
            outcome, version = await self._calls.call(self._wiring.dispatchers[function], invocation, payload)
        self._feed.tell_call(API_TRIGGER, function, outcome, self._clock.now())
        return Answered(request_id=request_id, outcome=outcome, version=version, log=tuple(lines))

    def mint(self) -> str:
        """Return an id for a request, where it must be known before its call."""
        return self._mint()

    async def invoke_async(self, function: str, payload: bytes, *, delay: Millis = 0) -> Accepted:
        """Queue one delivery of the built-in trigger ``api``."""
        found = self._wiring.function(function)
        handmade.require_json(payload)
        now = self._clock.now()
        key = None
        if found.idempotency:
            key = selecting.compile(found.idempotency.key).select(selecting.view(payload))
        event = Event(data=payload, time=now, due=now + delay if delay else None)
        intake = Intake(event=self._stamp(event, API_TRIGGER), owed=(Owed(function=function, idempotency_key=key),))
        (answer,) = await self._inlet.put([intake])
        if isinstance(answer, Filtered):  # no gate stands before the built-in trigger
            raise Conflict(answer.why)
        return Accepted(event=answer.event, deliveries=answer.deliveries)

    async def resend(self, delivery: str, body: bytes) -> Accepted:
        """Queue a new event for the delivery's function, with *body* as its record and without a dedup key.

        NotFound, BadInput; Conflict where the configuration no longer joins the trigger and the function.
        """
        found = await self.get(delivery)
        row = found.delivery
        handmade.require_json(body)
        function = self._wiring.project.functions.get(row.function)
        dispatcher = self._wiring.dispatchers.get(row.function)
        if function is None or dispatcher is None or not dispatcher.serves(Lane(row.trigger, row.function)):
            raise Conflict(f"the configuration no longer joins trigger {row.trigger!r} and function {row.function!r}")
        event = replace(found.event, data=body, dedup_key=None, due=None)
        key = None
        if function.idempotency:
            key = selecting.compile(function.idempotency.key).select(selecting.view(body))
        intake = Intake(event=self._stamp(event, row.trigger), owed=(Owed(function=row.function, idempotency_key=key),))
        (answer,) = await self._inlet.put([intake])
        if isinstance(answer, Filtered):  # no gate stands before it
            raise Conflict(answer.why)
        return Accepted(event=answer.event, deliveries=answer.deliveries)

    async def _call_now(self, trigger: Trigger, event: Event) -> Outcome:
        """Serve ``source.Context.invoke``: the trigger's one function, while the caller waits."""
        stamped = self._stamp(event, trigger.name)
        admitted = await self._wiring.gates[trigger.name].admitted(stamped)
        if isinstance(admitted, Filtered):
            return self.hindsight.unstored.answered(trigger.name, admitted, self._clock.now())
        found = self._wiring.function(trigger.functions[0])
        envelope = envelope_of(self._wiring.modules[trigger.type])
        payload = trigger.input if trigger.input is not None else envelope([event.data])
        invocation = Invocation(
            request_id=stamped.id,
            function=found.name,
            payload=payload,
            deadline=0,
            arn=function_arn(found.name),
            trace=event.trace,
        )
        outcome, _ = await self._calls.call(self._wiring.dispatchers[found.name], invocation, event.data)
        self._feed.tell_call(trigger.name, found.name, outcome, self._clock.now())
        return outcome

    # deliveries

    async def page(self, query: Query, *, told: bool = True) -> list[Delivery]:
        """Return deliveries, newest first; whoever is not *told* what events carry finds none by what an error says."""
        return await unveiled(self._store, query, self.veil, told=told)

    async def known(self, query: Query) -> None:
        """NotFound where a name in *query* is neither in the configuration nor in the history."""
        await self._status.known(query)

    async def get(self, delivery: str) -> Detail:
        """NotFound."""
        detail = await self._store.get(delivery)
        if detail is None:
            raise NotFound(f"no delivery {delivery!r}", hint="Its history may be pruned; see [hub] keep.")
        return detail

    async def graves(self) -> list[Group]:
        """Return the dead letters by function and fingerprint of error, that with the newest death first."""
        return await self._store.graves()

    async def event(self, event: str) -> tuple[Event, list[Delivery]]:
        """NotFound."""
        found = await self._store.event(event)
        if found is None:
            raise NotFound(f"no event {event!r}", hint="Its history may be pruned; see [hub] keep.")
        return found

    async def wait(self, delivery: str, timeout: float) -> Delivery:
        """Return the delivery once it is finished, or as it stands after *timeout* seconds."""
        async with self._feed.watch() as happenings:
            found = (await self.get(delivery)).delivery
            with anyio.move_on_after(timeout):
                while not found.state.finished:
                    async for happening in happenings:
                        if happening.delivery == delivery or happening.kind == "missed":
                            break
                    found = (await self.get(delivery)).delivery
        return (await self.get(delivery)).delivery

    async def cancel(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """End queued or running deliveries; a running one's worker is killed. Returns those it ended."""
        before = await self._details(deliveries)
        with anyio.CancelScope(shield=True):
            ended = await self._store.cancel(list(before), now=self._clock.now(), reason=reason)
        for delivery in ended:
            row = before[delivery]
            self._depth.add(row.trigger, -1)
            self._wiring.interrupt(Lane(row.trigger, row.function), delivery)
            now = self._clock.now()
            self._feed.publish(
                Happening(
                    time=now, kind="cancelled", trigger=row.trigger, function=row.function, delivery=row.id, text=reason
                )
            )
        return ended

    async def redrive(self, deliveries: Sequence[str]) -> list[str]:
        """Queue finished deliveries again, and make due what waits for its time; returns those."""
        before = await self._details(deliveries)
        with anyio.CancelScope(shield=True):
            queued = await self._store.redrive(list(before), now=self._clock.now())
        for delivery in queued:
            self._depth.add(before[delivery].trigger, int(before[delivery].state.finished))
            self._wake(Lane(before[delivery].trigger, before[delivery].function))
        return queued

    async def discard(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """Remove dead deliveries; what was removed and why goes to the hub's log."""
        gone = await self._store.discard(deliveries, now=self._clock.now())
        for delivery in gone:
            log.warning("a dead letter was discarded", delivery=delivery, reason=reason, on_screen=True)
        return gone

    async def _details(self, deliveries: Sequence[str]) -> dict[str, Delivery]:
        found = {}
        for delivery in deliveries:
            if (detail := await self._store.get(delivery)) is not None:
                found[delivery] = detail.delivery
        return found

    # people

    async def pause(self, kind: Kind, name: str) -> None:
        """Keep a function's deliveries queued, or a trigger from taking events; survives a restart. NotFound."""
        await self._set_paused(kind, name, paused=True)
        if kind == "function":
            self._wiring.pause_function(name)
        else:
            await self._wiring.rest(name)

    async def resume(self, kind: Kind, name: str) -> None:
        """Undo a pause. NotFound; Conflict where it is not one, but a reservation of no concurrency."""
        await self._set_paused(kind, name, paused=False)
        if kind == "function":
            self._wiring.resume_function(name)
        else:
            self._wiring.resume(name)

    async def _set_paused(self, kind: Kind, name: str, *, paused: bool) -> None:
        if kind == "function":
            pausable(self._wiring.function(name), paused=paused)
        else:
            self._wiring.trigger(name)
        await self._paused.set(kind, name, paused=paused)

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Happening]]:
        """Follow what happens from now on; a slow reader loses the oldest and is told how many."""
        return self._feed.watch()

    async def output(self, *, delivery: str | None = None, **wanted: Unpack[Wanted]) -> list[Line]:
        """Lines that functions wrote, oldest first: time, function, version, request_id, stream, text."""
        requests: set[str] | None = None
        if delivery is not None:
            requests = {delivery, *(attempt.request_id for attempt in (await self.get(delivery)).attempts)}
        read, hide = self._output.read, self.veil.text
        return await anyio.to_thread.run_sync(lambda: read(request_ids=requests, hide=hide, **wanted))

    @property
    def keeps_output(self) -> bool:
        """Whether what functions write can be kept at the moment."""
        return self._output.trouble is None

    def wrote(self, function: str | None = None) -> int:
        """How many lines all functions, or one, wrote since the start."""
        return self._output.wrote(function)

    def follow(self, function: str | None = None) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, Json]]]:
        """Follow the lines that functions write from now on."""
        return self._output.follow(function)

    async def functions(self) -> list[dict[str, Json]]:
        """name, runtime, handler, version, source, limits, paused, workers, running, triggers, counts by state."""
        return await self._status.functions()

    async def triggers(self) -> list[dict[str, Json]]:
        """name, type, functions, state (running, paused, disabled, degraded), why, next, counts by state."""
        return [{**row, "why": self.veil.text(row["why"] or "") or None} for row in await self._status.triggers()]

    async def status(self) -> dict[str, Json]:
        """What the whole hub is and how it does."""
        whole = await self._status.whole(ready=self.ready, addresses=self.addresses)
        asks = {"signatures": self.tokens.signatures(asks=self.project.console.auth != "none")}
        return {**whole, **asks, "problems": [*map(self.veil.text, whole["problems"])], "alarms": self.alarms.on()}

    async def stats(self) -> Stats:
        """The ledgers."""
        return await self._store.stats()

    async def metrics(self, *, told: bool = True) -> bytes:
        """The page at /metrics; without *told* nothing that handlers wrote."""
        return await self._status.metrics(ready=self.ready, told=told)

    async def prune(self, keep: Millis | None) -> int:
        """Remove history now, as housekeeping does; *keep* replaces ``[hub] keep``. Returns how many went."""
        project = self.project
        if keep is not None:
            project = replace(project, hub=replace(project.hub, keep=keep))
        await self.history.prune()
        return await prune(self._store, self._clock, project)

    def backup(self) -> AbstractAsyncContextManager[Iterator[bytes]]:
        """Lend the archive of everything at one moment, see ``store.Store.backup``. Conflict."""
        return self._store.backup()

    async def audit(self) -> list[str]:
        """Count every row and look for damage, see ``store.Store.audit``."""
        return await self._store.audit()

    # small helps

    def _stamp(self, event: Event, trigger: str) -> Event:
        return event.stamped(self._mint(), trigger)

    def _queue(self, name: str, body: bytes) -> tuple[Gate, Event]:
        trigger, module = self._wiring.consumer(name)
        return self._wiring.gates[trigger.name], module.wrap(trigger.options, trigger.name, body, self._clock.now())

    def _wake(self, lane: Lane) -> None:
        if dispatcher := self._wiring.dispatchers.get(lane.function):
            dispatcher.wake(lane)
