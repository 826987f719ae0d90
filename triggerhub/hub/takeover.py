"""Let changed versions of functions take over from their predecessors, or keep those serving."""

from __future__ import annotations

from dataclasses import replace

import anyio

from triggerhub.errors import Conflict, StartFailed
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import Preparation
from triggerhub.settings import Function, Project

TRIALS = 4
"""How many changed versions are tried at once."""


class Takeover:
    """Has each version seen to start before calls go to it."""

    def __init__(self, pool: Pool, preparation: Preparation) -> None:
        self._pool, self._preparation = pool, preparation

    async def tried(self, project: Project, running: Project, failed: list[str]) -> Project:
        """Start each changed version once, or have built what it depends on.

        Return the project with those of *running* that go on serving instead; *failed* is told why.
        """
        project = self._kept_back(project, running, failed)
        functions = dict(project.functions)
        limiter = anyio.CapacityLimiter(TRIALS)

        async def trial(function: Function, old: Function) -> None:
            async with limiter:
                try:
                    await self._pool.trial(function)
                except StartFailed as error:
                    functions[function.name] = old
                    failed.append(f"{function.source}: {error.type}: {error}; version {old.version} goes on serving")

        async with anyio.create_task_group() as trials:
            for name, function in project.functions.items():
                old = running.functions.get(name)
                if old is not None and _changed(function, old) and not self._preparation.lacks(function):
                    trials.start_soon(trial, function, old)
        return replace(project, functions=functions)

    def _kept_back(self, project: Project, running: Project, failed: list[str]) -> Project:
        """Have built what changed versions depend on; until then their predecessors serve, and where one is faulty."""
        self._preparation.want(project.functions.values())
        functions = dict(project.functions)
        for name, function in project.functions.items():
            old = running.functions.get(name)
            if function.faulty and (old is None or not self._serves(old)):
                failed.append(f"{function.faulty}; until that is mended, calls of {name} fail")
            elif old is not None and (why := self._unready(function, old)):
                functions[name] = old
                failed.append(f"{why}; version {old.version} goes on serving")
        return replace(project, functions=functions)

    def _serves(self, old: Function) -> bool:
        return not (old.faulty or old.lost or self._preparation.lacks(old))

    def _unready(self, function: Function, old: Function) -> str:
        """Say why *old* is not to be replaced yet; whether the version differs does not matter."""
        if function.faulty:
            return function.faulty
        if self._preparation.lacks(function) and not self._preparation.lacks(old):
            return f"{function.source}: what it depends on is not built yet"
        return ""

    async def startable(self, function: Function, old: Function) -> None:
        """Raise Conflict where a version cannot take over from *old* at once; what the host lacks for it may come."""
        goes_on = "" if old.lost else f"; version {old.version} goes on serving"
        if function.faulty:
            raise Conflict(
                f"version {function.version} of {function.name} cannot be started: {function.faulty}{goes_on}",
                hint="Mend that and save it: it serves then.",
            )
        if self._preparation.lacks(function):
            raise Conflict(
                f"what version {function.version} of {function.name} depends on is no longer installed{goes_on}",
                hint="Save its files in the folder instead: they serve once all is installed again.",
            )
        if _changed(function, old):
            try:
                await self._pool.trial(function)
            except StartFailed as error:
                if not error.scarce:
                    raise Conflict(
                        f"version {function.version} of {function.name} does not start: {error.type}: {error}{goes_on}",
                        hint=f"Choose another of `triggerhub functions versions {function.name}`.",
                    ) from error


def _changed(function: Function, old: Function) -> bool:
    """Whether there is something to be tried: an executable is started by its calls alone."""
    return old.version != function.version and function.runtime != "executable"
