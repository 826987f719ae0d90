"""The command that tries a new version on a part of the calls."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, names, shared

LOOK = 1.0
"""Seconds between looks, with ``--wait``."""
COLORS = {"running": "cyan", "promoted": "green", "rolled back": "red"}


class _Percent(click.ParamType[float]):
    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(str(value).removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is no share; write percent, like 5%", param, ctx)


@click.command()
@click.argument("name", metavar="FN", shell_complete=names("functions"))
@click.option("--alias", help="Whose calls; by default the only alias.")
@click.option("--to", metavar="VERSION", help="Which version; by default the newest.")
@click.option("--weight", type=_Percent(), metavar="SHARE", help="The share of the calls that it gets; 10%.")
@click.option("--max-errors", type=_Percent(), metavar="SHARE", help="The share of its calls that may fail; 5%.")
@click.option("--for", "length", metavar="TIME", help="How long it is tried; 10m.")
@click.option("--min-calls", type=int, metavar="N", help="How many calls it must have had; 20.")
@click.option("--wait", is_flag=True, help="Wait for the end: exit 0 when promoted, 1 when rolled back.")
@click.option("--promote", is_flag=True, help="End the one that runs: all calls go to the new version.")
@click.option("--stop", is_flag=True, help="End the one that runs: none do.")
@shared
@click.pass_obj
def canary(
    session: Session,
    name: str,
    alias: str | None,
    to: str | None,
    weight: float | None,
    max_errors: float | None,
    length: str | None,
    min_calls: int | None,
    wait: bool,
    promote: bool,
    stop: bool,
) -> None:
    """Try a new version on a part of an alias's calls.

    It is rolled back once too many of its calls have failed, and promoted when its time is over.
    """
    terms = {"to": to, "weight": weight, "max_errors": max_errors, "for": length, "min_calls": min_calls}
    order = {key: value for key, value in {"alias": alias, **terms}.items() if value is not None}
    if promote or stop:
        if (promote and stop) or wait or any(value is not None for value in terms.values()):
            raise click.UsageError("--promote and --stop end a canary; nothing but --alias goes with either.")
        order = {"promote": promote, **({} if alias is None else {"alias": alias})}
        row = session.admin.ask("POST", "functions", name, "canary", "end", body=order).json()
    else:
        row = session.admin.ask("POST", "functions", name, "canary", body=order).json()
        if wait:
            if not session.json:
                click.echo(said(row), err=True)
            row = _ended(session, row)
    click.echo(words.as_json(row) if session.json else said(row))
    if wait and row["state"] != "promoted":
        sys.exit(1 if row["state"] == "rolled back" else 5)


def _ended(session: Session, row: dict[str, Any]) -> dict[str, Any]:
    """Return the canary's row at its end; that of one that was replaced says so."""
    mark = row["began"]
    while row["state"] == "running":
        time.sleep(LOOK)
        rows = [
            one
            for version in session.admin.get("functions", row["function"], "versions")
            for one in version["canaries"]
            if one["alias"] == row["alias"] and one["began"] == mark
        ]
        row = rows[0] if rows else {**row, "state": "replaced", "why": "the alias was changed"}
    return row


def said(row: dict[str, Any]) -> str:
    """Say how a canary does, in a line."""
    head = words.clean(f"{row['function']}:{row['alias']}: version {row['version']}")
    state = words.styled(words.clean(row["state"]), COLORS.get(row["state"]))
    if row["state"] != "running":
        return f"{head} was {state}: {words.clean(row['why'])}"
    share, seen = f"{row['weight'] * 100:.3g}%", f"{row['errors']:,} of {row['calls']:,} failed"
    left = max(row["for_ms"] - row["watched_ms"], 0)
    until = f"{words.span(left / 1000)} left" if left else f"waits for {row['min_calls']:,} calls"
    return f"{head} is {state} on {share} of the calls: {seen}, {row['max_errors']:g}% may; {until}"
