"""Know at which level this host runs each function: find out what it gives, and again where that is not enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import structlog

from triggerhub.policy.sandbox.levels import Ability, Refusal, decide, speaks
from triggerhub.runtimes import probe
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.sandbox import Planner
from triggerhub.settings import Function, Level

log = structlog.get_logger("sandbox")

AGAIN = 30.0
"""Seconds until a host that does not give a function its level is looked at again."""
_LOOKS = 3
"""How often it is found out what the host gives where the launcher does not live to the end of it."""


class Levels:
    """What was found out by one launcher's sandboxes."""

    def __init__(self, launcher: Launcher, planner: Planner, found: Callable[[], object]) -> None:
        """*found* is called whenever it was found out what the host gives."""
        self._launcher = launcher
        self._planner = planner
        self._found = found
        self._looking: asyncio.Task[Findings] | None = None
        self._last: Findings | None = None
        """What was found, also while a launcher that died is replaced."""
        self._levels: dict[tuple[Level, bool], Level | Refusal] = {}
        """What came of it, by what is asked of a host: it is looked up for every call."""
        self._decided_of: Findings | None = None
        self._shared = False
        """Whether it was said who shares the host's network."""

    async def findings(self) -> Findings:
        """Return what the host gives, found out once for each launcher."""
        if self._launcher.findings is None:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(self._look())
            # Who waits may be cut; who comes next waits for the same.
            found = await asyncio.shield(self._looking)
            if self._last is not found:
                self._launcher.findings = self._last = found
                self._found()
            return found
        known: Findings = self._launcher.findings
        return known

    async def _look(self) -> Findings:
        """Look at what the host gives, anew where the launcher died meanwhile: that says nothing of the host."""
        for _ in range(_LOOKS):
            losses = self._launcher.losses
            found = await probe.look(self._launcher, self._planner)
            if self._launcher.losses == losses:
                break
        return found

    @asynccontextmanager
    async def looked_at(self, functions: Callable[[], Iterable[Function]]) -> AsyncGenerator[None]:
        """Find out meanwhile what the host gives, and log for which of *functions* that is not enough.

        While it is not enough for one, it is found out again now and then: somebody may have done what is asked.
        """
        task = asyncio.ensure_future(self._look_at(functions))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _look_at(self, functions: Callable[[], Iterable[Function]]) -> None:
        told: dict[str, Refusal] = {}
        said = False
        while True:
            isolated = [one for one in functions() if one.level != "trusted" and not one.lost]
            if isolated:
                if any(isinstance(self.level(one), Refusal) for one in isolated):
                    self._launcher.findings = None
                try:
                    await self.findings()
                except Exception as error:  # what it is for is said by the first call that needs it
                    log.error("it could not be found out what sandboxes are worth here", exc_info=error)
                self._say_who_shares(isolated)
                levels = {one.name: self.level(one) for one in isolated}
                refused = {name: level for name, level in levels.items() if isinstance(level, Refusal)}
                for name, refusal in refused.items():
                    if told.get(name) != refusal:
                        log.error("a function is not run", function=name, why=refusal.message, do=refusal.hint)
                if not said or told.keys() - refused.keys():
                    given = sorted({level for level in levels.values() if isinstance(level, str)})
                    log.info("functions are isolated", levels=", ".join(given))
                told, said = refused, True
            await asyncio.sleep(AGAIN)

    def _say_who_shares(self, isolated: Iterable[Function]) -> None:
        """Log once for which functions the host's network stands in for one of their own."""
        if self._last is None or self._last.carried or self._shared:
            return
        if names := [one.name for one in isolated if one.network is True]:
            self._shared = True
            lack = self._last.lacks.get(Ability.NETWORK)
            log.warning(
                "functions share the host's network: they reach the hub's ports and what listens on its loopback",
                functions=", ".join(names),
                why=lack and lack.found,
                do=lack and lack.remedy,
            )

    def level(self, function: Function) -> Level | Refusal:
        """Return the level at which a function runs here, or why it does not; see ``runtime.Runtime``."""
        if function.lost:
            hint = f"`triggerhub functions rollback {function.name} --to VERSION`, or save its files in the folder anew"
            return Refusal(message=function.lost, hint=hint)
        findings: Findings | None = self._launcher.findings or self._last
        if findings is None:
            return function.level
        if findings is not self._decided_of:
            self._decided_of, self._levels = findings, {}
        asked = function.level, speaks(function)
        level = self._levels.get(asked)
        if level is None:
            level = self._levels[asked] = decided(function, findings)
        return level


def decided(function: Function, findings: Findings) -> Level | Refusal:
    """Return the level at which *function* runs on a host of which that was found."""
    return decide(function.level, findings.lacks, sockets=speaks(function))
