"""Commands about dead letters: list, show, redrive, discard, export."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from triggerhub.cli import deliveries
from triggerhub.cli.exits import PARTLY
from triggerhub.cli.show import as_json, dump, table
from triggerhub.cli.since import limit_option, since_option
from triggerhub.client import Admin
from triggerhub.errors import TriggerhubError


@click.group()
def dlq() -> None:
    """Dead letters: what failed for good is kept, shown and queued again when you say so."""


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose dead letters."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Only say how many."),
        click.option("--all", "everything", is_flag=True, help="All dead letters."),
        since_option,
        click.option("--trigger", metavar="NAME", help="Only this trigger's."),
        click.option("--function", metavar="FN", help="Only this function's."),
        click.argument("ids", nargs=-1),
    ):
        command = option(command)
    return command


def wanted(ids: tuple[str, ...], function: str, trigger: str, since: int, everything: bool) -> dict[str, Any]:
    """Return what to ask for; a UsageError where nothing was chosen."""
    if ids:
        return {"ids": list(ids)}
    filters = {"function": function, "trigger": trigger, "since": since}
    given = {key: value for key, value in filters.items() if value}
    if not given and not everything:
        raise click.UsageError("name ids, --function, --trigger or --since, or say --all")
    return given or {"all": True}


@dlq.command("list")
@click.option("--function", metavar="FN", help="Only this function's.")
@click.option("--trigger", metavar="NAME", help="Only this trigger's.")
@since_option
@limit_option
@as_json
@click.pass_obj
def list_(admin: Admin, function: str, trigger: str, since: int, limit: int, as_json: bool) -> None:
    """List dead letters, newest first."""
    rows = admin.get("/deliveries", state="dead", function=function, trigger=trigger, since=since, limit=limit)
    if as_json:
        dump(rows)
        return
    table(rows, deliveries.COLUMNS, nothing="No dead letters.")
    if rows:
        click.echo("\nQueue one again:  triggerhub dlq redrive ID    see why:  triggerhub explain ID")


dlq.add_command(deliveries.show)


@dlq.command()
@chosen
@click.option("--rate", metavar="10/s", help="At most this many per second, minute or hour.")
@as_json
@click.pass_obj
def redrive(
    admin: Admin,
    ids: tuple[str, ...],
    function: str,
    trigger: str,
    since: int,
    everything: bool,
    dry_run: bool,
    rate: str,
    as_json: bool,
) -> int:
    """Queue dead letters again, oldest first, attempts from 0."""
    body = {**wanted(ids, function, trigger, since, everything), "rate": rate, "dry_run": dry_run}
    last: dict[str, Any] = {"queued": 0, "of": 0}
    for last in admin.lines("POST", "/dead-letters/redrive", body):
        if sys.stderr.isatty() and last["of"] > 100:
            width = 30 * last["queued"] // last["of"]
            click.echo(f"\r[{'█' * width}{'·' * (30 - width)}] {last['queued']} of {last['of']}", err=True, nl=False)
    if sys.stderr.isatty() and last["of"] > 100:
        click.echo(err=True)
    if as_json:
        dump(last)
    elif dry_run:
        click.echo(f"{last['of']} dead letters would be queued again")
    else:
        click.echo(f"queued {last['queued']} of {last['of']} again")
    return 0 if dry_run or last["queued"] == last["of"] else PARTLY


@dlq.command()
@chosen
@click.option("--reason", default="discarded by hand", show_default=True, help="Why, for the hub's log.")
@as_json
@click.pass_obj
def discard(
    admin: Admin,
    ids: tuple[str, ...],
    function: str,
    trigger: str,
    since: int,
    everything: bool,
    dry_run: bool,
    reason: str,
    as_json: bool,
) -> int:
    """Remove dead letters for ever; they are counted as discarded."""
    body = {**wanted(ids, function, trigger, since, everything), "reason": reason}
    if not dry_run and not ids and sys.stdin.isatty():
        count = admin.post("/dead-letters/discard", {**body, "dry_run": True})["of"]
        click.confirm(f"Remove {count} dead letters for ever?", abort=True)
    done = admin.post("/dead-letters/discard", {**body, "dry_run": dry_run})
    if as_json:
        dump(done)
    else:
        click.echo(f"{done['of']} would be discarded" if dry_run else f"discarded {done['discarded']} of {done['of']}")
    return 0 if dry_run or done["discarded"] == done["of"] else PARTLY


@dlq.command()
@click.option("--function", metavar="FN", help="Only this function's.")
@click.option("--trigger", metavar="NAME", help="Only this trigger's.")
@since_option
@click.pass_obj
def export(admin: Admin, function: str, trigger: str, since: int) -> None:
    """Print every dead letter with its event and attempts, one JSON line each, newest first."""
    before = ""
    while rows := admin.get(
        "/deliveries", state="dead", function=function, trigger=trigger, since=since, limit=1000, before=before
    ):
        for row in rows:
            try:
                click.echo(json.dumps(admin.get(f"/deliveries/{row['id']}"), ensure_ascii=False))
            except TriggerhubError as error:  # it may have been redriven and pruned meanwhile
                click.echo(f"{datetime.now(UTC).isoformat()} {row['id']}: {error.message}", err=True)
        before = rows[-1]["id"]
