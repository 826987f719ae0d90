"""Join functions, triggers and sources as the configuration says, and join them anew on reload."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import ModuleType
from typing import Any, cast
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.crash import crash_point
from triggerhub.errors import Conflict, NotFound
from triggerhub.hub.call import Caller
from triggerhub.hub.context import SourceContext
from triggerhub.hub.dispatch import Dispatcher
from triggerhub.hub.feed import Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.handling import Handling
from triggerhub.hub.history import History
from triggerhub.hub.intake import Inlet
from triggerhub.hub.lane import LanePlan, envelope_of
from triggerhub.hub.outlet import Performer, built_in, function_of
from triggerhub.hub.pause import PausableRoutes, Paused
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import Preparation
from triggerhub.hub.settler import Services
from triggerhub.hub.supervise import Supervised
from triggerhub.hub.takeover import kept_back, startable, tried
from triggerhub.hub.whole import resting, sent, whole
from triggerhub.model import API_TRIGGER, Event, Outcome, alarm_trigger, destination_trigger
from triggerhub.policy.reconcile import plan
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.settings import Function, Project, Trigger
from triggerhub.source import Routes, Source
from triggerhub.store import Lane

log = structlog.get_logger("hub")

Reader = Callable[[], tuple[Project | None, Mapping[str, ModuleType], Sequence[str]]]
"""Reads the project again: the project (None where it has errors), source modules by type, the problems as text."""

PATIENCE = 2.0
"""Seconds that sources have at the start to say that they have begun."""
AGAIN = 0.2
"""Seconds between a deployment and the reading of a configuration that was wrong without it."""
STOPPING = "the hub is stopping"
FIXED = ("data", "listen", "admin", "durability", "tls", "trusted_proxies", "user", "node", "log_level", "log_format")
"""Settings of [hub] that only a restart changes."""


@dataclass(frozen=True, slots=True)
class _Fed:
    """What a running source was given: what is compared on reload."""

    trigger: Trigger
    source: ModuleType
    timezone: str


def _fed(project: Project, modules: Mapping[str, ModuleType]) -> dict[str, _Fed]:
    timezone = project.hub.timezone
    return {name: _Fed(trigger, modules[trigger.type], timezone) for name, trigger in project.triggers.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the wiring joins."""

    services: Services
    inlet: Inlet
    pool: Pool
    caller: Caller
    performer: Performer
    paused: Paused
    routes: Routes
    call_now: Callable[[Trigger, Event], Awaitable[Outcome]]
    preparation: Preparation


