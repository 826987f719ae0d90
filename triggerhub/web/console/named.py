"""Find, pause and resume what has a name: functions and triggers alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.errors import NotFound
from triggerhub.hub.hub import Hub
from triggerhub.hub.pause import Kind
from triggerhub.model import Json
from triggerhub.web.console import answer

Rows = Callable[[], Awaitable[Sequence[dict[str, Json]]]]


class Named:
    """The rows of one kind, each with a ``name``, by the name in a request's path."""

    def __init__(self, hub: Hub, kind: Kind, rows: Rows) -> None:
        self._hub, self._kind, self._rows = hub, kind, rows

    def routes(self) -> list[tuple[str, Any, str]]:
        paths = f"/{self._kind}s/{{name}}"
        return [(f"{paths}/pause", self.pause, "POST"), (f"{paths}/resume", self.resume, "POST")]

    async def row(self, request: Request) -> dict[str, Json]:
        """NotFound."""
        name = request.path_params["name"]
        for row in await self._rows():
            if row["name"] == name:
                return row
        raise NotFound(f"there is no {self._kind} {name!r}", hint="It may have been renamed or removed.")

    async def pause(self, request: Request) -> Response:
        await self._hub.pause(self._kind, request.path_params["name"])
        return again()

    async def resume(self, request: Request) -> Response:
        await self._hub.resume(self._kind, request.path_params["name"])
        return again()


def again() -> Response:
    """Have the page loaded again."""
    return Response(status_code=204, headers={**answer.HEADERS, "HX-Refresh": "true"})
