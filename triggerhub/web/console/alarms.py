"""Show alarms: which are on, since when, and what they measured last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.hub.hub import Hub
from triggerhub.model import State
from triggerhub.policy.alarm import MEASURES, OF_CALLS
from triggerhub.policy.searching import Search
from triggerhub.settings import Condition, Project
from triggerhub.web.console import answer
from triggerhub.web.console.frame import Frame


class Alarms:
    """The pages under /alarms."""

    def __init__(self, hub: Hub, frame: Frame) -> None:
        self._hub, self._frame = hub, frame

    def routes(self) -> list[tuple[str, Any, str]]:
        return [("/alarms", self.page, "GET"), ("/alarms/list", self.listed, "GET")]

    async def page(self, request: Request) -> Response:
        return await answer.html("alarms.html", await self._frame.around("alarms", request) | self._rows())

    async def listed(self, request: Request) -> Response:
        """The table alone."""
        return await answer.html("alarmlist.html", self._frame.common() | self._rows())

    def _rows(self) -> dict[str, Any]:
        # What is on comes first.
        rows = sorted(self._hub.alarms.rows(), key=lambda row: (row["state"] != "alarm", row["name"]))
        return {"rows": linked(rows, self._hub.project)}


def linked(rows: Sequence[dict[str, Any]], project: Project) -> list[tuple[dict[str, Any], str]]:
    """Return alarms, each with the address of what it is about: deliveries, or a function whose calls it counts."""
    known = project.alarms
    return [(row, _address(known[row["name"]].when, project)) for row in rows if row["name"] in known]


def _address(when: Condition, project: Project) -> str:
    if when.measure in OF_CALLS:
        # Not every call is of a delivery, and what failed and was tried again may have succeeded by now.
        return f"/functions/{quote(when.name, safe='')}"
    state, of = State.DEAD if when.measure == "dead" else None, MEASURES[when.measure].of
    if of == "trigger" or (of == "either" and when.name in project.triggers):
        search = Search(trigger=when.name, state=state)
    else:
        search = Search(function=when.name, state=state)
    return f"/deliveries?{urlencode({'q': str(search)})}"
