"""Show the configuration in force with the place of every value, how the host is, and who changed what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import orders
from triggerhub.web import asked
from triggerhub.web.console import answer, effective
from triggerhub.web.console.effective import Table
from triggerhub.web.console.frame import Frame
from triggerhub.web.doctor import Doctor
from triggerhub.web.stream import attended

CHANGES = 100


class Settings:
    """The page /settings."""

    def __init__(self, hub: Hub, frame: Frame) -> None:
        self._hub, self._frame = hub, frame
        self._doctor = Doctor()

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            ("/settings", self.page, "GET"),
            ("/settings/values", self.values, "GET"),
            ("/settings/doctor", self.doctor, "POST"),
        ]

    async def page(self, request: Request) -> Response:
        project = self._hub.project
        values = {
            "changes": _changes(await anyio.to_thread.run_sync(self._hub.changes.newest, 2 * CHANGES)),
            "status": await self._hub.status(),
            "tokens": self._hub.tokens.all(),
            "auth": project.console.auth,
            "findings": self._doctor.latest,
        }
        around = await self._frame.around("settings", request)
        return await answer.html("settings.html", around | self._values(request) | values)

    async def values(self, request: Request) -> Response:
        """The values alone, searched."""
        return await answer.html("values.html", self._frame.common() | self._values(request))

    def _values(self, request: Request) -> dict[str, Any]:
        text, hide = request.query_params.get("q", ""), self._hub.veil.text
        # As they are shown: a search that found what lies behind dots would tell it.
        tables = [
            (name, [(key, hide(value), place) for key, value, place in rows])
            for name, rows in effective.tables(self._hub.project)
        ]
        return {"q": text, "file": effective.FILE, "tables": list(_found(tables, text.casefold().split()))}

    async def doctor(self, request: Request) -> Response:
        """Look at the machine; the page shows what was found until the next look."""
        await asked.body(request)
        findings = await attended(request.receive, lambda: self._doctor.look(self._hub.project.hub.project))
        return await answer.html("doctor.html", self._frame.common() | {"findings": findings})


def _changes(lines: Iterable[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Return the newest changes with what was asked for and how far it came, in words."""
    shown, seen = list[dict[str, Json]](), set[Json]()
    for line in lines:
        # What took its time was written down at its beginning, too.
        if line.get("id") is None or line["id"] not in seen:
            seen.add(line.get("id"))
            shown.append({**line, "order": orders.asked(line.get("order")), "came_to": orders.came_to(line)})
    return shown[:CHANGES]


def _found(tables: Iterable[Table], words: Sequence[str]) -> Iterator[Table]:
    """Yield the tables with the values in whose table, key and text all of the words are."""
    for name, rows in tables:
        found = [row for row in rows if all(word in f"[{name}] {name}.{row[0]} {row[1]}".casefold() for word in words)]
        if found:
            yield name, found
