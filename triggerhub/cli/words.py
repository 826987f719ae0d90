"""Word what the hub says for people: ages, tables, colours, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from triggerhub.policy import units
from triggerhub.policy.unseen import UNSEEN, spelt

COLORS = {
    "succeeded": "green",
    "running": "cyan",
    "queued": "blue",
    "dead": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "degraded": "yellow",
    "disabled": "bright_black",
    "accepted": "green",
    "duplicate": "yellow",
    "filtered": "yellow",
    "retried": "yellow",
    "recovered": "green",
    "reloaded": "cyan",
    "rejected": "red",
    "missed": "yellow",
    "raised": "red",
    "timed-out": "red",
    "crashed": "red",
    "returned": "green",
    "interrupted": "yellow",
}
GAP, LEAST, ENOUGH = 2, 10, 40
"""Columns between those of a table, what its last one has at least, and what it has rather than others are there."""
_PREFIX = re.compile(r"RequestId: [0-9a-f-]{36} Error: ")
"""What AWS puts before a message: to people it says nothing that the line does not, and it pushes the cause out."""
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class Cell(NamedTuple):
    """A text of a table and its colour."""

    text: str
    color: str | None = None


def clean(text: object) -> str:
    """Return *text* with control characters spelt out."""
    return spelt(str(text))


def styled(text: str, color: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    return click.style(text, fg=color, bold=bold or None, dim=dim or None)


def logged(stream: str, text: str) -> str:
    """Return a line of a log; whatever a handler writes is indented, so that it cannot pass for the hub's."""
    text = clean(text.rstrip())
    if stream == "hub":
        return styled(text, dim=True)
    return f"  {styled(text, 'yellow' if stream == 'stderr' else None)}".rstrip()


def state(name: str) -> Cell:
    return Cell(name, COLORS.get(name))


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def age(text: str | None, now: datetime | None = None) -> str:
    """Return ``2m ago``, ``in 5s`` or ``now``; empty where there is no time."""
    then = moment(text)
    if then is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def lasting(begin: str) -> str:
    """Return for how long something has been so: ``2m``."""
    return span((datetime.now(UTC) - datetime.fromisoformat(begin)).total_seconds())


def span(seconds: float) -> str:
    """Return a length of time in its largest unit: ``2m``."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "0s"


def took(milliseconds: float | None) -> str:
    """Return how long an attempt took: ``12 ms``, ``1.5 s``, ``2m 5s``."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}m {int(seconds % 60)}s"


def size(count: float) -> str:
    """Return bytes as people read them: ``1.5 MB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


number = units.counted


def error(fault: Any) -> str:
    """Return ``KeyError: 'name'`` of an error in JSON; empty where there is none."""
    return brief(f"{fault['type']}: {fault['message']}") if fault else ""


def brief(text: str) -> str:
    """Return what an error says, without the request's id before it."""
    return _PREFIX.sub("", text, count=1)


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell | str]],
    *,
    right: Iterable[int] = (),
    minor: Iterable[int] = (),
    spare: Iterable[int] = (),
) -> str:
    """Return aligned columns.

    A terminal that is too narrow gets no columns of *minor* and *spare*, the first of them first, as far as need be;
    then the last column is cut. Those of *minor* go before that is a narrow one.
    """
    cells = [[_cell(one) for one in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(header, *([c.text for c in row] for row in cells), strict=True)]
    kept = list(range(len(header)))
    if room := _columns():
        for least, going in ((ENOUGH, minor), (LEAST, spare)):
            for place in going:
                if _total(widths, kept, least) > room:
                    kept.remove(place)
        last = kept[-1]
        widths[last] = min(widths[last], max(room - _total(widths, kept[:-1], LEAST) - GAP, LEAST))
    heading = _line([Cell(text) for text in header], widths, kept, set(right), dim=True)
    return "\n".join([heading, *(_line(row, widths, kept, set(right)) for row in cells)])


def _total(widths: Sequence[int], kept: Sequence[int], least: int) -> int:
    """Return what the columns take, the last of the table counted at *least*."""
    taken = [min(widths[place], least) if place == len(widths) - 1 else widths[place] for place in kept]
    return sum(taken) + GAP * (len(taken) - 1)


def facts(pairs: Iterable[tuple[str, Cell | str | None]]) -> str:
    """Return a name and a value per line, aligned; what is empty is left out."""
    shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "")]
    longest = max((len(name) for name, _ in shown), default=0)
    return "\n".join(
        f"  {styled(name.ljust(longest), dim=True)}  {styled(value.text, value.color)}" for name, value in shown
    )


def width(text: str) -> int:
    """Return the columns that *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) > 0 for one in text)


def cut(text: str, room: int) -> str:
    """Return *text* within *room* columns, with an ellipsis where something is missing."""
    if width(text) <= room:
        return text
    while width(text) > room - 1:
        text = text[:-1]
    return text + "…"


def as_json(rows: Any) -> str:
    """Write an array with a line per element, anything else indented."""
    if isinstance(rows, list):
        lines = ",\n ".join(json.dumps(row, ensure_ascii=True) for row in rows)
        return f"[{lines}]"
    return json.dumps(rows, ensure_ascii=True, indent=2)


def raw_json(body: bytes) -> str:
    """Return JSON as the hub wrote it, payloads untouched; what a terminal would obey becomes an escape of JSON."""
    # A line break in JSON can only be space between its tokens.
    text = body.decode("utf-8", "replace").replace("\r", " ")
    return UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def problems(rendered: str) -> str:
    """Return the problems of a configuration with their severity in colour."""
    text = "\n".join(map(clean, rendered.split("\n")))
    text = re.sub(r": (error)\[", lambda found: f": {styled(found[1], 'red', bold=True)}[", text)
    return re.sub(r": (warning)\[", lambda found: f": {styled(found[1], 'yellow', bold=True)}[", text)


def _cell(one: Cell | str | None) -> Cell:
    cell = one if isinstance(one, Cell) else Cell(one or "")
    return Cell(clean(cell.text), cell.color)


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _line(
    cells: Sequence[Cell], widths: Sequence[int], kept: Sequence[int], right: set[int], *, dim: bool = False
) -> str:
    parts = []
    for place in kept:
        cell, room = cells[place], widths[place]
        text = cut(cell.text, room)
        space = " " * (room - width(text))
        shown = styled(text, cell.color, dim=dim)
        parts.append(space + shown if place in right else shown + space)
    return (" " * GAP).join(parts).rstrip()
