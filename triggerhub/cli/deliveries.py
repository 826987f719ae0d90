"""Commands about deliveries: list, show, wait, cancel, redeliver."""

from __future__ import annotations

import json
from typing import Any

import click

from triggerhub.cli.exits import FAILED, PARTLY
from triggerhub.cli.show import Column, age, as_json, dump, milliseconds, safe, table
from triggerhub.cli.since import limit_option, since_option
from triggerhub.client import Admin

STATES = ["queued", "running", "succeeded", "dead", "cancelled"]
COLUMNS: list[Column] = [
    ("id", lambda row: row["id"]),
    ("state", lambda row: row["state"]),
    ("function", lambda row: row["function"]),
    ("trigger", lambda row: row["trigger"]),
    ("attempts", lambda row: row["attempts"]),
    ("took", lambda row: milliseconds(row["duration_ms"])),
    ("created", lambda row: age(row["created"])),
    ("why", lambda row: why(row)),
]


def why(row: dict[str, Any] | Any) -> str:
    """Say in one line what went wrong, if anything did."""
    error = f"{row['error']['type']}: {row['error']['message']}" if row["error"] else ""
    text = " · ".join(part for part in (row["reason"] or "", error) if part).replace("\n", " ")
    return text if len(text) <= 80 else text[:79] + "…"


@click.group()
def deliveries() -> None:
    """The queue and its history."""


@deliveries.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--function", metavar="FN", help="Only this function's.")
@click.option("--trigger", metavar="NAME", help="Only this trigger's.")
@since_option
@limit_option
@as_json
@click.pass_obj
def list_(admin: Admin, state: str, function: str, trigger: str, since: int, limit: int, as_json: bool) -> None:
    """List deliveries, newest first."""
    rows = admin.get("/deliveries", state=state, function=function, trigger=trigger, since=since, limit=limit)
    if as_json:
        dump(rows)
    else:
        table(rows, COLUMNS, nothing="No deliveries.")


@deliveries.command()
@click.argument("id")
@as_json
@click.pass_obj
def show(admin: Admin, id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name
    """Show one delivery: its event, its attempts, its result."""
    one = admin.get(f"/deliveries/{id}")
    if as_json:
        dump(one)
        return
    table([one], COLUMNS, nothing="")
    for number, attempt in enumerate(one["history"], 1):
        error = attempt["error"]
        text = f"{error['type']}: {error['message']}" if error else json.dumps(attempt["payload"], ensure_ascii=False)
        click.echo(safe(f"  attempt {number}  {attempt['outcome']} in {milliseconds(attempt['duration_ms'])}  {text}"))
    click.echo("  event " + safe(json.dumps(one["event"]["data"], indent=2, ensure_ascii=False)).replace("\n", "\n  "))


@deliveries.command()
@click.argument("id")
@click.option("--timeout", default="60s", show_default=True, help="How long to wait.")
@as_json
@click.pass_obj
def wait(admin: Admin, id: str, timeout: str, as_json: bool) -> int:  # noqa: A002
    """Wait for the end of a delivery. Exits 0 succeeded, 1 dead or cancelled, 5 timed out."""
    from triggerhub.policy import units

    try:
        seconds = units.duration(timeout) / 1000
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    one = admin.get(f"/deliveries/{id}/wait", timeout=seconds)
    if as_json:
        dump(one)
    else:
        table([one], COLUMNS, nothing="")
    return {"succeeded": 0, "dead": FAILED, "cancelled": FAILED}.get(one["state"], PARTLY)


@deliveries.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--reason", default="cancelled by hand", show_default=True)
@as_json
@click.pass_obj
def cancel(admin: Admin, ids: tuple[str, ...], reason: str, as_json: bool) -> int:
    """Cancel queued or running deliveries; a running one's worker is ended."""
    done = [one for each in ids for one in admin.post(f"/deliveries/{each}/cancel", reason=reason)["cancelled"]]
    return _told(ids, done, "cancelled", as_json)


@deliveries.command()
@click.argument("ids", nargs=-1, required=True)
@as_json
@click.pass_obj
def redeliver(admin: Admin, ids: tuple[str, ...], as_json: bool) -> int:
    """Queue finished deliveries again, attempts from 0."""
    done = [one for each in ids for one in admin.post(f"/deliveries/{each}/redeliver")["queued"]]
    return _told(ids, done, "queued again", as_json)


def _told(ids: tuple[str, ...], done: list[str], word: str, as_json: bool) -> int:
    if as_json:
        dump({"done": done, "not": [one for one in ids if one not in done]})
    else:
        click.echo(f"{len(done)} of {len(ids)} {word}")
    if len(done) == len(ids):
        return 0
    return PARTLY if done else FAILED
