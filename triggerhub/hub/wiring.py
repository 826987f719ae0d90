"""Join functions, triggers and sources as the configuration says, and join them anew on reload."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import ModuleType
from typing import Any, cast

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.crash import crash_point
from triggerhub.errors import Conflict, NotFound
from triggerhub.hub.dispatchers import Dispatchers
from triggerhub.hub.feed import Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.lane import plans_of
from triggerhub.hub.outlet import built_in, function_of
from triggerhub.hub.services import Services
from triggerhub.hub.sources import Sources
from triggerhub.hub.takeover import Takeover
from triggerhub.hub.versions import FolderVersions
from triggerhub.hub.whole import resting, senders, sent, whole
from triggerhub.model import API_TRIGGER, alarm_trigger, destination_trigger
from triggerhub.policy.reconcile import plan
from triggerhub.settings import Function, Project, Trigger
from triggerhub.source import Source

log = structlog.get_logger("hub")

Reader = Callable[[], tuple[Project | None, Mapping[str, ModuleType], Sequence[str]]]
"""Reads the project again: the project (None where it has errors), source modules by type, the problems as text."""

AGAIN = 0.2
"""Seconds between a deployment and the reading of a configuration that was wrong without it."""
_MISSED = ("[unknown-function]", "[no-handler]", "there is no function")
"""What a configuration is told that speaks of a function which may be deployed later."""
EMPTIED = "triggerhub.toml holds no table any more; if that is meant, write [hub] into it"
STOPPING = "the hub is stopping"
FIXED = ("data", "listen", "admin", "durability", "tls", "trusted_proxies", "user", "node", "log_level", "log_format")
"""Settings of [hub] that only a restart changes."""


@dataclass(frozen=True, slots=True)
class _Fed:
    """What a running source was given: what is compared on reload."""

    trigger: Trigger
    source: Source
    timezone: str


def _fed(project: Project, modules: Mapping[str, ModuleType]) -> dict[str, _Fed]:
    timezone = project.hub.timezone
    return {
        name: _Fed(trigger, cast("Source", modules[trigger.type]), timezone)
        for name, trigger in project.triggers.items()
    }


class Wiring:
    """The configuration in force, and what serves it: gates, dispatchers and sources."""

    def __init__(
        self,
        project: Project,
        modules: Mapping[str, ModuleType],
        *,
        read: Reader,
        versions: FolderVersions,
        takeover: Takeover,
        services: Services,
        dispatchers: Dispatchers,
        sources: Sources,
        deployed: Mapping[str, Function],
        mapped: Mapping[str, Trigger],
    ) -> None:
        """*deployed* and *mapped* are not of the project's configuration; where both have a name, it is its.

        *modules* has the sources of both.
        """
        self.gates, self.dispatchers, self.sources = dict[str, Gate](), dispatchers, sources
        self.versions = versions
        self.modules = dict(modules)
        self.problems: tuple[str, ...] = ()
        self.taking = False
        """Whether sources run."""
        self.ready = False
        """Whether nothing that happens from now on will be missed."""
        self._read, self._takeover, self._services = read, takeover, services
        self._deployed, self._mapped = dict(deployed), dict(mapped)
        self._own = project
        self.project = self._whole(project)
        self._reloading = versions.lock
        self._looking = False
        self._alarms = dict[str, None]()
        """Those that were removed, too: it is told that they are over."""
        self._tasks: TaskGroup

    @asynccontextmanager
    async def dispatching(self) -> AsyncGenerator[None]:
        """Run a dispatcher per function; leaving drains them within ``[hub] drain``."""
        async with self.dispatchers.running(self._services, lambda: self._drain):
            self._configure(self.project)
            yield

    @asynccontextmanager
    async def sourcing(self) -> AsyncGenerator[None]:
        """Run a source per trigger, entered when they have begun.

        Leaving stops every source and the dispatchers from claiming: the time to drain begins. A source that has
        something to finish has that time, too.
        """
        async with anyio.create_task_group() as self._tasks, self.sources.running():
            self.taking = True
            self._start(self.project.triggers)
            try:
                await self.sources.begun()
                self.ready = True
                yield
            finally:
                self.taking = self.ready = False
                self.sources.end(self._drain)
                self.dispatchers.stop()

    def _whole(self, own: Project) -> Project:
        return whole(own, self._deployed, self._mapped)

    @property
    def _drain(self) -> float:
        """The time to drain, in seconds."""
        return self.project.hub.drain / 1000

    @property
    def resting(self) -> list[str]:
        """A sentence for each trigger of the configuration that rests."""
        return list(resting(self._own, self.project))

    # what the Lambda API made

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
            self._tasks.start_soon(self.sources.stop, name, self._drain)
        self._start(back)
        told = [*self.problems, *(one.faulty for one in self._own.functions.values())]
        missed = any(word in one for one in told for word in _MISSED)
        if missed and not self._looking and functions.keys() & changed:
            self._looking = True
            self._tasks.start_soon(self._look_again)

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
        while self.taking and (stale := self._stale(own, modules)):
            # Routes are served until all else has ended: who sends to them has no part in a drain.
            first = [name for name in stale if not self.sources.serves(name)] or stale
            async with anyio.create_task_group() as stopping:
                for name in first:
                    stopping.start_soon(self.sources.stop, name, self._drain)
        if not self.taking:
            return
        self.modules |= modules
        self._own = own
        self._configure(self._whole(own))
        self._start({name: one for name, one in self.project.triggers.items() if name not in self.sources})

    def _stale(self, own: Project, modules: Mapping[str, ModuleType]) -> Sequence[str]:
        """Return which running sources were given other than *own* has them; one may have been resumed meanwhile."""
        running = {name: _Fed(one.trigger, one.source, one.timezone) for name, one in self.sources.items()}
        return plan(running, _fed(self._whole(own), {**self.modules, **modules})).stop

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
        if project is not None and self._own.lines and not project.lines:
            # An editor on a full disk leaves that, or one that has not written yet.
            project, problems = None, [EMPTIED]
        if project is None:
            log.error("the new configuration has errors; the running one is kept", problems=list(problems))
            self._tell("rejected", ["the running configuration is kept", *problems])
            return list(problems)
        changed = [name for name in FIXED if getattr(project.hub, name) != getattr(self.project.hub, name)]
        failed = [f"[hub] {name} takes effect at the next start" for name in changed]
        # What is in force stays in the project, so that the next reload says it again.
        fixed: dict[str, Any] = {name: getattr(self.project.hub, name) for name in changed}
        project = replace(project, hub=replace(project.hub, **fixed))
        project = await self._takeover.tried(self.versions.applied(project), self.project, failed)
        if self.taking:
            await self._change_to(project, modules)
        if not self.taking:
            return [STOPPING]
        await self.versions.settled(self.project)
        counts = f"{len(project.functions)} functions, {len(project.triggers)} triggers"
        self._tell("reloaded", [counts, *failed])
        log.info("reloaded", functions=len(project.functions), triggers=len(project.triggers), problems=failed)
        return failed

    def _tell(self, kind: str, lines: Sequence[str]) -> None:
        time = self._services.clock.now()
        self._services.feed.publish(Happening(time=time, kind=kind, text="\n".join(lines)))

    async def prepared(self) -> None:
        """Take up what was waiting for its dependencies, now that some of them are there."""
        self.weigh()
        if self.taking:
            await self.reload()

    def weigh(self) -> None:
        """Hold the functions that this host cannot run, now that it is known what it gives."""
        for function in self.project.functions.values():
            self.dispatchers.hold(function)

    async def rollback(self, name: str, to: str | None) -> str:
        """Serve version *to* of a function of the handlers folder, or the one before; return which that is.

        It is durable then, and serves until its files in the folder change. NotFound, BadInput, Conflict.
        """
        async with self._reloading:
            if not self.taking:
                raise Conflict(STOPPING)
            before, function = self.function(name), await self.versions.earlier(name, to)
            await self._takeover.startable(function, before)
            if not self.taking:
                raise Conflict(STOPPING)
            with anyio.CancelScope(shield=True):
                await self.versions.pin(function)
                crash_point("after-pin")
                if self.taking:
                    self._own = replace(self._own, functions={**self._own.functions, name: function})
                    self._configure(self._whole(self._own))
            self._tell("reloaded", [f"{name} is version {function.version} again"])
            return function.version

    # what is in force

    def _configure(self, project: Project, only: Collection[str] | None = None) -> None:
        """Serve *project*; *only* names the functions that may differ from what is served, None is all."""
        before, self.project = self.project, project
        functions = dict(project.functions) | built_in(project)
        self.gates = {name: Gate(trigger, functions) for name, trigger in project.triggers.items()}
        were, are = ({*one.functions, *one.triggers} for one in (before, project))
        self._services.metrics.went(were, are, self._services.clock.now())
        for name in before.functions.keys() - project.functions.keys():
            self.dispatchers.remove(name)
        self._alarms |= dict.fromkeys(project.alarms)
        answers, alarms = senders(project, self._deployed), self._alarms
        own = [API_TRIGGER, *map(destination_trigger, answers), *map(alarm_trigger, alarms)]
        for name, function in functions.items():
            if only is None or name in only or name not in self.dispatchers:
                plans = plans_of(function, project, self.modules, own)
                self.dispatchers.serve(function, plans, built_in=name not in project.functions)

    def _start(self, triggers: Mapping[str, Trigger]) -> None:
        for trigger in triggers.values():
            self.sources.start(trigger, self.modules[trigger.type], self.project.hub)

    async def rest(self, name: str) -> None:
        """Stop a paused trigger's source; one that serves routes stays and answers 503 instead."""
        await self.sources.rest(name, self._drain)

    def resume(self, name: str) -> None:
        """Start the source of a trigger that is no longer paused; a reload may have taken the trigger away."""
        if self.taking and name not in self.sources and name in self.project.triggers:
            self._start({name: self.project.triggers[name]})

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


def unknown(kind: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that nothing has, with the one that was meant, or all that there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.55)
    hint = f"Did you mean {close[0]!r}?" if close else f"This hub has: {', '.join(names) or 'none'}."
    return NotFound(f"no {kind} {name!r}", hint=hint)
