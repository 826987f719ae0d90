"""Show what happens as it happens, for a person who started the hub on a terminal."""

from __future__ import annotations

import time

import click

from triggerhub.cli.show import milliseconds, safe
from triggerhub.hub.feed import Happening
from triggerhub.hub.hub import Hub

COLOURS = {
    "succeeded": "green",
    "dead": "red",
    "retried": "yellow",
    "degraded": "red",
    "recovered": "green",
    "reloaded": "cyan",
    "duplicate": "yellow",
    "filtered": "yellow",
    "cancelled": "yellow",
}


async def show(hub: Hub) -> None:
    """Print one line per happening until cancelled."""
    click.secho(
        f"triggerhub runs {len(hub.project.functions)} functions on {len(hub.project.triggers)} triggers", bold=True
    )
    click.echo(f"  ingress {hub.addresses['listen']}    admin {hub.addresses['admin']}    Ctrl-C stops it")
    click.secho("  Handlers run unisolated: do not run strangers' code.", fg="yellow")
    async with hub.watch() as happenings:
        async for one in happenings:
            if one.kind != "started":
                click.echo(line(one))


def line(one: Happening) -> str:
    """Write a happening: time, what, where, how long, why."""
    clock = time.strftime("%H:%M:%S", time.localtime(one.time / 1000))
    if one.kind == "output":
        return click.style(f"{clock}   {one.function} │ ", dim=True) + safe(one.text)
    where = " → ".join(part for part in (one.trigger, one.function) if part)
    took = milliseconds(one.duration_ms) if one.duration_ms is not None else ""
    kind = click.style(one.kind.ljust(9), fg=COLOURS.get(one.kind))
    tail = "  ".join(part for part in (took, safe(one.text)) if part)
    return (
        f"{click.style(clock, dim=True)} {kind} {where}  {tail}  {click.style(one.delivery or '', dim=True)}".rstrip()
    )
