"""The command that lists alarms."""

from __future__ import annotations

from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, shared

HEADER = ("NAME", "STATE", "SINCE", "NOW", "WHEN", "THEN")


@click.command()
@shared
@click.pass_obj
def alarms(session: Session) -> None:
    """List the alarms: which are on, since when, and what they measure."""
    rows = session.admin.get("alarms")
    if session.json:
        click.echo(words.as_json(rows))
    elif rows:
        click.echo(words.table(HEADER, map(_row, rows), spare=(5, 4)))
    else:
        click.echo("no alarms; triggerhub.toml has none", err=True)


def _row(row: dict[str, Any]) -> list[words.Cell | str]:
    state = words.Cell("on", "red") if row["state"] == "alarm" else words.Cell("ok", "green")
    return [row["name"], state, words.age(row["since"]), row["value"] or "", row["when"], ", ".join(row["then"])]
