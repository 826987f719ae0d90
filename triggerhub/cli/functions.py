"""The commands of functions."""

from __future__ import annotations

from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.canary import canary, said
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, names, shared
from triggerhub.cli.status import held

HEADER = ("NAME", "RUNTIME", "VERSION", "STATE", "WORKERS", "QUEUED", "RUNNING", "DONE", "DEAD", "TRIGGERS")
_NAME = click.argument("name", metavar="FN", shell_complete=names("functions"))


@click.group(cls=Group)
def functions() -> None:
    """Functions: list, show, versions, rollback, canary, pause, resume."""


@functions.command("list")
@shared
@click.pass_obj
def list_(session: Session) -> None:
    """List the functions and what they have to do."""
    rows = session.admin.get("functions")
    if session.json:
        click.echo(words.as_json(rows))
    elif rows:
        click.echo(words.table(HEADER, map(_row, rows), right=(4, 5, 6, 7, 8), spare=(9, 4, 2, 1, 6)))
    else:
        click.echo("no functions; a file in handlers/ is one", err=True)


def _row(row: dict[str, Any]) -> list[words.Cell | str]:
    counts = row["counts"]
    dead = words.Cell(f"{counts['dead']:,}", "red" if counts["dead"] else None)
    numbers = [f"{counts[name]:,}" for name in ("queued", "running", "succeeded")]
    triggers = ", ".join(row["triggers"])
    kind = "alias" if row["leads"] else row["runtime"]
    return [row["name"], kind, row["version"], _state(row), str(row["workers"]), *numbers, dead, triggers]


def _state(row: dict[str, Any]) -> words.Cell:
    if row["paused"]:
        return words.state("paused")
    if row.get("preparing"):
        return words.Cell("preparing", "yellow")
    return words.Cell("pinned", "yellow") if row.get("pinned") else words.Cell("on", "green")


@functions.command()
@_NAME
@shared
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show one function."""
    _shown(session, session.admin.get("functions", name))


@functions.command()
@_NAME
@shared
@click.pass_obj
def versions(session: Session, name: str) -> None:
    """List the versions of a function, the newest first.

    Of one that was deployed by the Lambda API: $LATEST, which runs, and what was published. Of one of the handlers
    folder: the contents that its files had, as far as they are kept. That is the last 10, no older than 30 days and
    of 1 GB together; what runs, what lies in the folder and the version that ran before are always kept.
    """
    rows = session.admin.get("functions", name, "versions")
    if session.json:
        click.echo(words.as_json(rows))
        return
    if all("state" in row for row in rows):
        seen = [[row["version"], words.age(row["created"]), row["state"]] for row in rows]
        click.echo(words.table(("VERSION", "AGE", "STATE"), seen))
        return
    table = [
        [row["version"], words.age(row["created"]), row.get("code", ""),
         ", ".join(row["aliases"]), row["description"]]
        for row in rows
    ]  # fmt: skip
    click.echo(words.table(("VERSION", "AGE", "CODE", "ALIASES", "DESCRIPTION"), table, spare=(4, 3)))
    for line in (said(one) for row in rows for one in row["canaries"]):
        click.echo(line)


@functions.command()
@_NAME
@click.option("--to", metavar="VERSION", help="Which version; by default the one before.")
@click.option("--alias", help="Move this alias, and leave what runs without a qualifier as it is.")
@shared
@click.pass_obj
def rollback(session: Session, name: str, to: str | None, alias: str | None) -> None:
    """Go back to an earlier version of a function: it runs from the next call on, also after a restart.

    Of one that was deployed by the Lambda API, code and configuration are that version's; published versions stay as
    they are, and an alias leads to where it led before. One of the handlers folder is pinned to the earlier content,
    and its files are not touched: once they change, the new content runs and the pin is gone. --to with the version
    that lies in the folder lifts the pin, too.
    """
    order = {key: value for key, value in (("to", to), ("alias", alias)) if value is not None}
    done = session.admin.ask("POST", "functions", name, "rollback", body=order).json()
    if session.json:
        click.echo(words.as_json(done))
        return
    click.echo(f"{name}{f':{alias}' if alias else ''} is version {done['version']} again")
    if pinned := done.get("pinned"):
        click.echo(words.styled(f"{held(pinned)}, and serves once its files change", dim=True), err=True)


functions.add_command(canary)


@functions.command()
@_NAME
@shared
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Keep a function's deliveries queued, also over a restart."""
    _shown(session, session.admin.ask("POST", "functions", name, "pause").json(), "resume")


@functions.command()
@_NAME
@shared
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Run a paused function's deliveries again."""
    _shown(session, session.admin.ask("POST", "functions", name, "resume").json())


def _version(row: dict[str, Any]) -> words.Cell | str:
    pinned = row.get("pinned")
    return words.Cell(held(pinned), "yellow") if pinned else row["version"]


def _shown(session: Session, row: dict[str, Any], undo: str | None = None) -> None:
    if session.json:
        click.echo(words.as_json(row))
        return
    counts = ", ".join(f"{number:,} {state}" for state, number in row["counts"].items() if number)
    kept = f", {row['warm']} kept ready" if row["warm"] else ""
    reuse = f", reuse {row['reuse']}" if row["reuse"] != "warm" else ""
    pairs: list[tuple[str, words.Cell | str | None]] = [
        ("state", _state(row)),
        ("preparing", row.get("preparing") or ""),
        ("runtime", row.get("interpreter") or row["runtime"]),
        # What ends in a dot leaves the name to the worker: handler, else lambda_handler.
        ("handler", "" if row["handler"].endswith(".") else row["handler"]),
        ("source", row["source"]),
        ("version", _version(row)),
        ("leads to", ", ".join(f"{name} ({100 * share:.4g}%)" for name, share in (row["leads"] or {}).items())),
        ("timeout", words.took(row["timeout_ms"])),
        ("memory", words.size(row["memory"])),
        ("concurrency", f"{row['concurrency']}{', shared by all versions' if row.get('reserved') else ''}"),
        ("sandbox", row["level"] or words.Cell(f"not run: {row['refused']}", "red")),
        ("workers", f"{row['workers']} alive, {row['running']} running{kept}{reuse}"),
        ("triggers", ", ".join(row["triggers"]) or "none"),
        ("deliveries", counts or "none"),
    ]
    click.echo(words.styled(words.clean(row["name"]), bold=True))
    click.echo(words.facts(pairs))
    if undo:
        click.echo(words.styled(f"triggerhub functions {undo} {row['name']} undoes it", dim=True))
