"""The command that says what this host can and cannot give a hub, and what to do about it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, shared
from triggerhub.client import data_folder
from triggerhub.errors import TriggerhubError

if TYPE_CHECKING:
    from triggerhub.cli.host import Reading, Running

COLORS = {"good": "green", "note": "yellow", "bad": "red"}


@click.command()
@shared
@click.pass_obj
@click.pass_context
def doctor(context: click.Context, session: Session) -> None:
    """Say what this host can and cannot give.

    Exits 1 when something is bad, that is, when a hub would not run or would not keep what it accepted.
    """
    from triggerhub import app
    from triggerhub.cli.host import kept, look

    if session.hub is not None:
        raise click.UsageError("doctor looks at this machine; it does not go with --hub.")
    running, asked = _asked(session)
    keeper = app.become(session.project)
    project, data = Path(session.project), data_folder(session.project)
    others = keeper is None and running is not None and os.geteuid() != 0 and kept(running.pid)
    readings = [*look(project, data, running, None if others else lambda: app.lacks(keeper)), *asked]
    if session.json:
        click.echo(words.as_json([asdict(one) for one in readings]))
    else:
        longest = max(len(one.name) for one in readings)
        for one in readings:
            verdict = words.styled(f"{one.verdict:<4}", COLORS[one.verdict], bold=one.verdict == "bad")
            click.echo(f"{verdict}  {one.name:<{longest}}  {words.clean(one.found)}")
            if one.remedy:
                click.echo(f"{'':{longest + 8}}{words.styled(words.clean(one.remedy), dim=True)}")
    context.exit(1 if any(one.verdict == "bad" for one in readings) else 0)


def _asked(session: Session) -> tuple[Running | None, list[Reading]]:
    """Return this project's hub, where one runs, and what it says itself."""
    from triggerhub.cli.host import Running, bad, good, note

    running, found = None, []
    # One that does not run, or that only begins, has nothing to say.
    with suppress(TriggerhubError, KeyError):
        status = session.admin.get("status")
        running = Running(pid=status["pid"], listen=status["listen"], admin=status["admin"])
        differs = session.admin.get("audit")
        remedy = (
            "Where there is damage, or deliveries are missing, put a backup in its place: triggerhub restore FILE. "
            "By a wrong count alone nothing is lost."
        )
        found += [bad("accounting", text, remedy) for text in differs]
        if not differs:
            found.append(good("accounting", "every row was counted, and the ledgers agree"))
        if status["signatures"] == "any":
            remedy = "triggerhub token create NAME --aws"
            found.append(note("Lambda API", "takes any signature: there is no access key", remedy))
        elif status["signatures"] == "none":
            remedy = (
                "triggerhub token create NAME --aws; where [console] auth is none, revoking that with --open opens it"
            )
            found.append(note("Lambda API", "takes no signature: there is no access key", remedy))
        else:
            text = "takes what access keys sign; where [console] auth asks nobody, keys are made by the socket alone"
            found.append(good("Lambda API", text))
    return running, found
