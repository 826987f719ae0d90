"""The commands of triggers."""

from __future__ import annotations

from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.call import told
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, names, shared

HEADER = ("NAME", "TYPE", "STATE", "NEXT", "QUEUED", "RUNNING", "DONE", "DEAD", "FUNCTIONS", "WHY")
_NAME = click.argument("name", metavar="TRIGGER", shell_complete=names("triggers"))


@click.group(cls=Group)
def triggers() -> None:
    """Triggers: list, show, pause, resume, fire."""


@triggers.command("list")
@shared
@click.pass_obj
def list_(session: Session) -> None:
    """List the triggers, when they fire next (rate(…) aside) and how they do."""
    rows = session.admin.get("triggers")
    if session.json:
        click.echo(words.as_json(rows))
    elif rows:
        click.echo(words.table(HEADER, map(_row, rows), right=(4, 5, 6, 7), spare=(5, 1, 8, 6)))
    else:
        click.echo("no triggers; triggerhub.toml has none", err=True)


def _row(row: dict[str, Any]) -> list[words.Cell | str]:
    counts = row["counts"]
    dead = words.Cell(f"{counts['dead']:,}", "red" if counts["dead"] else None)
    numbers = [f"{counts[name]:,}" for name in ("queued", "running", "succeeded")]
    functions = ", ".join(row["functions"])
    return [row["name"], row["type"], _state(row), words.age(row["next"]), *numbers, dead, functions, row["why"] or ""]


def _state(row: dict[str, Any]) -> words.Cell:
    return words.Cell("on", "green") if row["state"] == "running" else words.state(row["state"])


@triggers.command()
@_NAME
@shared
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show one trigger."""
    _shown(session, session.admin.get("triggers", name))


@triggers.command()
@_NAME
@shared
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Keep a trigger's source from bringing events, also over a restart.

    What is sent or fired by hand is taken, and what is queued runs.
    """
    _shown(session, session.admin.ask("POST", "triggers", name, "pause").json(), "resume")


@triggers.command()
@_NAME
@shared
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Let a paused trigger take events again."""
    _shown(session, session.admin.ask("POST", "triggers", name, "resume").json())


@triggers.command()
@_NAME
@shared
@click.pass_obj
@click.pass_context
def fire(context: click.Context, session: Session, name: str) -> None:
    """Make a trigger fire now, as its source would."""
    answer = session.admin.ask("POST", "triggers", name, "fire").json()
    click.echo(words.as_json(answer) if session.json else told(answer))
    context.exit(0 if answer["result"] == "accepted" else 5)


def _shown(session: Session, row: dict[str, Any], undo: str | None = None) -> None:
    if session.json:
        click.echo(words.as_json(row))
        return
    counts = ", ".join(f"{number:,} {state}" for state, number in row["counts"].items() if number)
    following = f"{row['next']} ({words.age(row['next'])})" if row["next"] else ""
    pairs: list[tuple[str, words.Cell | str | None]] = [
        ("state", _state(row)),
        ("why", row["why"]),
        ("type", row["type"]),
        ("functions", ", ".join(row["functions"])),
        ("next", following),
        ("deliveries", counts or "none"),
    ]
    click.echo(words.styled(words.clean(row["name"]), bold=True))
    click.echo(words.facts(pairs))
    if undo:
        click.echo(words.styled(f"triggerhub triggers {undo} {row['name']} undoes it", dim=True))
