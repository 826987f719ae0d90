"""Show the configuration in force with the place of every value, how the host is, and who changed what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import orders, units
from triggerhub.settings import Condition, Project, Secret
from triggerhub.web import asked
from triggerhub.web.console import answer
from triggerhub.web.console.frame import Frame
from triggerhub.web.doctor import Doctor
from triggerhub.web.stream import attended

CHANGES = 100
Value = tuple[str, str, int | None]
"""A key, its value, and the line where it is written; None is a default."""
Table = tuple[str, list[Value]]


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
            (name, [(key, hide(value), line) for key, value, line in rows]) for name, rows in _tables(self._hub.project)
        ]
        return {"q": text, "file": "triggerhub.toml", "tables": list(_found(tables, text.casefold().split()))}

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


def _tables(project: Project) -> list[Table]:
    """Return every table with its values and the lines where they are written."""
    tables: list[Table] = []
    for name, held, top in (
        ("hub", project.hub, ("hub",)),
        ("console", project.console, ("console",)),
        *((f"functions.{one.name}", one, ("functions", one.name)) for one in project.functions.values()),
        *((f"triggers.{one.name}", one, ("triggers", one.name)) for one in project.triggers.values()),
        *((f"alarms.{name}", one, ("alarms", name)) for name, one in project.alarms.items()),
    ):
        rows = []
        for key, value in _values(held):
            key = _WRITTEN.get((top[0], key[0]), key)
            if key == ("functions",) and (*top, "function") in project.lines:
                key = ("function",)
            where = project.lines.get((*top, *key))
            if where is None and top[0] == "functions":
                where = project.lines.get(("defaults", *key))
            rows.append((".".join(key), value, where))
        tables.append((name, rows))
    return tables


_DURATIONS = {
    "drain", "keep", "timeout", "idle", "initial", "max", "max_age", "window", "dead_letters_keep", "settle",
    "reconcile", "jitter", "per", "hold", "repeat",
}  # fmt: skip
_SIZES = {"keep_size", "memory", "tmp", "body"}
_ADDRESSES = {"listen", "admin"}
_LEFT_OUT = {
    "code", "project", "name", "version", "content", "source", "lost", "needs", "opt", "interpreter", "leads", "held",
    "loops", "system_level", "shown", "hidden", "written",
}  # fmt: skip
"""What nobody writes: it follows from something else, or comes by the Lambda API."""
_WRITTEN = {
    **{("functions", name): ("sandbox", name) for name in ("level", "network", "read", "write")},
    ("functions", "dead_letters_keep"): ("dead_letters", "keep"),
}
"""What is written under another key."""


def _values(held: object, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys and values of a settings object, inner ones by their path."""
    if isinstance(held, BaseModel):
        members: Mapping[str, object] = {name: getattr(held, name) for name in type(held).model_fields}
    elif is_dataclass(held) and not isinstance(held, type | Condition):
        members = {one.name: getattr(held, one.name) for one in fields(held)}
    elif isinstance(held, Mapping):
        members = {str(name): value for name, value in held.items()}
    else:
        yield above, _text(held, above[-1])
        return
    for name, value in members.items():
        if (not above and name in _LEFT_OUT) or value is None or value == () or value == {} or value == []:
            continue
        if name == "options":
            yield from _values(value, above)
        elif isinstance(value, Path | Secret):
            yield (*above, name), _text(value)
        else:
            yield from _values(value, (*above, name))


def _text(value: object, key: str = "") -> str:
    if isinstance(value, Condition):
        return value.text
    if isinstance(value, Secret):
        return "•••"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and key in _DURATIONS:
        return units.show_duration(value)
    if isinstance(value, int) and key in _SIZES:
        return units.show_size(value)
    if key in _ADDRESSES and isinstance(value, tuple):
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if is_dataclass(value) and not isinstance(value, type) and type(value).__str__ is object.__str__:
        return str(asdict(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
