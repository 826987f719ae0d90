"""Keep a dispatcher for each function that is served, and hold up those of functions that cannot run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from triggerhub.hub.call import Caller
from triggerhub.hub.dispatch import Dispatcher
from triggerhub.hub.lane import LanePlan
from triggerhub.hub.outlet import Performer
from triggerhub.hub.pause import Paused
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import Preparation
from triggerhub.hub.services import Services
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.settings import Function
from triggerhub.store import Lane


class Dispatchers(dict[str, Dispatcher]):
    """By the function's name; only the methods of its own change it.

    A dict of its own kind, since every event and every call looks into it.
    """

    def __init__(
        self, pool: Pool, caller: Caller, performer: Performer, paused: Paused, preparation: Preparation
    ) -> None:
        super().__init__()
        self._pool, self._caller, self._performer = pool, caller, performer
        self._paused, self._preparation = paused, preparation
        self._leaving: list[Dispatcher] = []
        """Those of removed functions that still drain."""
        self._lacking: set[str] = set()
        """Functions whose deliveries wait for what they depend on, for concurrency, or for a host to isolate them."""
        self._services: Services
        self._grace: Callable[[], float]
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self, services: Services, grace: Callable[[], float]) -> AsyncGenerator[None]:
        """Let functions be served; leaving drains them within *grace* seconds."""
        self._services, self._grace = services, grace
        async with anyio.create_task_group() as self._tasks:
            try:
                yield
            finally:
                self.stop()

    def serve(self, function: Function, plans: Mapping[Lane, LanePlan], *, built_in: bool) -> None:
        """Serve a function from now on, or anew; *built_in* is one that the hub itself performs."""
        name = function.name
        if name not in self:
            call = self._performer.call if built_in else self._caller.call
            dispatcher = self[name] = Dispatcher(function, call, self._services)
            if self._paused("function", name):
                dispatcher.pause()
            self._tasks.start_soon(self._run, dispatcher, name=f"dispatch:{name}")
        self[name].configure(function, plans)
        if not built_in:
            self.hold(function)
            self._pool.serve(function, prepare=name not in self._lacking)

    def remove(self, name: str) -> None:
        """Serve a function no more; what runs of it is drained."""
        leaving = self.pop(name)
        self._leaving.append(leaving)
        leaving.stop()
        self._pool.forget(name)

    async def _run(self, dispatcher: Dispatcher) -> None:
        await dispatcher.run(self._grace)
        if dispatcher in self._leaving:
            self._leaving.remove(dispatcher)

    def stop(self) -> None:
        """Have all of them claim nothing more."""
        for dispatcher in self.values():
            dispatcher.stop()

    def wake(self) -> None:
        """Have all of them look what is due."""
        for dispatcher in self.values():
            dispatcher.wake()

    def rouse(self, lane: Lane) -> None:
        """Have the one that serves a lane look what is due in it."""
        if dispatcher := self.get(lane.function):
            dispatcher.wake(lane)

    def interrupt(self, lane: Lane, delivery: str) -> None:
        """Let go of a delivery that was ended, also where its function is being drained after its removal."""
        for dispatcher in (*filter(None, [self.get(lane.function)]), *self._leaving):
            dispatcher.interrupt(delivery)
            dispatcher.wake(lane)

    def hold(self, function: Function) -> None:
        """Let the deliveries of a function wait that cannot be started yet, or must not be."""
        lacking = function.held or self._preparation.lacks(function)
        if lacking or isinstance(self._pool.level(function), Refusal):
            self._lacking.add(function.name)
            self[function.name].pause()
        elif function.name in self._lacking:
            self._lacking.discard(function.name)
            self.resume(function.name)
            self._pool.serve(function)

    # pausing: a reload may have taken away what was there when it was asked for

    def pause(self, name: str) -> None:
        """Stop claiming for a function that was paused."""
        if dispatcher := self.get(name):
            dispatcher.pause()

    def resume(self, name: str) -> None:
        """Claim again for a function that is no longer paused, if nothing else holds it."""
        dispatcher = self.get(name)
        if dispatcher is not None and name not in self._lacking and not self._paused("function", name):
            dispatcher.resume()
