"""Write values for people: aligned tables, ages, safe text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from triggerhub.model import Json

COLOURS = {
    "succeeded": "green",
    "dead": "red",
    "running": "cyan",
    "cancelled": "yellow",
    "degraded": "red",
    "paused": "yellow",
    "disabled": "yellow",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def safe(text: str) -> str:
    """Spell out control characters, so that no terminal obeys them."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def dump(value: Json) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago, or in how long, in one unit: ``2m ago``, ``in 3h``."""
    if moment is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    away = abs(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if away >= size or unit == "s":
            text = f"{int(away // size)}{unit}"
            break
    if away < 1:
        return "now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def milliseconds(value: float | None) -> str:
    """A duration as people say it."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


Column = tuple[str, Callable[[Mapping[str, Any]], object]]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, nothing: str) -> None:
    """Print rows below their headings; *nothing* is said where there are none."""
    if not rows:
        click.echo(nothing)
        return
    cells = [[safe(str(value(row))) for _, value in columns] for row in rows]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, (name, _) in enumerate(columns)]
    click.secho(
        "  ".join(name.upper().ljust(width) for (name, _), width in zip(columns, widths, strict=True)).rstrip(),
        dim=True,
    )
    for line in cells:
        parts = [click.style(cell.ljust(width), fg=COLOURS.get(cell)) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(parts).rstrip())
