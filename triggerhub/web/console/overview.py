"""Show the whole hub at a glance: what fails, since when, on which event; then how much and how fast."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.hub.canaries import Canaries
from triggerhub.hub.hub import Hub
from triggerhub.hub.pulse import Point
from triggerhub.model import Fault, Json, Millis
from triggerhub.web.access import asker
from triggerhub.web.console import answer, render
from triggerhub.web.console.alarms import linked
from triggerhub.web.console.frame import Frame
from triggerhub.web.console.live import LOOKED, point

MOST = 6
"""Things that need attention which are named; of more it is said how many."""


class Overview:
    """The first page."""

    def __init__(self, hub: Hub, frame: Frame, canaries: Canaries) -> None:
        self._hub, self._frame, self._canaries = hub, frame, canaries

    async def page(self, request: Request) -> Response:
        values = await self._frame.around("overview", request) | await self._needs(request) | await self._cards()
        values["series"] = render.data(self._series())
        return await answer.html("overview.html", values)

    async def series(self, request: Request) -> Response:
        """What the charts draw, for a page that missed some of it."""
        return answer.json(self._series())

    def _series(self) -> list[Json]:
        return [point(one) for one in self._hub.pulse.series()]

    async def cards(self, request: Request) -> Response:
        """The busiest functions and what fires next, alone."""
        return await answer.html("cards.html", self._frame.common() | await self._cards())

    async def _cards(self) -> dict[str, Any]:
        triggers = await self._hub.triggers()
        functions = await self._hub.functions()
        busy = [(row, self._hub.pulse.function(row["name"])) for row in functions]
        return {
            "next": sorted((row for row in triggers if row["next"] is not None), key=lambda row: row["next"])[:5],
            "busy": sorted(busy, key=lambda pair: (-pair[1].errors, -pair[1].calls, pair[0]["name"]))[:8],
            "functions": len(functions),
            "triggers": len(triggers),
        }

    async def attention(self, request: Request) -> Response:
        """The list of what needs attention alone."""
        return await answer.html("attention.html", self._frame.common() | await self._needs(request))

    async def _needs(self, request: Request) -> dict[str, Any]:
        groups = await self._frame.graves(request)
        status = await self._hub.status()
        again = await self._frame.again(request)
        named = {one.function for one in (*groups, *again)}
        still = [row for row in await self._hub.functions() if row["paused"]]
        paused = [row for row in await self._hub.triggers() if row["state"] == "paused"]
        return {
            "groups": groups[:MOST],
            "more": max(len(groups) - MOST, 0),
            "again": again[:MOST],
            "failing": self._failing(named, told=asker(request.scope).principal.payloads),
            "looked": LOOKED,
            "problems": status["problems"],
            "alarms": linked(status["alarms"], self._hub.project),
            "canaries": self._canaries.taken_back(),
            "pinned": status["pinned"],
            "paused": [("functions", row["name"]) for row in still] + [("triggers", row["name"]) for row in paused],
            "started": status["started"],
            "drift": status["counts"]["drift"],
        }

    def _failing(self, named: Collection[str], *, told: bool) -> list[tuple[str, Point, Fault | None, Millis]]:
        """Return the functions whose calls failed lately and left nothing else that names them: somebody waited."""
        found = []
        for name in self._hub.project.functions:
            recent, last = self._hub.pulse.function(name), self._hub.pulse.last_failure(name)
            if recent.errors and last is not None and name not in named:
                found.append((name, recent, self._hub.veil.fault(last[0], told=told), last[1]))
        return sorted(found, key=lambda one: -one[3])[:MOST]
