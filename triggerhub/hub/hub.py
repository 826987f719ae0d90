"""Be the hub, as the web and the tests hold it."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import ModuleType
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

import triggerhub
from triggerhub import ids
from triggerhub.aws import arn
from triggerhub.crash import crash_point
from triggerhub.errors import BadInput, Conflict, NotFound, StartFailed
from triggerhub.hub.call import Caller, Tap
from triggerhub.hub.clock import Clock, SystemClock
from triggerhub.hub.context import SourceContext
from triggerhub.hub.dispatch import Dispatcher, Services
from triggerhub.hub.feed import Feed, Happening as Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.intake import Depth, Inlet, Mint
from triggerhub.hub.lane import LanePlan, envelope_of_records
from triggerhub.hub.maintain import free_share, maintain
from triggerhub.hub.outlet import Outlet, Performer, function_of
from triggerhub.hub.pause import Kind, PausableRoutes, Paused
from triggerhub.hub.pool import Pool
from triggerhub.hub.supervise import Supervised
from triggerhub.hub.verdict import Verdicts
from triggerhub.model import (
    API_TRIGGER,
    Delivery,
    Event,
    Invocation,
    Json,
    Millis,
    Outcome,
    Returned,
    State,
)
from triggerhub.policy import selecting
from triggerhub.policy.reconcile import plan
from triggerhub.runtime import Runtime
from triggerhub.settings import Destination, Function, Project, Trigger
from triggerhub.source import Accepted, Answer, Duplicate, Filtered, Routes
from triggerhub.store import Detail, Intake, Lane, Owed, Query, Store
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.output import OutputLog

from dataclasses import dataclass

log = structlog.get_logger("hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A call that a caller waited for."""

    request_id: str
    outcome: Outcome
    version: str
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fed:
    """A trigger and the module that feeds it: what is compared on reload."""

    trigger: Trigger
    source: ModuleType


