"""The command that says how the hub does."""

from __future__ import annotations

from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.canary import said
from triggerhub.cli.session import Session, shared

STATES = ("queued", "running", "succeeded", "dead", "cancelled")

SIGNATURES = {"keys": "of access keys", "none": words.Cell("none: there is no access key", "yellow")}
"""Whose signatures the Lambda API takes, where not any will do."""


@click.command()
@shared
@click.pass_obj
def status(session: Session) -> None:
    """Say what the hub is and how it does."""
    found = session.admin.get("status")
    if session.json:
        click.echo(words.as_json(found))
        return
    click.echo(head(found))
    click.echo(words.facts(_facts(found)))
    for one in found.get("preparing", ()):
        click.echo(f"\n{words.styled(words.clean(one), 'yellow')}")
    for one in found.get("pinned", ()):
        told = f"function {one['function']} is {held(one)}"
        click.echo(f"\n{words.styled(words.clean(told), 'yellow')}")
    for one in found.get("canaries", ()):
        click.echo(f"\n{said(one)}")
    for text in alarmed(found):
        click.echo(f"\n{text}")
    if found["problems"]:
        click.echo(f"\n{words.styled(words.number(len(found['problems']), 'problem'), 'yellow', bold=True)}")
        for problem in found["problems"]:
            click.echo(f"  {words.clean(problem)}")
    if found["counts"]["dead"]:
        click.echo(words.styled("\ntriggerhub dlq list shows the dead letters", dim=True))


def held(pinned: dict[str, Any]) -> str:
    """Say what a function of the handlers folder is pinned to."""
    return f"pinned to {pinned['version']}; the folder holds {pinned['folder']}"


def head(found: dict[str, Any]) -> str:
    """Return the line that names the hub."""
    ready = words.styled("ready", "green", bold=True) if found["ready"] else words.styled("not ready", "red", bold=True)
    up = words.span(found["uptime_s"])
    return f"triggerhub {found['version']} on {words.clean(found['node'])}: {ready}, up {up}, process {found['pid']}"


def alarmed(found: dict[str, Any]) -> list[str]:
    """Return a line per alarm that is on: for how long, and what was measured against which bound."""
    return [
        f"{words.styled(f'alarm {name} is on', 'red', bold=True)} for {words.lasting(one['since'])}: "
        f"{words.clean(one['when'])}, {one['value'] or 'nothing'} now"
        for one in found.get("alarms", ())
        for name in [words.clean(one["name"])]
    ]


def _facts(found: dict[str, Any]) -> list[tuple[str, words.Cell | str]]:
    counts, storage = found["counts"], found["storage"]
    free = round(storage["free_share"] * 100)
    stored = words.size(storage["bytes"])
    unisolated = found["level"] == "trusted"
    drift = counts["drift"]
    rest = [
        f"{counts[name]:,} {name}" for name in (*STATES, "discarded", "pruned") if counts[name] or name in STATES[:4]
    ]
    return [
        ("project", found["project"]),
        ("webhooks", found.get("listen", "")),
        ("admin", found.get("admin", "")),
        ("signatures", SIGNATURES.get(found.get("signatures", ""), "")),
        ("functions", str(found["functions"])),
        ("triggers", str(found["triggers"])),
        ("sandbox", words.Cell("trusted: a function runs unisolated", "yellow") if unisolated else found["level"]),
        ("storage", words.Cell(f"{stored}; {free}% of the disk is free", "red" if free < 5 else None)),
        ("accepted", f"{counts['accepted']:,} = " + " + ".join(rest)),
        ("drift", words.Cell(f"{drift}: the ledgers disagree; triggerhub doctor", "red") if drift else ""),
    ]  # fmt: skip
