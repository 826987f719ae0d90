"""Watch new versions that get a part of an alias's calls; promote them, or roll them back.

What a version's calls came to is counted in memory, and written down every few seconds with how long it was
watched: a hub that is killed goes on where it was, less what was counted since.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import anyio
import anyio.to_thread
import structlog

from triggerhub.deploy.canary import begun, ended, running
from triggerhub.deploy.record import Canary, Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.errors import NotFound, StoreBroken
from triggerhub.hub.clock import Clock
from triggerhub.hub.hub import Hub
from triggerhub.model import Json, Millis
from triggerhub.policy.canary import Tally, Terms, judge, told
from triggerhub.policy.quiet import Quiet
from triggerhub.settings import DAY, DEPLOYED, MINUTE
from triggerhub.telemetry.metrics import Totals

log = structlog.get_logger("canary")

LOOK = 1.0
"""Seconds between looks, unless a failure decides at once."""
BY_HAND = "by hand"
KEEP = 5000
"""Milliseconds of watching after which what was counted is written down though no call came."""


@dataclass(slots=True)
class _Watched:
    """What was seen of one canary, and when it was looked at last."""

    tally: Tally
    totals: Totals
    at: float
    kept: Tally
    """As it was written down."""


class Canaries:
    """The canaries of all functions that were made through the Lambda API."""

    def __init__(self, hub: Hub, registry: Registry, clock: Clock) -> None:
        self._hub, self._registry, self._clock = hub, registry, clock
        self._watched: dict[str, _Watched] = {}
        self._tried: dict[str, list[Canary]] = {}
        """The canaries of each version that has some, by the name that the hub serves it by."""
        self._decided = anyio.Event()
        """Is set by the failure with which too many calls have failed."""
        self._quiet = Quiet(every=MINUTE)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[Canaries]:
        """Look every second, and when a canary has failed. StoreBroken ends it.

        Any other trouble is logged, and looked at again.
        """
        for _, _, canary in running(self._registry.functions):
            # This process has only begun: all that it has counted came after what was written down.
            self._watch(canary.id, self._registry.tallies.of(canary), Totals())
        self._attend()
        self._hub.pulse.tell(self._failed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_on)
            try:
                yield self
            finally:
                tasks.cancel_scope.cancel()

    # what people ask for

    async def begin(self, name: str, alias: str | None, to: str | None, *, weight: float, terms: Terms) -> str:
        """Give a version *weight* (0 to 1) of an alias's calls from now on; returns the alias.

        None is as in ``deploy.canary.begun``. BadInput, NotFound, Conflict; OSError where the disk is full.
        """
        key, found = str(uuid.uuid4()), ""

        def change(deployed: Deployed | None) -> Deployed:
            nonlocal found
            if deployed is None:
                raise NotFound(f"no function {name!r}")
            made, found = begun(deployed, alias, to, weight=weight, terms=terms, now=self._clock.now(), revision=key)
            (version,) = made.aliases[found].weights
            self._watch(key, Tally(), self._totals(name, version))
            return made

        await self._registry.change(name, change)
        self._attend()
        return found

    async def end(self, name: str, alias: str, state: Literal["promoted", "rolled back"]) -> None:
        """End a canary by hand. NotFound, Conflict."""
        deployed = self._registry.functions.get(name)
        if deployed is None:
            raise NotFound(f"no function {name!r}")
        canary = deployed.aliases[alias].canary if alias in deployed.aliases else None
        await self._end(name, alias, state, canary, BY_HAND, only=None)

    def rows(self, name: str | None = None) -> list[dict[str, Json]]:
        """One row per alias that has, or had last, a canary; of one function, or of all."""
        rows = []
        for deployed in self._registry.functions.values():
            for alias, one in sorted(deployed.aliases.items()):
                if one.canary is None or name not in (None, deployed.name):
                    continue
                tally = self._tally(deployed.name, one.canary)
                rows.append(
                    {
                        "function": deployed.name,
                        "alias": alias,
                        "version": one.canary.version,
                        "state": one.canary.state,
                        "weight": one.weights.get(one.canary.version, 0.0),
                        "max_errors": one.canary.most,
                        "min_calls": one.canary.least,
                        "calls": tally.calls,
                        "errors": tally.errors,
                        "watched_ms": tally.watched,
                        "for_ms": one.canary.length,
                        "began": one.canary.began,
                        "ended": one.canary.ended,
                        "why": one.canary.why,
                    }
                )
        return rows

    def taken_back(self) -> list[dict[str, Json]]:
        """Return the rows of those that the hub itself took back within a day."""
        since = self._clock.now() - DAY
        return [
            row
            for row in self.rows()
            if row["state"] == "rolled back" and row["why"] != BY_HAND and (row["ended"] or 0) > since
        ]

    # watching

    async def _look_on(self) -> None:
        trouble = False
        while True:
            with anyio.move_on_after(LOOK):
                # What could not be ended is not tried again with each call that fails.
                await (anyio.sleep(LOOK) if trouble else self._decided.wait())
            self._decided, trouble = anyio.Event(), False
            now = list(running(self._registry.functions))
            for deployed, alias, canary in now:
                try:
                    await self._look(deployed.name, alias, canary)
                except StoreBroken:
                    raise
                except Exception as error:  # one canary's trouble is not the others'; a full disk, say
                    trouble = True
                    if self._quiet.due(self._clock.now()):
                        about = {"function": deployed.name, "alias": alias}
                        log.error("a canary could not be looked at; it goes on", exc_info=error, **about)
            self._attend()
            try:
                await self._forget({canary.id for _, _, canary in now})
            except StoreBroken:
                raise
            except Exception as error:  # a full disk, say: what is left over harms nobody
                if self._quiet.due(self._clock.now()):
                    log.warning("what ended canaries counted could not be removed", error=str(error))

    def _attend(self) -> None:
        """Know of which versions a failure may decide."""
        self._tried = {}
        for deployed, _, canary in running(self._registry.functions):
            self._tried.setdefault(f"{deployed.name}:{canary.version}", []).append(canary)

    def _failed(self, name: str) -> None:
        """Wake the look where the call that has just failed is one too many."""
        for canary in self._tried.get(name, ()):
            if (watched := self._watched.get(canary.id)) is not None:
                tally = self._counted(watched, self._hub.pulse.totals(name), 0)
                if judge(_terms(canary), tally) == "roll back":
                    self._decided.set()

    async def _look(self, name: str, alias: str, canary: Canary) -> None:
        now, totals = anyio.current_time(), self._totals(name, canary.version)
        watched = self._watched.get(canary.id) or self._watch(canary.id, Tally(), totals)
        served = self._hub.project.functions.get(f"{name}:{canary.version}")
        on = served is not None and served.source == DEPLOYED and self._hub.phase == "running"
        passed = round((now - watched.at) * 1000) if on else 0
        watched.tally = self._counted(watched, totals, passed)
        watched.at, watched.totals = now, totals
        if not on:
            return
        terms, tally = _terms(canary), watched.tally
        verdict = judge(terms, tally)
        if verdict == "go on":
            same = (tally.calls, tally.errors) == (watched.kept.calls, watched.kept.errors)
            if not same or tally.watched - watched.kept.watched >= KEEP:
                await self._registry.tallies.keep(canary.id, tally)
                watched.kept = tally
            return
        state: Literal["promoted", "rolled back"] = "promoted" if verdict == "promote" else "rolled back"
        await self._end(name, alias, state, canary, told(terms, tally), only=canary.id)

    async def _end(
        self,
        name: str,
        alias: str,
        state: Literal["promoted", "rolled back"],
        canary: Canary | None,
        why: str,
        *,
        only: str | None,
    ) -> None:
        def change(deployed: Deployed | None) -> Deployed | None:
            if deployed is None:
                return None
            tally = Tally() if canary is None else self._tally(name, canary)
            now, revision = self._clock.now(), str(uuid.uuid4())
            return ended(deployed, alias, state, tally=tally, why=why, now=now, revision=revision, only=only)

        before = self._registry.functions.get(name)
        changed = await self._registry.change(name, change)
        if changed is None or changed == before or canary is None:
            return
        say = log.info if state == "promoted" else log.warning
        say(
            f"a canary was {state}",
            function=name,
            alias=alias,
            version=canary.version,
            now=changed.aliases[alias].version,
            why=why,
            on_screen=True,
        )
        if only is not None:  # what people end, they have written down for themselves
            await self._write_down(f"canary of {name}:{alias} {state}: {why}", canary.version)

    async def _write_down(self, text: str, version: str) -> None:
        entry = {"text": text, "who": "hub", "role": "hub", "from": "hub", "query": "", "order": {"version": version}}
        line = {"time": self._clock.now(), **entry, "status": 200}
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._hub.changes.add, line)
        except OSError as error:
            log.error("a change could not be written down", error=str(error), change=text)

    async def _forget(self, kept: set[str]) -> None:
        for key in self._watched.keys() - kept:
            del self._watched[key]
        await self._registry.tallies.drop_but(kept)

    def _watch(self, key: str, tally: Tally, totals: Totals) -> _Watched:
        made = self._watched[key] = _Watched(tally, totals, anyio.current_time(), tally)
        return made

    def _tally(self, name: str, canary: Canary) -> Tally:
        """Return what was seen of a canary up to now, or up to its end."""
        watched = self._watched.get(canary.id)
        if watched is None or canary.state != "running":
            return self._registry.tallies.of(canary)
        return self._counted(watched, self._totals(name, canary.version), 0)

    def _totals(self, name: str, version: str) -> Totals:
        """Return what was counted of a published version since the start."""
        return self._hub.pulse.totals(f"{name}:{version}")

    @staticmethod
    def _counted(watched: _Watched, totals: Totals, passed: Millis) -> Tally:
        tally, before = watched.tally, watched.totals
        return Tally(
            calls=tally.calls + totals.invocations - before.invocations,
            errors=tally.errors + totals.errors - before.errors,
            watched=tally.watched + passed,
        )


def _terms(canary: Canary) -> Terms:
    return Terms(most=canary.most, length=canary.length, least=canary.least)