Reader = Callable[[], tuple[Project | None, Mapping[str, ModuleType], Sequence[str]]]
"""Reads the project again: the project (None where it has errors), source modules by type, the problems as text."""


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
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.project = project
        self.metrics = Metrics()
        self.started: Millis = 0
        self.addresses: dict[str, str] = {}
        """Where the listeners ended up, for status."""
        self._modules = dict(sources)
        self._store = store
        self._output = output
        self._routes = routes
        self._read = read
        self._clock = clock or SystemClock()
        self._feed = Feed()
        self._pool = Pool(runtime(tap := Tap(output, self._feed, self._clock)), self._clock)
        self._tap = tap
        self._caller = Caller(self._pool, tap, self._clock, self.metrics)
        self._performer = Performer(project.hub.project)
        self._paused = Paused(store)
        self._mint = Mint(self._clock)
        self._verdicts = Verdicts(Outlet(self._stamp, self._topic), draw)
        self._gates: dict[str, Gate] = {}
        self._dispatchers: dict[str, Dispatcher] = {}
        self._supervised: dict[str, Supervised] = {}
        self._served: dict[str, PausableRoutes] = {}
        self._last: dict[str, Millis] = {}
        self._problems: tuple[str, ...] = ()
        self._reloading = anyio.Lock()
        self._sourcing = False
        self._tasks: TaskGroup
        self._sources: TaskGroup

    # lifetime

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Hub]:
        """Dispatch; leaving drains within ``[hub] drain``, then cuts what still runs and gives it back."""
        self.started = self._clock.now()
        reaped = await self._store.reap(now=self.started)
        if reaped:
            log.warning("deliveries that a dead hub left running are queued again", count=len(reaped))
        await self._paused.load()
        self._depth = Depth(await self._store.stats())
        self._inlet = Inlet(
            self._store, self._clock, self._mint, self._depth, self._feed, self.metrics, self._wake
        )
        self._services = Services(
            store=self._store, clock=self._clock, mint=self._mint, depth=self._depth, feed=self._feed,
            metrics=self.metrics, verdicts=self._verdicts, wake=self._wake,
        )
        async with self._performer.open(), self._pool.open(), anyio.create_task_group() as background:
            background.start_soon(maintain, self._store, self._pool, self._clock, lambda: self.project)
            async with anyio.create_task_group() as self._tasks:
                await self._configure(self.project)
                try:
                    yield self
                finally:
                    for dispatcher in self._dispatchers.values():
                        dispatcher.stop()
            background.cancel_scope.cancel()

    @asynccontextmanager
    async def sources(self) -> AsyncGenerator[None]:
        """Take events; leaving stops every source at once."""
        async with anyio.create_task_group() as self._sources:
            self._sourcing = True
            self._start_sources({name: trigger for name, trigger in self.project.triggers.items()})
            try:
                yield
            finally:
                self._sourcing = False
                self._sources.cancel_scope.cancel()

    @property
    def ready(self) -> bool:
        """Whether events are being taken."""
        return self._sourcing and not self._inlet.full

    # configuration

    async def reload(self) -> list[str]:
        """Read the project again; returns the problems, empty when the new configuration is in force."""
        async with self._reloading:
            project, modules, problems = await anyio.to_thread.run_sync(self._read)
            crash_point("during-reload")
            if project is None:
                self._problems = tuple(problems)
                log.error("the new configuration has errors; the running one is kept", problems=list(problems))
                return list(problems)
            problems = [*problems, *self._fixed(project)]
            project, failed = await self._tried(project)
            before, self._before_modules = self.project, dict(self._modules)
            self._modules |= modules
            change = plan(
                {name: _Fed(trigger, self._before_modules[trigger.type]) for name, trigger in before.triggers.items()},
                {name: _Fed(trigger, self._modules[trigger.type]) for name, trigger in project.triggers.items()},
            )
            for name in change.stop:
                if supervised := self._supervised.pop(name, None):
                    await supervised.stop()
            await self._configure(project)
            self.project = project
            self._start_sources({name: fed.trigger for name, fed in change.start.items()})
            self._problems = tuple(failed)
            self._publish("reloaded", text=f"{len(project.functions)} functions, {len(project.triggers)} triggers")
            log.info("reloaded", functions=len(project.functions), triggers=len(project.triggers))
            return failed

    def _fixed(self, project: Project) -> list[str]:
        """Say which settings only a restart can change."""
        names = ("data", "listen", "admin", "durability", "tls", "trusted_proxies")
        changed = [name for name in names if getattr(project.hub, name) != getattr(self.project.hub, name)]
        if changed:
            log.warning("these settings of [hub] take effect at the next start", settings=changed)
        return []

    async def _tried(self, project: Project) -> tuple[Project, list[str]]:
        """Start each changed version once; one that cannot keeps its predecessor serving."""
        functions, failed = dict(project.functions), []
        for name, function in project.functions.items():
            old = self.project.functions.get(name)
            if old is None or old.version == function.version or function.runtime == "executable":
                continue
            try:
                await self._pool.trial(function)
            except StartFailed as error:
                functions[name] = old
                failed.append(f"{function.source}: {error.type}: {error.message}; version {old.version} goes on serving")
                log.error("a new version cannot start; the old one goes on serving", function=name, error=str(error))
        return replace(project, functions=functions), failed

    async def _configure(self, project: Project) -> None:
        functions = dict(project.functions) | _built_in(project)
        self._gates = {name: Gate(trigger, functions) for name, trigger in project.triggers.items()}
        self._pool_gone(project)
        for name, function in functions.items():
            plans = self._plans(project, function)
            if name not in self._dispatchers:
                call = self._caller.call if name in project.functions else self._performer.call
                dispatcher = self._dispatchers[name] = Dispatcher(function, call, self._services)
                dispatcher.paused = self._paused("function", name)
                dispatcher.configure(function, plans)
                grace = project.hub.drain / 1000
                self._tasks.start_soon(dispatcher.run, grace, name=f"dispatch:{name}")
            else:
                self._dispatchers[name].configure(function, plans)
            if name in project.functions:
                self._pool.serve(function)

    def _pool_gone(self, project: Project) -> None:
        for name in [name for name in self._dispatchers if name in self.project.functions]:
            if name not in project.functions:
                self._dispatchers.pop(name).stop()
                self._pool.forget(name)

    def _plans(self, project: Project, function: Function) -> dict[Lane, LanePlan]:
        name = function.name
        plans = {}
        for trigger in project.triggers.values():
            if name in trigger.functions:
                module = self._modules[trigger.type]
                lane = Lane(trigger.name, name)
                plans[lane] = LanePlan(
                    lane=lane,
                    retry=trigger.retry.get(name, function.retry),
                    batch=trigger.batch,
                    envelope=getattr(module, "envelope", envelope_of_records),
                    identifier=getattr(module, "identifier", None),
                    input=trigger.input,
                    on_success=function.on_success,
                    on_failure=function.on_failure if trigger.on_failure is None else trigger.on_failure,
                    maximum_concurrency=trigger.maximum_concurrency,
                )
        for lane in (Lane(API_TRIGGER, name), *(Lane(f"destination:{other}", name) for other in project.functions)):
            plans[lane] = LanePlan(
                lane=lane, retry=function.retry, on_success=function.on_success, on_failure=function.on_failure
            )
        return plans

    def _start_sources(self, triggers: Mapping[str, Trigger]) -> None:
        for name, trigger in triggers.items():
            if trigger.enabled and not self._paused("trigger", name):
                self._start_source(trigger)

    def _start_source(self, trigger: Trigger) -> None:
        supervised = Supervised(trigger, self._modules[trigger.type])
        self._supervised[trigger.name] = supervised
        routes = PausableRoutes(self._routes, lambda: self._paused("trigger", trigger.name))
        self._served[trigger.name] = routes

        def make(report: Callable[[str | None], None]) -> SourceContext:
            return SourceContext(
                gate=self._gates[trigger.name],
                project=self.project.hub.project,
                timezone=ZoneInfo(self.project.hub.timezone),
                log=structlog.get_logger("source").bind(trigger=trigger.name),
                routes=routes,
                node=self.project.hub.node,
                store=self._store,
                clock=self._clock,
                inlet=self._inlet,
                depth=self._depth,
                call=self._call_now,
                report=report,
            )

        self._sources.start_soon(supervised.keep, make, self._feed, name=f"source:{trigger.name}")

    # events in

    async def send(
        self, trigger: str, body: bytes | None, *, sample: str | None = None, delay: Millis = 0, key: str | None = None
    ) -> Answer:
        """Push one event through filter, key and queue. NotFound, BadInput, BacklogFull, StoreFull."""
        found, module = self._trigger(trigger)
        event = self._made(found, module, body, sample)
        if delay:
            event = replace(event, due=self._clock.now() + delay)
        if key is not None:
            event = replace(event, dedup_key=key)
        return await self._take(trigger, event)

    async def fire(self, trigger: str) -> Answer:
        """Make the trigger's source fire now. Conflict where its source has nothing to fire."""
        found, module = self._trigger(trigger)
        if not hasattr(module, "fire"):
            raise Conflict(
                f"trigger {trigger!r} of type {found.type} does not fire by itself",
                hint=f"Send it an event: triggerhub send {trigger} -d …",
            )
        return await self._take(trigger, module.fire(found.options, trigger, self._clock.now()))

    async def _take(self, trigger: str, event: Event) -> Answer:
        (answer,) = await self._inlet.accept(self._gates[trigger], [event], wait=False)
        return answer

    def _made(self, trigger: Trigger, module: ModuleType, body: bytes | None, sample: str | None) -> Event:
        now = self._clock.now()
        if sample is not None:
            samples = module.samples(trigger.options, trigger.name, now) if hasattr(module, "samples") else {}
            if sample not in samples:
                raise BadInput(f"no sample {sample!r}", hint=f"There is: {', '.join(samples) or 'none for this type'}.")
            made: Event = samples[sample]
            return made
        if body is None:
            if hasattr(module, "fire"):
                fired: Event = module.fire(trigger.options, trigger.name, now)
                return fired
            raise BadInput("there is nothing to send", hint="Give the event with -d, or --sample NAME.")
        if hasattr(module, "wrap"):
            wrapped: Event = module.wrap(trigger.options, trigger.name, body, now)
            return wrapped
        _require_json(body)
        return Event(data=body, time=now)

    async def invoke(self, function: str, payload: bytes, *, client_context: str | None = None) -> Answered:
        """Call once, no queue and no retry. NotFound, BadInput."""
        found = self._function(function)
        _require_json(payload)
        request_id = self._mint()
        with self._tap.lines(request_id) as lines:
            outcome, version = await self._once(found, payload, payload, request_id, client_context=client_context)
        return Answered(request_id=request_id, outcome=outcome, version=version, log=tuple(lines))

    async def invoke_async(self, function: str, payload: bytes, *, delay: Millis = 0) -> Accepted:
        """Queue one delivery of the built-in trigger ``api``."""
        found = self._function(function)
        _require_json(payload)
        now = self._clock.now()
        key = None
        if found.idempotency:
            key = selecting.compile(found.idempotency.key).select(selecting.view(payload))
        event = Event(data=payload, time=now, due=now + delay if delay else None)
        intake = Intake(
            event=self._stamp(event, API_TRIGGER), owed=(Owed(function=function, idempotency_key=key),)
        )
        (answer,) = await self._inlet.put([intake])
        if isinstance(answer, Filtered):  # no gate stands before the built-in trigger
            raise Conflict(answer.why)
        return Accepted(event=answer.event, deliveries=answer.deliveries)

    async def _call_now(self, trigger: Trigger, event: Event) -> Outcome:
        """Serve ``source.Context.invoke``: the trigger's one function, while the caller waits."""
        stamped = self._stamp(event, trigger.name)
        admitted = self._gates[trigger.name].admit(stamped)
        if isinstance(admitted, Filtered):
            return Returned(payload=json.dumps({"filtered": admitted.why}).encode())
        found = self._function(trigger.functions[0])
        envelope = getattr(self._modules[trigger.type], "envelope", envelope_of_records)
        payload = trigger.input if trigger.input is not None else envelope([event.data])
        self._last[trigger.name] = self._clock.now()
        outcome, _ = await self._once(found, payload, event.data, stamped.id, trace=event.trace)
        return outcome

    async def _once(
        self, function: Function, payload: bytes, record: bytes, request_id: str, *,
        client_context: str | None = None, trace: str | None = None,
    ) -> tuple[Outcome, str]:
        key = None
        if function.idempotency:
            key = selecting.compile(function.idempotency.key).select(selecting.view(record))
        invocation = Invocation(
            request_id=request_id, function=function.name, payload=payload, deadline=0,
            arn=arn.function(function.name), client_context=client_context, trace=trace,
        )
        if key is None:
            return await self._caller.call(function, invocation, patience=function.timeout)
        return await self._dispatchers[function.name].idempotent.once(
            function, key, request_id, lambda: self._caller.call(function, invocation, patience=function.timeout),
            now=self._clock.now,
        )

    # deliveries

    async def page(self, query: Query) -> list[Delivery]:
        return await self._store.page(query)

    async def get(self, delivery: str) -> Detail:
        """NotFound."""
        detail = await self._store.get(delivery)
        if detail is None:
            raise NotFound(f"no delivery {delivery!r}", hint="Its history may be pruned; see [hub] keep.")
        return detail

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
        ended = await self._store.cancel(deliveries, now=self._clock.now(), reason=reason)
        for delivery in ended:
            row = before[delivery]
            self._depth.add(row.trigger, -1)
            if dispatcher := self._dispatchers.get(row.function):
                dispatcher.interrupt(delivery)
                dispatcher.wake()
            self._publish("cancelled", row, text=reason)
        return ended

    async def redrive(self, deliveries: Sequence[str]) -> list[str]:
        """Queue finished deliveries again; returns those that were finished."""
        before = await self._details(deliveries)
        queued = await self._store.redrive(deliveries, now=self._clock.now())
        for delivery in queued:
            self._depth.add(before[delivery].trigger, 1)
            self._wake(Lane(before[delivery].trigger, before[delivery].function))
        return queued

    async def discard(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """Remove dead deliveries; what was removed and why goes to the hub's log."""
        gone = await self._store.discard(deliveries, now=self._clock.now())
        for delivery in gone:
            log.warning("a dead letter was discarded", delivery=delivery, reason=reason)
        return gone

    async def _details(self, deliveries: Sequence[str]) -> dict[str, Delivery]:
        found = {}
        for delivery in deliveries:
            detail = await self._store.get(delivery)
            if detail is not None:
                found[delivery] = detail.delivery
        return found

    # people

    async def pause(self, kind: Kind, name: str) -> None:
        """Keep a function's deliveries queued, or a trigger from taking events; survives a restart. NotFound."""
        await self._set_paused(kind, name, paused=True)
        if kind == "function":
            self._dispatchers[name].paused = True
        elif (supervised := self._supervised.get(name)) and not self._served[name].open:
            await supervised.stop()
            self._supervised.pop(name, None)

    async def resume(self, kind: Kind, name: str) -> None:
        """Undo a pause. NotFound."""
        await self._set_paused(kind, name, paused=False)
        if kind == "function":
            self._dispatchers[name].paused = False
            self._dispatchers[name].wake()
        elif name not in self._supervised and self.project.triggers[name].enabled:
            self._start_source(self.project.triggers[name])

    async def _set_paused(self, kind: Kind, name: str, *, paused: bool) -> None:
        if kind == "function":
            self._function(name)
        else:
            self._trigger(name)
        await self._paused.set(kind, name, paused=paused)

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Happening]]:
        """Follow what happens from now on; a slow reader loses the oldest and is told how many."""
        return self._feed.watch()

    async def output(
        self,
        *,
        function: str | None = None,
        delivery: str | None = None,
        since: Millis | None = None,
        limit: int = 1000,
    ) -> list[Mapping[str, Json]]:
        """Lines that functions wrote, oldest first: time, function, version, request_id, stream, text."""
        requests: set[str] | None = None
        if delivery is not None:
            detail = await self.get(delivery)
            requests = {delivery, *(attempt.request_id for attempt in detail.attempts)}
        return await anyio.to_thread.run_sync(
            lambda: self._output.read(function=function, request_ids=requests, since=since, limit=limit)
        )

    async def functions(self) -> list[dict[str, Json]]:
        """name, runtime, handler or command, version, source, timeout, memory, concurrency, paused, workers, running,
        triggers, counts by state."""
        stats = await self._store.stats()
        return [self._shown(function, stats.by_lane) for function in self.project.functions.values()]

    def _shown(self, function: Function, lanes: Mapping[Lane, Mapping[State, int]]) -> dict[str, Json]:
        name = function.name
        return {
            "name": name,
            "runtime": function.runtime,
            "handler": function.handler or " ".join(function.command),
            "version": function.version,
            "source": function.source,
            "timeout_ms": function.timeout,
            "memory": function.memory,
            "concurrency": function.concurrency,
            "level": function.level,
            "paused": self._paused("function", name),
            "workers": self._pool.live(name),
            "running": self._dispatchers[name].running,
            "triggers": [trigger.name for trigger in self.project.triggers.values() if name in trigger.functions],
            "counts": _counts(counts for lane, counts in lanes.items() if lane.function == name),
        }

    async def triggers(self) -> list[dict[str, Json]]:
        """name, type, functions, state (running, paused, disabled, degraded), why, next, counts by state."""
        stats = await self._store.stats()
        shown = []
        for trigger in self.project.triggers.values():
            state, why = self._state(trigger)
            shown.append(
                {
                    "name": trigger.name,
                    "type": trigger.type,
                    "functions": list(trigger.functions),
                    "state": state,
                    "why": why,
                    "next": self._next(trigger) if state == "running" else None,
                    "counts": _counts(c for lane, c in stats.by_lane.items() if lane.trigger == trigger.name),
                }
            )
        return shown

    def _state(self, trigger: Trigger) -> tuple[str, str | None]:
        if not trigger.enabled:
            return "disabled", None
        if self._paused("trigger", trigger.name):
            return "paused", None
        supervised = self._supervised.get(trigger.name)
        if supervised is not None and supervised.why:
            return "degraded", supervised.why
        return "running", None

    def _next(self, trigger: Trigger) -> Millis | None:
        module = self._modules[trigger.type]
        if not hasattr(module, "upcoming"):
            return None
        zone = ZoneInfo(self.project.hub.timezone)
        upcoming: Millis | None = module.upcoming(trigger.options, trigger, self._clock.now(), zone)
        return upcoming

    async def status(self) -> dict[str, Json]:
        """What the whole hub is and how it does."""
        stats = await self._store.stats()
        hub = self.project.hub
        now = self._clock.now()
        counts = {state.value: stats.count(state) for state in State}
        return {
            "version": triggerhub.__version__,
            "pid": os.getpid(),
            "node": hub.node,
            "project": str(hub.project),
            "started": self.started,
            "uptime_s": (now - self.started) // 1000,
            "ready": self.ready,
            **self.addresses,
            "level": "trusted",
            "storage": {"bytes": await self._store.size(), "free_share": round(free_share(self.project), 3)},
            "counts": {
                "accepted": stats.accepted, **counts, "discarded": stats.discarded, "pruned": stats.pruned,
                "drift": stats.drift,
            },
            "problems": self._all_problems(stats.by_lane),
            "functions": len(self.project.functions),
            "triggers": len(self.project.triggers),
        }

    def _all_problems(self, lanes: Mapping[Lane, Mapping[State, int]]) -> list[str]:
        problems = list(self._problems)
        problems += [f"trigger {name}: {one.why}" for name, one in self._supervised.items() if one.why]
        if self._inlet.full:
            problems.append("the disk is full: new events are refused, accepted ones go on settling")
        for lane, counts in lanes.items():
            waiting = counts.get(State.QUEUED, 0)
            if waiting and not self._served_lane(lane):
                problems.append(
                    f"{waiting} deliveries of trigger {lane.trigger!r} wait for function {lane.function!r}, but the "
                    "configuration no longer joins the two; bring it back or cancel them"
                )
        return problems

    def _served_lane(self, lane: Lane) -> bool:
        dispatcher = self._dispatchers.get(lane.function)
        return dispatcher is not None and dispatcher.serves(lane)

    async def render_metrics(self) -> bytes:
        """The page at /metrics."""
        stats = await self._store.stats()
        degraded = sum(1 for one in self._supervised.values() if one.why)
        gauges = {
            "triggerhub_ready": ("Whether events are being taken.", float(self.ready)),
            "triggerhub_triggers_degraded": ("Triggers whose source does not work.", float(degraded)),
            "triggerhub_workers": ("Live workers.", float(sum(map(self._pool.live, self.project.functions)))),
            "triggerhub_concurrent_executions": (
                "Calls under way.", float(sum(one.running for one in self._dispatchers.values())),
            ),
            "triggerhub_store_bytes": ("What the store takes on disk.", float(await self._store.size())),
            "process_start_time_seconds": ("When the hub started.", self.started / 1000),
            "process_cpu_seconds": ("Processor time of the hub itself.", time.process_time()),
        }
        return self.metrics.render(stats, gauges)

    # small helps

    def _stamp(self, event: Event, trigger: str) -> Event:
        return replace(event, id=self._mint(), trigger=trigger)

    def _topic(self, name: str, body: bytes) -> tuple[Gate, Event] | None:
        for trigger in self.project.triggers.values():
            if trigger.type == "queue" and getattr(trigger.options, "name", None) == name:
                module = self._modules[trigger.type]
                return self._gates[trigger.name], module.wrap(trigger.options, trigger.name, body, self._clock.now())
        log.error("an outcome had nowhere to go: no trigger consumes this queue", queue=name)
        return None

    def _wake(self, lane: Lane) -> None:
        if dispatcher := self._dispatchers.get(lane.function):
            dispatcher.wake()

    def _publish(self, kind: str, row: Delivery | None = None, text: str = "") -> None:
        self._feed.publish(
            Happening(
                time=self._clock.now(), kind=kind, trigger=row.trigger if row else None,
                function=row.function if row else None, delivery=row.id if row else None, text=text,
            )
        )

    def _function(self, name: str) -> Function:
        found = self.project.functions.get(name)
        if found is None:
            known = ", ".join(sorted(self.project.functions)) or "none"
            raise NotFound(f"no function {name!r}", hint=f"This hub has: {known}.")
        return found

    def _trigger(self, name: str) -> tuple[Trigger, ModuleType]:
        found = self.project.triggers.get(name)
        if found is None:
            known = ", ".join(sorted(self.project.triggers)) or "none"
            raise NotFound(f"no trigger {name!r}", hint=f"This hub has: {known}.")
        return found, self._modules[found.type]


def _counts(rows: object) -> dict[str, int]:
    totals = dict.fromkeys((state.value for state in State), 0)
    for counts in rows:  # type: ignore[attr-defined]
        for state, number in counts.items():
            totals[state.value] += number
    return totals


def _built_in(project: Project) -> dict[str, Function]:
    """The hub's own functions: one per ``webhook:`` and ``file:`` destination."""
    wanted: list[Destination] = []
    for function in project.functions.values():
        wanted += [*function.on_success, *function.on_failure]
    for trigger in project.triggers.values():
        wanted += trigger.on_failure or ()
    return {
        function_of(one): Function(name=function_of(one), runtime="executable", source="destination")
        for one in wanted
        if one.kind in ("webhook", "file")
    }


def _require_json(body: bytes) -> None:
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Could not parse request body into json: {error}") from error
