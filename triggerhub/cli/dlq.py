"""The commands of dead letters: deliveries that failed for good."""

from __future__ import annotations

from typing import Any

import click

from triggerhub.cli import bulk, deliveries, words
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, chosen, limited, shared
from triggerhub.errors import NotFound


@click.group(cls=Group)
def dlq() -> None:
    """Dead letters: deliveries that failed for good."""


@dlq.command("list")
@chosen
@limited(100)
@shared
@click.pass_obj
def list_(session: Session, /, limit: int, **filters: str | None) -> None:
    """List dead letters, newest first.

    Of a long reason there are the first 300 characters; --json has the whole.
    """
    deliveries.listed(session, limit, "no dead letters", state="dead", **filters)


@dlq.command()
@click.argument("delivery", metavar="ID")
@shared
@click.pass_obj
def show(session: Session, delivery: str) -> None:
    """Show a dead letter with its event and its attempts."""
    deliveries.shown(session, delivery)


@dlq.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@chosen
@click.option("--all", "every", is_flag=True, help="All dead letters.")
@click.option("--rate", metavar="10/s", help="No faster than this.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
@click.pass_obj
@click.pass_context
def redrive(context: click.Context, session: Session, /, yes: bool, **order: Any) -> None:
    """Queue dead letters again, the oldest first.

    They keep their ids and get fresh attempts. Exits 5 when only some could be queued, 1 when none.
    """
    context.exit(bulk.carry_out(session, bulk.REDRIVE, order, ask=not yes))


@dlq.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@chosen
@click.option("--all", "every", is_flag=True, help="All dead letters.")
@click.option("--reason", metavar="TEXT", help="Why; it goes to the hub's log.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
@click.pass_obj
@click.pass_context
def discard(context: click.Context, session: Session, /, yes: bool, **order: Any) -> None:
    """Remove dead letters for good.

    They are counted as discarded. Exits 5 when only some could be removed, 1 when none.
    """
    context.exit(bulk.carry_out(session, bulk.DISCARD, order, ask=not yes))


@dlq.command()
@chosen
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many, the newest; without it, all.")
@shared
@click.pass_obj
@click.pass_context
def export(context: click.Context, session: Session, /, limit: int | None, **filters: str | None) -> None:
    """Print dead letters as lines of JSON, newest first.

    Each has its event and its attempts. Exits 5 when some went away meanwhile.
    """
    missing = 0
    for page in deliveries.pages(session, limit, state="dead", **filters):
        for row in page:
            try:
                answer = session.admin.ask("GET", "deliveries", row["id"])
            except NotFound:
                missing += 1
            else:
                click.echo(words.raw_json(answer.body))
    if missing:
        click.echo(f"{words.number(missing, *bulk.LETTERS)} went away meanwhile", err=True)
        context.exit(5)
