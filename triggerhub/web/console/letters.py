"""Show dead letters as what they are: a few causes, each with its number, its time and one of its events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.hub import Hub
from triggerhub.hub.veil import KEYLESS
from triggerhub.model import Delivery, State
from triggerhub.policy import searching
from triggerhub.policy.grouping import Grave, Group, group
from triggerhub.policy.searching import Search
from triggerhub.store import Query
from triggerhub.web import asked, shape
from triggerhub.web.access import asker
from triggerhub.web.console import answer
from triggerhub.web.console.frame import Frame
from triggerhub.web.refusal import Stopping

SHOWN = 200
"""Groups on the page; of more it is said how many."""
FUNCTIONS = 12
"""Functions to choose from at once, those with the most dead letters; the rest are unfolded."""
PAGE = 200
GROUPED = 10_000
"""Dead letters that are put together where a search chooses them; the newest."""


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
        text = request.query_params.get("q", "")
        try:
            search, trouble = _read(text, request), None
        except ValueError as error:
            search, trouble = Search(), str(error)
        every, more = ([], False) if trouble else await self._found(search, request)
        functions = Counter[str]()
        for one in every:
            functions[one.function] += one.count
        chosen = {name: value for name, value in asdict(search).items() if value is not None}
        return {
            "q": text,
            "trouble": trouble,
            "query": f"?{urlencode({'q': text})}" if text else "",
            "chosen": json.dumps(chosen),
            "exports": asker(request.scope).principal.payloads,
            "more_than": GROUPED if more else None,
            "groups": every[:SHOWN],
            "hidden": max(len(every) - SHOWN, 0),
            "total": sum(one.count for one in every),
            "function": search.function,
            "functions": [(name, count, _link(search, name)) for name, count in functions.most_common()],
            "at_once": FUNCTIONS,
            "every": _link(search, None),
        }

    async def _found(self, search: Search, request: Request) -> tuple[list[Group], bool]:
        """Return the causes of what a search chooses, and whether there are more than were looked at."""
        if search == Search(function=search.function):
            graves = await self._frame.graves(request)
            return [one for one in graves if search.function in (None, one.function)], False
        told, query = asker(request.scope).principal.payloads, asked.searched(search, State.DEAD, limit=PAGE)
        dead = list[Grave]()
        while len(dead) < GROUPED:
            rows = await self._hub.deliveries.page(query, told=told)
            dead += map(_grave, rows)
            if len(rows) < PAGE:
                break
            query = replace(query, before=rows[-1].id)
        return [self._hub.veil.group(one, told=told) for one in group(dead)], len(dead) >= GROUPED

    async def export(self, request: Request) -> Response:
        """Everything that is kept of the chosen dead letters, a line of JSON each, newest first."""
        try:
            search = _read(request.query_params.get("q", ""), request)
        except ValueError as error:
            raise BadInput(str(error)) from error
        lines = self._lines(asked.searched(search, State.DEAD, limit=PAGE))
        disposition = 'attachment; filename="dead-letters.jsonl"'
        headers = {**answer.HEADERS, "Content-Disposition": disposition}
        return StreamingResponse(lines, headers=headers, media_type="application/x-ndjson")

    async def _lines(self, query: Query) -> AsyncIterator[bytes]:
        while rows := await self._hub.deliveries.page(query):
            for row in rows:
                with suppress(NotFound):  # redriven, discarded or pruned meanwhile
                    yield shape.detail(await self._hub.deliveries.get(row.id), mask=self._hub.veil.mask) + b"\n"
            query = replace(query, before=rows[-1].id)
            if self._hub.phase != "running":
                raise Stopping("the hub is stopping")  # the connection breaks: nobody takes a part for all


def _read(text: str, request: Request) -> Search:
    """Read a search among dead letters. ValueError."""
    search = searching.parse(text)
    if search.id is not None:
        raise ValueError("an id is one delivery, not a cause: search it in Deliveries")
    if search.state not in (None, State.DEAD):
        raise ValueError(f"what is {search.state} is no dead letter: search it in Deliveries")
    if search.key is not None and not asker(request.scope).principal.payloads:
        raise ValueError(KEYLESS)
    return replace(search, state=None)


def _link(search: Search, function: str | None) -> str:
    text = str(replace(search, function=function))
    return f"/dead-letters?{urlencode({'q': text})}" if text else "/dead-letters"


def _grave(row: Delivery) -> Grave:
    kind, message = (row.error.type, row.error.message) if row.error else (None, None)
    died = row.finished or row.created
    return Grave(function=row.function, type=kind, message=message, count=1, first=died, last=died, newest=row.id)
