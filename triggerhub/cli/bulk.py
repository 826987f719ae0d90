"""Carry an order out on many deliveries, and show how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, given
from triggerhub.errors import HubUnreachable

EVERY = 1.0
"""Seconds between two lines of progress where there is no terminal to draw on."""


@dataclass(frozen=True, slots=True)
class Verb:
    """An order and its words."""

    path: tuple[str, str]
    command: str
    done: str
    """What was done to ``{}``."""
    noun: tuple[str, str]
    wrong: str
    """Why some were left as they are."""


LETTERS = ("dead letter", "dead letters")
REDRIVE = Verb(("dead-letters", "redrive"), "dlq redrive", "queued {} again", LETTERS, "not dead (any more)")
DISCARD = Verb(("dead-letters", "discard"), "dlq discard", "discarded {}", LETTERS, "not dead (any more)")
RETRY = Verb(
    ("deliveries", "retry"),
    "deliveries retry",
    "to be tried now: {}",
    ("delivery", "deliveries"),
    "not waiting for a further attempt",
)
CANCEL = Verb(
    ("deliveries", "cancel"), "deliveries cancel", "cancelled {}", ("delivery", "deliveries"), "finished already"
)


def carry_out(session: Session, verb: Verb, order: Mapping[str, Any], *, ask: bool) -> int:
    """Do it, print what was done, return the exit code: 5 where some were left, 1 where all were."""
    every = order["every"]
    body = dict(given(**{**order, "every": None, "all": every}))
    chosen = [name for name in ("ids", "function", "trigger", "since", "error", "key", "all") if name in body]
    if not chosen:
        raise click.UsageError(
            f"{verb.command}: which ones? Give IDs, a filter (--function, --trigger, --since, --error, --key) or --all."
        )
    if "ids" in chosen and len(chosen) > 1:
        raise click.UsageError(f"{verb.command}: IDs do not go with a filter or --all.")
    many = body.get("ids") is None
    if many and ask and not body.get("dry_run") and sys.stdin.isatty() and sys.stdout.isatty():
        last = _last(session, verb, {**body, "dry_run": True})
        if last["total"] and not click.confirm(f"{verb.command}: {words.number(last['total'], *verb.noun)}?"):
            raise click.Abort
    last = _last(session, verb, body)
    if session.json:
        click.echo(words.as_json({name: value for name, value in last.items() if name != "finished"}))
    else:
        _say(verb, last)
    if last["dry_run"] or not last["skipped"]:
        return 0
    return 5 if last["changed"] else 1


def _say(verb: Verb, last: Mapping[str, Any]) -> None:
    counted = words.number(last["total"], *verb.noun)
    if last["dry_run"]:
        click.echo(f"dry run: {verb.command} would take {counted}")
        return
    if not last["total"] and not last["skipped"]:
        click.echo(f"there are no {verb.noun[1]}")
        return
    click.echo(verb.done.format(words.number(last["changed"], *verb.noun)))
    if last["skipped"]:
        click.echo(f"{last['skipped']:,} left as they are: {verb.wrong}, or unknown", err=True)


def _last(session: Session, verb: Verb, body: Mapping[str, Any]) -> dict[str, Any]:
    """Follow the order to its end; return the last line."""
    with closing(session.admin.lines("POST", *verb.path, body=body)) as lines:
        told: Iterable[dict[str, Any]] = lines
        if not body.get("dry_run") and not session.json:
            told = _drawn(verb, lines) if sys.stderr.isatty() else _printed(verb, lines)
        last: dict[str, Any] = {}
        for line in told:
            last = line
    if not last.get("finished"):
        hint = f"{last.get('changed', 0)} were done; run the command again for the rest."
        raise HubUnreachable("the hub ended before all was done", hint=hint)
    return last


def _printed(verb: Verb, lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    said = time.monotonic()
    for line in lines:
        if not line.get("finished") and time.monotonic() - said > EVERY:
            said = time.monotonic()
            click.echo(f"{verb.command}: {line['done']:,} of {line['total']:,}", err=True)
        yield line


def _drawn(verb: Verb, lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    first = next(lines, None)
    if first is None:
        return
    yield first
    if first.get("finished") or first["total"] <= 1:
        yield from lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb.command), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb.command, total=first["total"])
        for line in lines:
            progress.update(task, completed=line["done"])
            yield line
