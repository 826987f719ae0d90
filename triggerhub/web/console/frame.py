"""Gather what is around every page: where one is, what the hub is, what can be completed."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request

import triggerhub
from triggerhub.hub.hub import Hub
from triggerhub.model import State
from triggerhub.policy.access import Role
from triggerhub.policy.grouping import Group
from triggerhub.web.access import asker
from triggerhub.web.console import render
from triggerhub.web.console.live import Readings

PAGES = (
    ("overview", "/", "Overview"),
    ("deliveries", "/deliveries", "Deliveries"),
    ("functions", "/functions", "Functions"),
    ("triggers", "/triggers", "Triggers"),
    ("dead-letters", "/dead-letters", "Dead letters"),
    ("alarms", "/alarms", "Alarms"),
    ("settings", "/settings", "Settings"),
)


class Frame:
    """Lends pages their surroundings."""

    def __init__(self, hub: Hub, readings: Readings) -> None:
        self._hub = hub
        self._readings = readings

    async def around(self, here: str, request: Request) -> dict[str, Any]:
        """Return the values that ``page.html`` needs on the page *here*."""
        readings = await self._readings.now()
        project = self._hub.project
        found = asker(request.scope)
        who = found.principal
        title = next(label for name, _, label in PAGES if name == here)
        return {
            **self.common(),
            "here": here,
            "title": title,
            "pages": [page for page in PAGES if page[0] != "settings" or who.role is Role.ADMIN],
            "who": who,
            "signed_in": found.session is not None,
            "csrf": found.session.csrf if found.session else None,
            "readings": readings,
            "first": render.data(
                {"now": time.time_ns() // 1_000_000, "mark": readings["mark"], "lines": readings["lines"]}
            ),
            "completions": render.data(self._completions(dead=here == "dead-letters")),
            "project": project.hub.project.name,
            "node": project.hub.node,
            "version": triggerhub.__version__,
        }

    def _completions(self, *, dead: bool) -> dict[str, list[str]]:
        """Return the words of a search, and what may follow each; among *dead* letters there is one state."""
        project = self._hub.project
        return {
            "fn:": sorted(project.functions),
            "trigger:": sorted(project.triggers),
            **({} if dead else {"state:": list(State)}),
            "since:": ["5m", "15m", "1h", "1d"],
            "error~": [],
            "key:": [],
        }

    async def graves(self, request: Request) -> list[Group]:
        """Return the dead letters by cause, without secrets: in a fingerprint a mask would not know them again."""
        told = asker(request.scope).principal.payloads
        return [self._hub.veil.group(one, told=told) for one in await self._readings.graves()]

    async def again(self, request: Request) -> list[Group]:
        """Return what failed and waits to be tried again, by cause, without secrets."""
        told = asker(request.scope).principal.payloads
        return [self._hub.veil.group(one, told=told) for one in await self._readings.again()]

    def common(self) -> dict[str, Any]:
        """Return what pieces of a page need, too."""
        return {"now": time.time_ns() // 1_000_000, "mask": self._hub.veil.mask}
