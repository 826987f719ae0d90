"""Show dead letters as what they are: a few causes, each with its number, its time and one of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from triggerhub.errors import NotFound
from triggerhub.hub.hub import Hub
from triggerhub.model import State
from triggerhub.store import Query
from triggerhub.web import bulk, shape
from triggerhub.web.console import answer
from triggerhub.web.console.frame import Frame
from triggerhub.web.refusal import Stopping

SHOWN = 200
"""Groups on the page; of more it is said how many."""
PAGE = 200


class Letters:
    """The pages under /dead-letters."""

    def __init__(self, hub: Hub, frame: Frame) -> None:
        self._hub, self._frame = hub, frame

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            ("/dead-letters", self.page, "GET"),
            ("/dead-letters/groups", self.groups, "GET"),
            ("/dead-letters/export.jsonl", self.export, "GET"),
        ]

    async def page(self, request: Request) -> Response:
        return await answer.html(
            "letters.html", await self._frame.around("dead-letters", request) | await self._groups(request)
        )

    async def groups(self, request: Request) -> Response:
        """The table of groups alone."""
        return await answer.html("groups.html", self._frame.common() | await self._groups(request))

    async def _groups(self, request: Request) -> dict[str, Any]:
        function = request.query_params.get("function") or None
        every = [one for one in await self._frame.graves(request) if function in (None, one.function)]
        return {
            "groups": every[:SHOWN],
            "hidden": max(len(every) - SHOWN, 0),
            "total": sum(one.count for one in every),
            "function": function,
            "dead_functions": sorted({one.function for one in every}),
        }

    async def export(self, request: Request) -> Response:
        """Everything that is kept of the chosen dead letters, a line of JSON each, newest first."""
        asked = request.query_params
        mark = asked.get("fingerprint")
        lines = self._lines(asked.get("function") or None, mark)
        disposition = 'attachment; filename="dead-letters.jsonl"'
        headers = {**answer.HEADERS, "Content-Disposition": disposition}
        return StreamingResponse(lines, headers=headers, media_type="application/x-ndjson")

    async def _lines(self, function: str | None, mark: str | None) -> AsyncIterator[bytes]:
        before: str | None = None
        while rows := await self._hub.page(Query(state=State.DEAD, function=function, before=before, limit=PAGE)):
            for row in rows:
                if mark is None or bulk.bears(row, mark, self._hub.veil):
                    with suppress(NotFound):  # redriven, discarded or pruned meanwhile
                        yield shape.detail(await self._hub.get(row.id), mask=self._hub.veil.mask) + b"\n"
            before = rows[-1].id
            if self._hub.phase != "running":
                raise Stopping("the hub is stopping")  # the connection breaks: nobody takes a part for all