class Wiring:
    """The configuration in force, and the dispatchers and sources that serve it."""

    def __init__(
        self,
        project: Project,
        modules: Mapping[str, ModuleType],
        read: Reader,
        history: History,
        deployed: Mapping[str, Function] | None = None,
        mapped: Mapping[str, Trigger] | None = None,
    ) -> None:
        """*deployed* and *mapped* are not of the project's configuration; where both have a name, it is its.

        *modules* has the sources of both.
        """
        self._deployed = dict(deployed or {})
        self._mapped = dict(mapped or {})
        self._own = project
        self.project = self._whole(project)
        self.modules = dict(modules)
        self.gates: dict[str, Gate] = {}
        self.dispatchers: dict[str, Dispatcher] = {}
        self._leaving: list[Dispatcher] = []
        """Those of removed functions that still drain."""
        self.supervised: dict[str, Supervised] = {}
        self.problems: tuple[str, ...] = ()
        self.taking = False
        """Whether sources run."""
        self.ready = False
        """Whether nothing that happens from now on will be missed."""
        self._read = read
        self._served: dict[str, PausableRoutes] = {}
        self._lacking: set[str] = set()
        """Functions whose deliveries wait for what they depend on, for concurrency, or for a host to isolate them."""
        self.history, self._reloading = history, history.lock
        self._looking = False
        self._parts: Parts
        self._handling: Handling
        self._dispatching: TaskGroup
        self._sourcing: TaskGroup

    @asynccontextmanager
    async def dispatching(self, parts: Parts) -> AsyncGenerator[None]:
        """Run a dispatcher per function; leaving drains them within ``[hub] drain``."""
        self._parts = parts
        self._handling = Handling(parts.services, self.dispatchers, parts.caller, parts.pool)
        async with anyio.create_task_group() as self._dispatching:
            parts.preparation.want(self.project.functions.values())
            self._configure(self.project)
            try:
                yield
            finally:
                for dispatcher in self.dispatchers.values():
                    dispatcher.stop()

    @asynccontextmanager
    async def sourcing(self) -> AsyncGenerator[None]:
        """Run a source per trigger, entered when they have begun.

        Leaving stops every source and the dispatchers from claiming: the time to drain begins. A source that has
        something to finish has that time, too.
        """
        async with anyio.create_task_group() as self._sourcing:
            self.taking = True
            self._start(self.project.triggers)
            try:
                await self._begun()
                self.ready = True
                yield
            finally:
                self.taking = self.ready = False
                for supervised in self.supervised.values():
                    supervised.end(self._drain)
                for dispatcher in self.dispatchers.values():
                    dispatcher.stop()

    def _whole(self, own: Project) -> Project:
        return whole(own, self._deployed, self._mapped)

    def deploy(self, functions: Mapping[str, Function], changed: Collection[str]) -> None:
        """Take over all *functions* that are not of the configuration; *changed* are new, other or gone.

        What its configuration says of a function of the same name stands.
        """
        self._deployed = dict(functions)
        if not self.taking:
            return  # the hub is stopping: the next one serves them
        fed = [function_of(one) for name in changed if name in functions for one in sent(functions[name])]
        before, project = self.project.triggers, self._whole(self._own)
        # Those that rested for want of a function.
        back = {name: one for name, one in project.triggers.items() if name not in before}
        self._configure(project, {*changed, *fed, *(to for one in back.values() for to in one.functions)})
        for name in before.keys() - project.triggers.keys():
            self._sourcing.start_soon(self._stop, name)
        self._start(back)
        missed = any(code in one for one in self.problems for code in ("[unknown-function]", "[no-handler]"))
        if missed and not self._looking and functions.keys() & changed:
            self._looking = True
            self._sourcing.start_soon(self._look_again)

    async def _look_again(self) -> None:
        """Read a configuration again that spoke of what was not there; many deployments have it read once."""
        await anyio.sleep(AGAIN)
        self._looking = False
        await self.reload()

    async def map(self, triggers: Mapping[str, Trigger], modules: Mapping[str, ModuleType]) -> None:
        """Take over all *triggers* that are not of the configuration, and the sources of their types."""
        async with self._reloading:
            self._mapped, self.modules = dict(triggers), {**self.modules, **modules}
            if self.taking:
                await self._change_to(self._own, self.modules)

    async def _change_to(self, own: Project, modules: Mapping[str, ModuleType]) -> None:
        """Put what the configuration and what was deployed come to in force; sources that are other are replaced."""
        change = plan(_fed(self.project, self.modules), _fed(self._whole(own), {**self.modules, **modules}))
        async with anyio.create_task_group() as stopping:
            for name in change.stop:
                stopping.start_soon(self._stop, name)
        if not self.taking:
            return
        self.modules |= modules
        self._own = own
        self._configure(self._whole(own))
        self._start({name: one for name, one in self.project.triggers.items() if name not in self.supervised})

    # reload

    async def reload(self) -> list[str]:
        """Read the project again; returns the problems, empty when all of the new configuration is in force."""
        async with self._reloading:
            try:
                problems = await self._reload()
            except Exception as error:  # whatever was wrong with the new one, the hub goes on with what it has
                if not self.taking:
                    return [STOPPING]
                log.error("the project could not be read again", exc_info=error)
                problems = [f"the project could not be read again: {type(error).__name__}: {error}"]
                self._tell("rejected", ["the running configuration is kept", *problems])
            self.problems = tuple(problems)
            return problems

    async def _reload(self) -> list[str]:
        project, modules, problems = await anyio.to_thread.run_sync(self._read)
        crash_point("during-reload")
        if not self.taking:
            return [STOPPING]
        if project is None:
            log.error("the new configuration has errors; the running one is kept", problems=list(problems))
            self._tell("rejected", ["the running configuration is kept", *problems])
            return list(problems)
        changed = [name for name in FIXED if getattr(project.hub, name) != getattr(self.project.hub, name)]
        failed = [f"[hub] {name} takes effect at the next start" for name in changed]
        # What is in force stays in the project, so that the next reload says it again.
        fixed: dict[str, Any] = {name: getattr(self.project.hub, name) for name in changed}
        project = replace(project, hub=replace(project.hub, **fixed))
        project = kept_back(self.history.applied(project), self.project, self._parts.preparation, failed)
        project = await tried(project, self.project, self._parts.pool, self._parts.preparation, failed)
        if self.taking:
            await self._change_to(project, modules)
        if not self.taking:
            return [STOPPING]
        await self.history.settled(self.project)
        counts = f"{len(project.functions)} functions, {len(project.triggers)} triggers"
        self._tell("reloaded", [counts, *failed])
        log.info("reloaded", functions=len(project.functions), triggers=len(project.triggers), problems=failed)
        return failed

    def _tell(self, kind: str, lines: Sequence[str]) -> None:
        services = self._parts.services
        services.feed.publish(Happening(time=services.clock.now(), kind=kind, text="\n".join(lines)))

    async def prepared(self) -> None:
        """Take up what was waiting for its dependencies, now that some of them are there."""
        for function in self.project.functions.values():
            self._hold(function)
        if self.taking:
            await self.reload()

    def weigh(self) -> None:
        """Hold the functions that this host cannot run, now that it is known what it gives."""
        for function in self.project.functions.values():
            self._hold(function)

    async def rollback(self, name: str, to: str | None) -> str:
        """Serve version *to* of a function of the handlers folder, or the one before; return which that is.

        It is durable then, and serves until its files in the folder change. NotFound, BadInput, Conflict.
        """
        async with self._reloading:
            if not self.taking:
                raise Conflict(STOPPING)
            before, function = self.function(name), await self.history.earlier(name, to)
            await startable(function, before, self._parts.pool, self._parts.preparation)
            if not self.taking:
                raise Conflict(STOPPING)
            with anyio.CancelScope(shield=True):
                await self.history.pin(function)
                crash_point("after-pin")
                if self.taking:
                    self._own = replace(self._own, functions={**self._own.functions, name: function})
                    self._configure(self._whole(self._own))
            self._tell("reloaded", [f"{name} is version {function.version} again"])
            return function.version

    # functions

    def _configure(self, project: Project, only: Collection[str] | None = None) -> None:
        """Serve *project*; *only* names the functions that may differ from what is served, None is all."""
        before, self.project = self.project, project
        functions = dict(project.functions) | built_in(project)
        self.gates = {name: Gate(trigger, functions) for name, trigger in project.triggers.items()}
        for name in before.functions.keys() - project.functions.keys():
            leaving = self.dispatchers.pop(name)
            self._leaving.append(leaving)
            leaving.stop()
            self._parts.pool.forget(name)
        for name, function in functions.items():
            dispatcher = self.dispatchers.get(name)
            if only is not None and dispatcher is not None and name not in only:
                continue
            if dispatcher is None:
                call = self._parts.caller.call if name in project.functions else self._parts.performer.call
                dispatcher = self.dispatchers[name] = Dispatcher(function, call, self._parts.services)
                if self._parts.paused("function", name):
                    dispatcher.pause()
                self._dispatching.start_soon(self._run, dispatcher, name=f"dispatch:{name}")
            dispatcher.configure(function, self._plans(project, function))
            if name in project.functions:
                self._hold(function)
                self._parts.pool.serve(function, prepare=name not in self._lacking)

    @property
    def resting(self) -> list[str]:
        """A sentence for each trigger of the configuration that rests."""
        return list(resting(self._own, self.project))

    @property
    def _drain(self) -> float:
        """The time to drain, in seconds."""
        return self.project.hub.drain / 1000

    def _hold(self, function: Function) -> None:
        """Let the deliveries of a function wait that cannot be started yet, or must not be."""
        lacking = function.held or self._parts.preparation.lacks(function)
        if lacking or isinstance(self._parts.pool.level(function), Refusal):
            self._lacking.add(function.name)
            self.dispatchers[function.name].pause()
        elif function.name in self._lacking:
            self._lacking.discard(function.name)
            self.resume_function(function.name)
            self._parts.pool.serve(function)

    async def _run(self, dispatcher: Dispatcher) -> None:
        await dispatcher.run(lambda: self._drain)
        if dispatcher in self._leaving:
            self._leaving.remove(dispatcher)

    def interrupt(self, lane: Lane, delivery: str) -> None:
        """Let go of a delivery that was ended, also where its function is being drained after its removal."""
        for dispatcher in (*filter(None, [self.dispatchers.get(lane.function)]), *self._leaving):
            dispatcher.interrupt(delivery)
            dispatcher.wake(lane)

    def _plans(self, project: Project, function: Function) -> dict[Lane, LanePlan]:
        name = function.name
        plans = {}
        for trigger in project.triggers.values():
            if name in trigger.functions:
                module = self.modules[trigger.type]
                lane = Lane(trigger.name, name)
                plans[lane] = LanePlan(
                    lane=lane,
                    retry=trigger.retry.get(name, function.retry),
                    batch=trigger.batch,
                    envelope=envelope_of(module),
                    identifier=getattr(module, "identifier", None),
                    input=trigger.input,
                    on_success=function.on_success,
                    on_failure=function.on_failure if trigger.on_failure is None else trigger.on_failure,
                    maximum_concurrency=trigger.maximum_concurrency,
                )
        telling = (alarm_trigger(alarm) for alarm in project.alarms)
        for trigger_name in (API_TRIGGER, *map(destination_trigger, self._sending(project)), *telling):
            lane = Lane(trigger_name, name)
            plans[lane] = LanePlan(
                lane=lane, retry=function.retry, on_success=function.on_success, on_failure=function.on_failure
            )
        return plans

    def _sending(self, project: Project) -> Iterator[str]:
        """Name the functions whose answers may be owed to others: of a deployed one, where it says so."""
        return (name for name, one in project.functions.items() if name not in self._deployed or sent(one))

    # sources

    def _start(self, triggers: Mapping[str, Trigger]) -> None:
        for name, trigger in triggers.items():
            serving = getattr(self.modules[trigger.type], "serves_routes", False)
            if trigger.enabled and (serving or not self._parts.paused("trigger", name)):
                self._start_source(trigger)

    def _start_source(self, trigger: Trigger) -> None:
        supervised = Supervised(trigger, cast("Source", self.modules[trigger.type]))
        self.supervised[trigger.name] = supervised
        routes = PausableRoutes(self._parts.routes, lambda: self._parts.paused("trigger", trigger.name))
        self._served[trigger.name] = routes
        services = self._parts.services

        def make(report: Callable[[str | None], None]) -> SourceContext:
            return SourceContext(
                find_gate=lambda: self.gates[trigger.name],
                project=self.project.hub.project,
                timezone=ZoneInfo(self.project.hub.timezone),
                log=structlog.get_logger("source").bind(trigger=trigger.name),
                routes=routes,
                node=self.project.hub.node,
                store=services.store,
                clock=services.clock,
                inlet=self._parts.inlet,
                depth=services.depth,
                handling=self._handling,
                grace=supervised.grace,
                call=self._parts.call_now,
                report=report,
                begun=supervised.begun.set,
            )

        self._sourcing.start_soon(supervised.keep, make, services.feed, name=f"source:{trigger.name}")

    async def _begun(self) -> None:
        """Wait until every source has begun or is degraded, or their time is up."""
        with anyio.move_on_after(PATIENCE):
            for supervised in list(self.supervised.values()):
                await supervised.begun.wait()

    def trouble(self, trigger: str) -> str | None:
        """Say what keeps a trigger's source from its work; None where nothing does."""
        return supervised.why if (supervised := self.supervised.get(trigger)) else None

    async def _stop(self, name: str) -> None:
        if supervised := self.supervised.pop(name, None):
            await supervised.stop(self._drain)

    def function(self, name: str) -> Function:
        """Return the function of this name. NotFound."""
        found = self.project.functions.get(name)
        if found is None:
            raise unknown("function", name, self.project.functions)
        return found

    def trigger(self, name: str) -> tuple[Trigger, ModuleType]:
        """Return the trigger of this name and its source. NotFound."""
        found = self.project.triggers.get(name)
        if found is None:
            raise unknown("trigger", name, self.project.triggers)
        return found, self.modules[found.type]

    def consumer(self, topic: str) -> tuple[Trigger, ModuleType]:
        """Return the trigger that consumes an in-hub topic, and its source. NotFound."""
        for trigger in self.project.triggers.values():
            if trigger.type == "queue" and getattr(trigger.options, "name", None) == topic:
                return trigger, self.modules[trigger.type]
        raise NotFound(f"no trigger consumes the queue {topic!r}", hint="Bring its trigger back.")

    def wake(self) -> None:
        """Have every dispatcher look what is due."""
        for dispatcher in self.dispatchers.values():
            dispatcher.wake()

    # pausing: a reload may have taken away what was there when it was asked for

    def pause_function(self, name: str) -> None:
        """Stop claiming for a function that was paused."""
        if dispatcher := self.dispatchers.get(name):
            dispatcher.pause()

    def resume_function(self, name: str) -> None:
        """Claim again for a function that is no longer paused."""
        dispatcher = self.dispatchers.get(name)
        if dispatcher is not None and name not in self._lacking and not self._parts.paused("function", name):
            dispatcher.resume()

    async def rest(self, name: str) -> None:
        """Stop a paused trigger's source; one that serves routes stays and answers 503 instead."""
        if name in self.supervised and not self._served[name].open:
            await self._stop(name)

    def resume(self, name: str) -> None:
        """Start the source of a trigger that is no longer paused."""
        trigger = self.project.triggers.get(name)
        if trigger is not None and name not in self.supervised and trigger.enabled and self.taking:
            self._start_source(trigger)


def unknown(kind: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that nothing has, with the one that was meant, or all that there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.55)
    hint = f"Did you mean {close[0]!r}?" if close else f"This hub has: {', '.join(names) or 'none'}."
    return NotFound(f"no {kind} {name!r}", hint=hint)
