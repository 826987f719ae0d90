"""The command that shows what functions wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, limited, names, shared, since
from triggerhub.errors import HubUnreachable


@click.command()
@click.argument("function", metavar="[FN]", required=False, shell_complete=names("functions"))
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes, until interrupted; --json then prints lines."
)
@click.option("--delivery", metavar="ID", help="Only of this delivery.")
@click.option("--search", metavar="TEXT", help="Only lines with this text in them, in upper or lower case.")
@since
@limited(100)
@shared
@click.pass_obj
def logs(session: Session, /, function: str | None, follow: bool, **query: Any) -> None:
    """Show what functions wrote, oldest first.

    What they wrote is indented; lines of the hub's own stand in front of it. As an array of JSON it is newest first.
    """
    if function and query["delivery"]:
        raise click.UsageError("a delivery has one function; give FN or --delivery.")
    asked = {"function": function, "follow": follow or None, **query}
    with closing(session.admin.lines("GET", "output", query=asked)) as lines:
        if follow:
            for line in lines:
                click.echo(json.dumps(line) if session.json else _line(line, named=function is None))
            raise HubUnreachable("the hub ended", hint="Start it: triggerhub run")
        if session.json:
            click.echo(words.as_json(list(_all(lines))[::-1]))
            return
        for line in _all(lines):
            click.echo(_line(line, named=function is None))


def _all(lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the lines up to the one that says that they are all. HubUnreachable where they break off before."""
    for line in lines:
        if line.get("finished"):
            return
        yield line
    raise HubUnreachable("the hub ended before it had told all", hint="Ask again; if it goes on, its log says why.")


def _line(line: dict[str, Any], *, named: bool) -> str:
    time = datetime.fromisoformat(line["time"]).astimezone()
    day = "" if time.date() == datetime.now(time.tzinfo).date() else f"{time:%Y-%m-%d} "
    stamp = words.styled(f"{day}{time:%H:%M:%S}.{time.microsecond // 1000:03d}", dim=True)
    name = words.styled(f"  {line['function'] or 'hub':<12}", "cyan") if named else ""
    return f"{stamp}{name}  {words.logged(line['stream'], line['text'])}"
