"""Have the environments built that functions depend on, away from every event, and say how far that is."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import anyio
import structlog

from triggerhub.errors import ConfigError
from triggerhub.runtime import Environments
from triggerhub.settings import Function

log = structlog.get_logger("dependencies")

AT_ONCE = 2
"""How many are built at the same time."""
FIRST, MOST = 10.0, 600.0
"""Seconds after which a build that failed is tried again; twice as long each time, up to the most."""


@dataclass(slots=True)
class _Build:
    function: Function
    names: set[str]
    """The functions that wait for it."""
    began: float | None = None
    """On the loop's clock; None while it waits for its turn."""
    said: str = ""
    """The installer's latest line."""
    error: str = ""
    scope: anyio.CancelScope | None = None


class NoEnvironments:
    """For functions that depend on nothing."""

    def ready(self, function: Function) -> bool:
        return True

    async def build(self, function: Function, tell: Callable[[str], None]) -> None: ...


class Preparation:
    """What is being built, by the environment's name."""

    def __init__(
        self, environments: Environments, built: Callable[[], Awaitable[object]], hide: Callable[[str], str] = str
    ) -> None:
        """*built* is called after each one that is there now; *hide* makes of an installer's words what is shown."""
        self._hide = hide
        self._environments = environments
        self._built = built
        self._builds: dict[str, _Build] = {}
        self._woken = anyio.Event()

    def lacks(self, function: Function) -> bool:
        """Whether a function cannot be started before its environment is built."""
        return not self._environments.ready(function)

    def want(self, functions: Iterable[Function]) -> None:
        """Build what these lack, and nothing else any more."""
        wanted: dict[str, list[Function]] = {}
        for function in functions:
            if self.lacks(function):
                wanted.setdefault(_name(function), []).append(function)
        for name in self._builds.keys() - wanted.keys():
            build = self._builds.pop(name)
            if build.scope is not None:
                build.scope.cancel()
        for name, several in wanted.items():
            build = self._builds.setdefault(name, _Build(several[0], set()))
            build.names = {function.name for function in several}
        self._woken.set()

    def state(self, name: str) -> str | None:
        """Say how far the environment is that a function waits for, for people; None where it waits for none."""
        build = next((one for one in self._builds.values() if name in one.names), None)
        if build is None:
            return None
        if build.error:
            return f"its dependencies could not be built: {self._hide(build.error)}"
        if build.began is None:
            return "its dependencies wait to be built"
        so_far = f"its dependencies are being built, for {math.floor(anyio.current_time() - build.began)} s by now"
        return f"{so_far}: {self._hide(build.said)}" if build.said else so_far

    def under_way(self) -> list[str]:
        """Return the builds that have not failed so far."""
        running = (one.function for one in self._builds.values() if not one.error)
        return [f"{one.source}: {self.state(one.name)}" for one in running]

    def problems(self) -> list[str]:
        """Return the builds that failed."""
        return [f"{one.function.source}: {self.state(one.function.name)}" for one in self._builds.values() if one.error]

    async def run(self) -> None:
        """Build, until cancelled."""
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as builds:
            while True:
                self._woken = anyio.Event()
                for build in self._builds.values():
                    if build.scope is None:
                        build.scope = anyio.CancelScope()
                        builds.start_soon(self._until_built, build, limiter)
                await self._woken.wait()

    async def _until_built(self, build: _Build, limiter: anyio.CapacityLimiter) -> None:
        assert build.scope is not None
        wait, function = FIRST, build.function

        def tell(line: str) -> None:
            build.said = line

        with build.scope:
            while True:
                async with limiter:
                    build.began, build.said = anyio.current_time(), ""
                    log.info("dependencies are being built", function=function.name, source=function.source)
                    try:
                        await self._environments.build(function, tell)
                        break
                    except ConfigError as error:
                        build.error = error.message if error.hint is None else f"{error.message}; {error.hint}"
                    except Exception as error:  # one function's trouble is not the hub's
                        build.error = f"{type(error).__name__}: {error}"
                log.error("dependencies could not be built", function=function.name, error=build.error, again_s=wait)
                await anyio.sleep(wait)
                wait = min(wait * 2, MOST)
            took = round(anyio.current_time() - build.began, 1)
            log.info("dependencies are built", function=function.name, seconds=took)
            if self._builds.get(_name(function)) is build:
                del self._builds[_name(function)]
        if not build.scope.cancelled_caught:
            await self._built()


def _name(function: Function) -> str:
    return function.needs.folder.name if function.needs else ""
