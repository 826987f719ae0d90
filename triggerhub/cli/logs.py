"""Show what functions wrote."""

from __future__ import annotations

import json

import click

from triggerhub.cli.show import as_json, dump, safe
from triggerhub.cli.since import since_option
from triggerhub.client import Admin
from triggerhub.model import Json


@click.command()
@click.argument("function", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written.")
@click.option("--delivery", metavar="ID", help="Only what was written while this delivery ran.")
@since_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="The newest so many.")
@as_json
@click.pass_obj
def logs(admin: Admin, function: str, follow: bool, delivery: str, since: int, limit: int, as_json: bool) -> None:
    """Show what functions wrote, oldest first."""
    if follow and delivery:
        raise click.UsageError("--follow shows what comes; --delivery what was: use one of them")
    query = {"function": function, "delivery": delivery, "since": since, "limit": limit}
    if follow:
        for line in admin.lines("GET", "/output", None, follow="1", **query):
            click.echo(json.dumps(line, ensure_ascii=False) if as_json else _line(line))
        return
    rows = admin.get("/output", **query)
    if as_json:
        dump(rows)
        return
    for line in rows:
        click.echo(_line(line))
    if not rows:
        click.echo("Nothing was written.", err=True)


def _line(line: dict[str, Json]) -> str:
    head = click.style(f"{line['time'][11:23]} {line['function']}", dim=True)
    return f"{head}  {safe(line['text'])}"
