"""The command that shows how the functions do, again and again."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, shared
from triggerhub.cli.status import alarmed, head

HEADER = ("FUNCTION", "CALLS/S", "ERRORS", "P50", "P95", "RUNNING", "WORKERS", "QUEUED", "DEAD", "STATE")
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_DRAW, _REST = "\x1b[H", "\x1b[K\n"
_BELOW = "\x1b[J"


def _number(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # it is in every range
        raise click.BadParameter("nan is no number of seconds.")
    return value


@click.command()
@click.option(
    "--every",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    callback=_number,
    help="Seconds between looks.",
)
@shared
@click.pass_obj
def top(session: Session, every: float) -> None:
    """Show how the functions do, the busiest first, until Ctrl-C.

    Rates and times are of about the last five minutes. Where the output is no terminal it is shown once.
    """
    if session.json:
        click.echo(words.as_json(_rows(session)))
    elif not sys.stdout.isatty():
        click.echo(frame(session.admin.get("status"), _rows(session)))
    else:
        with _screen():
            while True:
                drawn = frame(session.admin.get("status"), _rows(session), shutil.get_terminal_size().lines)
                click.echo(_DRAW + _REST.join(drawn.split("\n")) + _BELOW, nl=False)
                time.sleep(every)


def _rows(session: Session) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = session.admin.get("functions")
    return sorted(rows, key=lambda row: (-row["recent"]["calls"], -row["counts"]["queued"], row["name"]))


def frame(status: dict[str, Any], rows: list[dict[str, Any]], height: int | None = None) -> str:
    """Return what is drawn, within *height* lines."""
    counts = status["counts"]
    numbers = [f"{counts[name]:,} {name}" for name in ("queued", "running", "succeeded", "dead")]
    lines = [head(status), "  ".join(numbers), *alarmed(status)[:3]]
    lines += [words.styled(words.clean(problem), "yellow") for problem in status["problems"][:3]]
    lines += ["", *words.table(HEADER, map(_row, rows), right=range(1, 9), spare=(6, 3, 9, 5)).split("\n")]
    return "\n".join(lines if height is None else lines[: max(height - 1, 1)])


def _row(row: dict[str, Any]) -> list[words.Cell | str]:
    recent, counts = row["recent"], row["counts"]
    rate = recent["calls"] / max(recent["seconds"], 1)
    share = 100 * recent["errors"] / recent["calls"] if recent["calls"] else 0
    state = "paused" if row["paused"] else "preparing" if row.get("preparing") else "on"
    return [
        row["name"],
        f"{rate:,.1f}",
        words.Cell(f"{share:.3g}%" if recent["calls"] else "", "red" if share else None),
        words.took(recent["p50_ms"]),
        words.took(recent["p95_ms"]),
        str(row["running"]),
        str(row["workers"]),
        f"{counts['queued']:,}",
        words.Cell(f"{counts['dead']:,}", "red" if counts["dead"] else None),
        words.Cell(state, "green" if state == "on" else "yellow"),
    ]


@contextmanager
def _screen() -> Iterator[None]:
    """Draw on a screen of its own, so that what stood on the terminal is there again afterwards."""
    click.echo(_ENTER, nl=False)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        click.echo(_LEAVE, nl=False)
