"""Be the hub, as the web and the tests hold it."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal, Unpack

import anyio
import structlog

from triggerhub.aws.arn import function as function_arn
from triggerhub.errors import Conflict
from triggerhub.hub import handmade
from triggerhub.hub.alarms import Alarms
from triggerhub.hub.call import Answered, Caller, Tap
from triggerhub.hub.clock import Clock, SystemClock
from triggerhub.hub.deliveries import Deliveries
from triggerhub.hub.depth import Depth
from triggerhub.hub.direct import Direct
from triggerhub.hub.dispatchers import Dispatchers
from triggerhub.hub.explain import Explainer
from triggerhub.hub.feed import Feed
from triggerhub.hub.feed import Happening as Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.handling import Handling
from triggerhub.hub.idempotent import Idempotent
from triggerhub.hub.intake import Inlet
from triggerhub.hub.maintain import audit, maintain, prune
from triggerhub.hub.mint import Mint
from triggerhub.hub.outlet import Outlet, Performer
from triggerhub.hub.pause import Kind, Paused, pausable
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import NoEnvironments, Preparation
from triggerhub.hub.pulse import Pulse
from triggerhub.hub.services import Services
from triggerhub.hub.sources import Sources
from triggerhub.hub.status import Status
from triggerhub.hub.takeover import Takeover
from triggerhub.hub.tokens import Tokens
from triggerhub.hub.trial import Trial
from triggerhub.hub.unstored import Unstored
from triggerhub.hub.veil import Veil
from triggerhub.hub.verdict import Verdicts
from triggerhub.hub.versions import FolderVersions
from triggerhub.hub.wiring import Reader, Wiring
from triggerhub.model import API_TRIGGER, Event, Invocation, Json, Millis, Outcome, Sink, State
from triggerhub.policy import selecting
from triggerhub.runtime import Environments, Runtime
from triggerhub.settings import Function, Project, Trigger
from triggerhub.source import Accepted, Answer, Filtered, Routes
from triggerhub.store import Intake, Lane, Owed, Query, Stats, Store
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
        modules: Mapping[str, ModuleType],
        *,
        store: Store,
        runtime: Callable[[Tap], Runtime],
        output: OutputLog,
        routes: Routes,
        read: Reader,
        deployed: Mapping[str, Function] | None = None,
        mapped: Mapping[str, Trigger] | None = None,
        versions: FolderVersions | None = None,
        environments: Environments | None = None,
        tracing: Tracing | None = None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.addresses: dict[str, str] = {}
        """Where the listeners ended up, for status."""
        self.phase: Literal["starting", "running", "stopping"] = "starting"
        self._store, self._output, self._clock = store, output, clock or SystemClock()
        self.mint = Mint(self._clock)
        """Makes an id for a request, where it must be known before its call."""
        now = self._clock.now

        # What is told of it all.
        self.veil = Veil(lambda: self.project)
        hide = self.veil.text
        self._feed, self._metrics, self._unstored = Feed(hide), Metrics(), Unstored(now())
        self.pulse = Pulse(self._metrics, self._clock)
        self.changes = Changes(project.hub.data / "changes")
        self._tap = Tap(output, self._feed, self._clock, self._metrics, self.veil.line)
        self.tracing = tracing
        if tracing is not None:
            tracing.hide = hide

        # What calls functions.
        self._pool = Pool(runtime(self._tap), self._clock)
        self.warmth = self._pool.warmth
        caller = Caller(self._pool, self._tap, self._clock, self._metrics, draw, hide, tracing)
        self._direct = Direct(caller, self._clock)
        self._performer = Performer(project.hub.project, tracing)
        self._paused = Paused(store)
        self._preparation = Preparation(environments or NoEnvironments(), lambda: self._wiring.prepared(), hide)
        dispatchers = Dispatchers(self._pool, caller, self._performer, self._paused, self._preparation)

        # What comes into the store, and out of it.
        self._depth = Depth()
        outlet = Outlet(self._stamp, self._queue, self._metrics, self._unstored)
        services = Services(
            store=store,
            clock=self._clock,
            mint=self.mint,
            depth=self._depth,
            feed=self._feed,
            metrics=self._metrics,
            verdicts=Verdicts(outlet, draw, self._pool.applied),
            wake=dispatchers.rouse,
            unstored=self._unstored,
            idempotent=Idempotent(store),
        )
        self._inlet = Inlet(services, tracing)
        sources = Sources(
            services,
            self._inlet,
            Handling(services, dispatchers, caller, self._pool),
            self._paused,
            routes,
            call_now=self._call_now,
            gate=lambda trigger: self._wiring.gates[trigger],
        )

        # What the configuration joins.
        self.versions = versions or FolderVersions(store, now)
        self._wiring = Wiring(
            project,
            modules,
            read=self.veil.ahead(read),
            versions=self.versions,
            takeover=Takeover(self._pool, self._preparation),
            services=services,
            dispatchers=dispatchers,
            sources=sources,
            deployed=deployed or {},
            mapped=mapped or {},
        )
        self.deploy, self.map, self.weigh = self._wiring.deploy, self._wiring.map, self._wiring.weigh
        self.reload, self.rollback = self._wiring.reload, self._wiring.rollback
        self.trouble = sources.trouble

        # What people look at.
        self.tokens = Tokens(store, now)
        self.deliveries = Deliveries(self._wiring, store, self._depth, self._feed, self.veil, self._clock)
        self.trial = Trial(self._wiring, self.mint, self._clock)
        self.explainer = Explainer(self._wiring, store, self._paused, self._clock, self._unstored)
        self.alarms = Alarms(self._wiring, services, self._inlet, self._stamp, self._queue)
        self._status = Status(self._wiring, services, self._inlet, self._pool, self._paused, self._preparation, output)

    # lifetime

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Hub]:
        """Dispatch; leaving drains within ``[hub] drain``, then cuts what still runs and gives it back."""
        await self._load()
        self._preparation.want(self.project.functions.values())
        async with self._performer.open(), self._pool.open(), anyio.create_task_group() as background:
            background.start_soon(self._inlet.until_broken)
            background.start_soon(self.pulse.beat)
            background.start_soon(self._preparation.run)
            background.start_soon(self.alarms.watch)
            background.start_soon(maintain, self._store, self._pool, self._clock, self._wiring)
            background.start_soon(audit, self._store, self._status.audited)
            async with self._wiring.dispatching():
                yield self
            await self._direct.ended()
            background.cancel_scope.cancel()

    async def _load(self) -> None:
        """Take up what an earlier hub left in the data folder."""
        if reaped := await self._store.reap():
            log.warning("deliveries that a dead hub left running are queued again", count=len(reaped))
        # The order per key is that of ids, and the clock may have been put back since.
        for last in await self._store.page(Query(state=State.QUEUED, limit=1)):
            self.mint.follow(last.id)
        await self._paused.load()
        await self.tokens.load()
        await anyio.to_thread.run_sync(lambda: self.changes.retain(self._clock.now()))
        self._depth.load(await self._store.stats())

    @asynccontextmanager
    async def sources(self) -> AsyncGenerator[None]:
        """Take events; leaving stops every source at once, and the time to drain begins."""
        async with self._wiring.sourcing():
            self.phase = "running"
            try:
                yield
            finally:
                self.phase = "stopping"
                self._direct.end_in(self.project.hub.drain / 1000)

    @property
    def project(self) -> Project:
        """The configuration in force."""
        return self._wiring.project

    @property
    def ready(self) -> bool:
        """Whether events are being taken."""
        return self._wiring.ready and not self._inlet.full

    @property
    def stuck(self) -> bool:
        """Whether the code of a source runs on that had to end."""
        return bool(self._wiring.sources.stuck)

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
        await handmade.check_json(payload)
        found = self._wiring.function(function)
        request_id = request_id or self.mint()
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
            outcome, version = await self._direct.call(self._wiring.dispatchers[function], invocation, payload)
        self._feed.tell_call(API_TRIGGER, function, outcome, self._clock.now())
        return Answered(request_id=request_id, outcome=outcome, version=version, log=tuple(lines))

    async def invoke_async(self, function: str, payload: bytes, *, delay: Millis = 0) -> Accepted:
        """Queue one delivery of the built-in trigger ``api``."""
        await handmade.check_json(payload)
        found = self._wiring.function(function)
        now = self._clock.now()
        return await self._owe(found, Event(data=payload, time=now, due=now + delay if delay else None), API_TRIGGER)

    async def resend(self, delivery: str, body: bytes) -> Accepted:
        """Queue a new event for the delivery's function, with *body* as its record and without a dedup key.

        NotFound, BadInput; Conflict where the configuration no longer joins the trigger and the function.
        """
        await handmade.check_json(body)
        found = await self.deliveries.get(delivery)
        row = found.delivery
        function = self._wiring.project.functions.get(row.function)
        dispatcher = self._wiring.dispatchers.get(row.function)
        if function is None or dispatcher is None or not dispatcher.serves(Lane(row.trigger, row.function)):
            raise Conflict(f"the configuration no longer joins trigger {row.trigger!r} and function {row.function!r}")
        return await self._owe(function, replace(found.event, data=body, dedup_key=None, due=None), row.trigger)

    async def _owe(self, function: Function, event: Event, trigger: str) -> Accepted:
        """Queue one delivery of an event that goes through no gate."""
        key = None
        if function.idempotency:
            key = selecting.compile(function.idempotency.key).select(selecting.view(event.data))
        owed = Owed(function=function.name, idempotency_key=key)
        (answer,) = await self._inlet.put([Intake(event=self._stamp(event, trigger), owed=(owed,))])
        if isinstance(answer, Filtered):  # no gate stands before it
            raise Conflict(answer.why)
        return Accepted(event=answer.event, deliveries=answer.deliveries)

    async def _call_now(self, trigger: Trigger, event: Event) -> Outcome:
        """Serve ``source.Context.invoke``: the trigger's one function, while the caller waits."""
        stamped = self._stamp(event, trigger.name)
        admitted = await self._wiring.gates[trigger.name].admitted(stamped)
        if isinstance(admitted, Filtered):
            return self._unstored.answered(trigger.name, admitted, self._clock.now())
        found = self._wiring.function(trigger.functions[0])
        invocation = Invocation(
            request_id=stamped.id,
            function=found.name,
            payload=self.trial.payload(trigger.name, found.name, event.data),
            deadline=0,
            arn=function_arn(found.name),
            trace=event.trace,
        )
        outcome, _ = await self._direct.call(self._wiring.dispatchers[found.name], invocation, event.data)
        self._feed.tell_call(trigger.name, found.name, outcome, self._clock.now())
        return outcome

    # people

    async def pause(self, kind: Kind, name: str) -> None:
        """Keep a function's deliveries queued, or a trigger from taking events; survives a restart. NotFound."""
        await self._set_paused(kind, name, paused=True)
        if kind == "function":
            self._wiring.dispatchers.pause(name)
        else:
            await self._wiring.rest(name)

    async def resume(self, kind: Kind, name: str) -> None:
        """Undo a pause. NotFound; Conflict where it is not one, but a reservation of no concurrency."""
        await self._set_paused(kind, name, paused=False)
        if kind == "function":
            self._wiring.dispatchers.resume(name)
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
            requests = {delivery, *(attempt.request_id for attempt in (await self.deliveries.get(delivery)).attempts)}
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

    def folders(self) -> set[Path]:
        """Return the folders that workers see as their code and layers, be they of versions that are superseded."""
        return {path for one in self._pool.running() for path in (one.code, one.opt) if path is not None}

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
        await self.versions.prune()
        return await prune(self._store, self._clock, project)

    def backup(self) -> AbstractAsyncContextManager[Iterator[bytes]]:
        """Lend the archive of everything at one moment, see ``store.Store.backup``. Conflict."""
        return self._store.backup()

    async def audit(self) -> list[str]:
        """Count every row and look for damage, see ``store.Store.audit``."""
        return await self._store.audit()

    # small helps

    def _stamp(self, event: Event, trigger: str) -> Event:
        return event.stamped(self.mint(), trigger)

    def _queue(self, name: str, body: bytes) -> tuple[Gate, Event]:
        trigger, module = self._wiring.consumer(name)
        return self._wiring.gates[trigger.name], module.wrap(trigger.options, trigger.name, body, self._clock.now())
