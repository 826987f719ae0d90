"""Start the sources of triggers, and stop them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import cast
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.errors import Conflict
from triggerhub.hub.context import SourceContext
from triggerhub.hub.gate import Gate
from triggerhub.hub.handling import Handling
from triggerhub.hub.intake import Inlet
from triggerhub.hub.pause import PausableRoutes, Paused
from triggerhub.hub.services import Services
from triggerhub.hub.supervise import Supervised
from triggerhub.model import Event, Outcome
from triggerhub.settings import HubSettings, Trigger
from triggerhub.source import Routes, Source

PATIENCE = 2.0
"""Seconds that sources have at the start to say that they have begun."""


class Sources(dict[str, Supervised]):
    """Those that run, by the trigger's name; only the methods of its own change it."""

    def __init__(
        self,
        services: Services,
        inlet: Inlet,
        handling: Handling,
        paused: Paused,
        routes: Routes,
        *,
        call_now: Callable[[Trigger, Event], Awaitable[Outcome]],
        gate: Callable[[str], Gate],
    ) -> None:
        """*call_now* serves ``source.Context.invoke``; *gate* is asked for every event: a reload compiles it anew."""
        super().__init__()
        self._services, self._inlet, self._handling = services, inlet, handling
        self._paused, self._routes, self._call_now, self._gate = paused, routes, call_now, gate
        self._served: dict[str, PausableRoutes] = {}
        self._last: dict[str, Supervised] = {}
        """Each that was started last."""
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Let sources be started; leaving waits until all have ended, which :meth:`end` or :meth:`stop` has them do."""
        async with anyio.create_task_group() as self._tasks:
            yield

    def start(self, trigger: Trigger, module: ModuleType, settings: HubSettings) -> None:
        """Start a trigger's source, unless it is disabled or paused; one that serves routes answers 503 then."""
        name = trigger.name
        serving = getattr(module, "serves_routes", False)
        if not trigger.enabled or (self._paused("trigger", name) and not serving):
            return
        last = self._last.get(name)
        # One that was stopped while it waited for its own turn is over before that has come.
        after = last and (last.after or last)
        supervised = Supervised(trigger, cast("Source", module), settings.timezone, after=after)
        self[name] = self._last[name] = supervised
        routes = self._served[name] = PausableRoutes(self._routes, lambda: self._paused("trigger", name))

        def gate() -> Gate:
            if supervised.left:
                raise Conflict(f"the source of trigger {name!r} had to end, and takes no more events")
            return self._gate(name)

        def make(report: Callable[[str | None], None]) -> SourceContext:
            return SourceContext(
                find_gate=gate,
                project=settings.project,
                timezone=ZoneInfo(settings.timezone),
                log=structlog.get_logger("source").bind(trigger=name),
                routes=routes,
                node=settings.node,
                store=self._services.store,
                clock=self._services.clock,
                inlet=self._inlet,
                depth=self._services.depth,
                handling=self._handling,
                grace=supervised.grace,
                call=self._call_now,
                report=report,
                begun=supervised.begun.set,
            )

        self._tasks.start_soon(supervised.keep, make, self._services.feed, name=f"source:{name}")

    async def begun(self) -> None:
        """Wait until every source has begun or is degraded, or their time is up."""
        with anyio.move_on_after(PATIENCE):
            for supervised in list(self.values()):
                await supervised.begun.wait()

    def trouble(self, name: str) -> str | None:
        """Say what keeps a trigger's source from its work; None where nothing does."""
        return supervised.why if (supervised := self.get(name)) else None

    @property
    def stuck(self) -> list[str]:
        """The triggers whose source was left behind, and has not ended yet."""
        return [name for name, one in self._last.items() if one.stuck]

    async def stop(self, name: str, drain: float) -> None:
        """Stop a source, if it runs, and wait for its end; within *drain* seconds it may finish what it has fetched."""
        if supervised := self.pop(name, None):
            await supervised.stop(drain)

    def serves(self, name: str) -> bool:
        """Whether a source that runs has routes."""
        return self._served[name].open > 0

    async def rest(self, name: str, drain: float) -> None:
        """Stop a paused trigger's source; one that serves routes stays and answers 503 instead."""
        if name in self and not self.serves(name):
            await self.stop(name, drain)

    def end(self, drain: float) -> None:
        """Tell all of them to end, as :meth:`stop` does; they are still there to be looked at."""
        for supervised in self.values():
            supervised.end(drain)
