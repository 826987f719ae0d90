"""The commands of the queue and its history."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from triggerhub.cli import bulk, words
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, chosen, limited, shared
from triggerhub.errors import TriggerhubError
from triggerhub.policy import units

PAGE = 1000
STATES = ("queued", "running", "succeeded", "dead", "cancelled")
LONGEST = 300
"""Characters of a reason in a list."""
HEADER = ("ID", "STATE", "TRIGGER", "FUNCTION", "TRIES", "AGE", "TOOK", "WHY")
RIGHT, MINOR, SPARE = ("TRIES", "TOOK"), ("TRIES", "TOOK", "TRIGGER"), ("AGE", "WHY")


def pages(session: Session, limit: int | None, **filters: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield up to *limit* deliveries, newest first, as many at a time as one answer holds; None is all."""
    left = sys.maxsize if limit is None else limit
    last: str | None = None
    while left > 0:
        size = min(PAGE, left)
        rows = session.admin.get("deliveries", **filters, limit=size, before=last)
        yield rows
        if len(rows) < size:
            return
        left, last = left - size, rows[-1]["id"]


def listed(session: Session, limit: int, none: str, **filters: Any) -> None:
    """Print a list of deliveries."""
    rows = [row for page in pages(session, limit, **filters) for row in page]
    if session.json:
        click.echo(words.as_json(rows))
        return
    if not rows:
        click.echo(none, err=True)
        return
    # A state that was asked for would say the same in each line.
    header = [name for name in HEADER if name != "STATE" or not filters.get("state")]
    lines = ([cells[name] for name in header] for cells in map(_row, rows))
    right, minor, spare = ([header.index(name) for name in names] for names in (RIGHT, MINOR, SPARE))
    click.echo(words.table(header, lines, right=right, minor=minor, spare=spare))
    if len(rows) == limit:
        click.echo(words.styled(f"the newest {limit:,}; --limit shows more", dim=True), err=True)


def _row(row: dict[str, Any]) -> dict[str, words.Cell | str]:
    waits = row["state"] == "queued" and (words.age(row["due"]).startswith("in ") or row["attempts"])
    why = words.error(row["error"]) or row["reason"] or ""
    if waits:
        why = (
            f"again {words.age(row['due'])}{'; ' if why else ''}{why}"
            if row["attempts"]
            else f"due {words.age(row['due'])}"
        )
    return {
        "ID": row["id"],
        "STATE": words.state(row["state"]),
        "TRIGGER": row["trigger"],
        "FUNCTION": row["function"],
        "TRIES": str(row["attempts"]),
        "AGE": words.age(row["created"]),
        "TOOK": words.took(row["duration_ms"]),
        "WHY": why if len(why) <= LONGEST else f"{why[: LONGEST - 1]}…",
    }


@click.group(cls=Group)
def deliveries() -> None:
    """The queue and its history."""


@deliveries.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@chosen
@limited(100)
@shared
@click.pass_obj
def list_(session: Session, /, limit: int, **filters: str | None) -> None:
    """List deliveries, newest first.

    Of a long reason there are the first 300 characters; --json has the whole.
    """
    listed(session, limit, "no deliveries" + (" like these" if any(filters.values()) else " yet"), **filters)


@deliveries.command()
@click.argument("delivery", metavar="ID")
@shared
@click.pass_obj
def show(session: Session, delivery: str) -> None:
    """Show one delivery with its event and its attempts."""
    shown(session, delivery)


def shown(session: Session, delivery: str) -> None:
    """Print one delivery."""
    answer = session.admin.ask("GET", "deliveries", delivery)
    if session.json:
        click.echo(words.raw_json(answer.body))
        return
    from triggerhub.cli import story

    click.echo(story.delivery(answer.json(), answer.body))


@deliveries.command()
@click.argument("delivery", metavar="ID")
@click.option("--timeout", metavar="30s", help="Wait at most so long; without it, until it is finished.")
@shared
@click.pass_obj
@click.pass_context
def wait(context: click.Context, session: Session, delivery: str, timeout: str | None) -> None:
    """Wait until a delivery is finished.

    Exits 0 when it succeeded, 1 when it is dead or cancelled, 5 when it took too long.
    """
    try:
        limit = None if timeout is None else units.duration(timeout) / 1000
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from error
    deadline = None if limit is None else time.monotonic() + limit
    while True:
        left = 30.0 if deadline is None else min(30.0, max(0.0, deadline - time.monotonic()))
        row = session.admin.get("deliveries", delivery, "wait", timeout=round(left, 3))
        over = row["state"] not in ("queued", "running")
        if over or (deadline is not None and time.monotonic() >= deadline):
            break
    if session.json:
        click.echo(words.as_json(row))
    else:
        state = words.styled(*words.state(row["state"]))
        why = words.clean(row["reason"] or words.error(row["error"]))
        click.echo(f"{state}{': ' if why else ''}{why}" if over else f"still {state} after {timeout}")
    context.exit(5 if not over else 0 if row["state"] == "succeeded" else 1)


@deliveries.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@chosen
@click.option("--all", "every", is_flag=True, help="All that are queued or running.")
@click.option("--reason", metavar="TEXT", help="Why; it is kept with the delivery.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
@click.pass_obj
@click.pass_context
def cancel(context: click.Context, session: Session, /, yes: bool, **order: Any) -> None:
    """End deliveries that are queued or running.

    The worker of a running one is killed. Exits 5 when only some could be ended, 1 when none.
    """
    context.exit(bulk.carry_out(session, bulk.CANCEL, order, ask=not yes))


@deliveries.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@chosen
@click.option("--all", "every", is_flag=True, help="All that wait for their next attempt.")
@click.option("--rate", metavar="10/s", help="No faster than this.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
@click.pass_obj
@click.pass_context
def retry(context: click.Context, session: Session, /, yes: bool, **order: Any) -> None:
    """Try now what failed and waits for its next attempt, the oldest first.

    Attempts go on counting, and limits, pauses and the order of keys hold. Exits 5 when only some waited, 1 when none.
    """
    context.exit(bulk.carry_out(session, bulk.RETRY, order, ask=not yes))


@deliveries.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@shared
@click.pass_obj
@click.pass_context
def redeliver(context: click.Context, session: Session, ids: tuple[str, ...]) -> None:
    """Queue finished deliveries again.

    They keep their ids and get fresh attempts. Exits 5 when only some could be queued.
    """
    done: list[dict[str, Any]] = []
    failures: list[TriggerhubError] = []
    for one in ids:
        try:
            done.append(session.admin.ask("POST", "deliveries", one, "redeliver").json())
        except TriggerhubError as error:
            if len(ids) == 1:
                raise
            failures.append(error)
    for failure in failures:
        click.echo(words.styled("error: ", "red", bold=True) + words.clean(failure.message), err=True)
    if session.json:
        rows = [{name: row[name] for name in row if name not in ("event", "history")} for row in done]
        click.echo(words.as_json(rows[0] if len(ids) == 1 else rows))
    elif done:
        click.echo(f"queued {words.number(len(done), 'delivery', 'deliveries')} again")
        click.echo(words.styled(f"  triggerhub deliveries wait {done[-1]['id']}", dim=True))
    context.exit(0 if not failures else 5 if done else 1)
