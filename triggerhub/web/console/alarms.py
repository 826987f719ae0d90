"""Show alarms: which are on, since when, and what they measured last."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.hub.hub import Hub
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
        return {"rows": sorted(self._hub.alarms.rows(), key=lambda row: (row["state"] != "alarm", row["name"]))}
