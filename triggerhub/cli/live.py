"""Show what happens as it happens, for a person who started the hub on a terminal.

A terminal may be slow, or held up by Ctrl-S, and the hub must not wait for it: a thread of its own
writes, and lines for which it has no room are counted and left out.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import anyio
import click

import triggerhub
from triggerhub.cli import words
from triggerhub.hub.feed import Happening
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.settings import Project
from triggerhub.web import shape

ROOM = 2000
"""Lines that may wait for the terminal."""
SHOWN = 20
"""Triggers that the head names; of more, only those that do not run."""
LEAVE = 1.0
"""Seconds that what waits gets to be written at the end."""
ENTRY, WHERE, TOOK = 9, 20, 7
"""Columns of what happened, and where the terminal is as wide as WIDE, of where and how long."""
WIDE = 100
COLORS = {**words.COLORS, "accepted": "blue", "answered": "green", "failed": "red"}


class Screen:
    """Standard output, written by a thread. Once it cannot be written to, it says nothing."""

    def __init__(self, missed: Callable[[int], str]) -> None:
        self._missed = missed
        self._lines: queue.Queue[str | None] = queue.Queue(ROOM)
        self._left_out = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Write until left; a terminal that hangs does not hang the end."""
        thread = threading.Thread(target=self._write, name="screen", daemon=True)
        thread.start()
        try:
            yield
        finally:
            try:
                self._lines.put(None, timeout=LEAVE)
                thread.join(LEAVE)
            except queue.Full:
                pass

    def put(self, text: str) -> None:
        try:
            if self._left_out:
                self._lines.put_nowait(self._missed(self._left_out))
                self._left_out = 0
            self._lines.put_nowait(text)
        except queue.Full:
            self._left_out += 1

    def _write(self) -> None:
        # Not through sys.stdout: a thread that hangs within it would hold its lock at the interpreter's end.
        descriptor = sys.stdout.fileno()
        while (text := self._lines.get()) is not None:
            rest = memoryview((text + "\n").encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
            try:
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except OSError:
                while self._lines.get() is not None:
                    pass
                return


async def show(hub: Hub, warnings: Sequence[str], stop: anyio.Event) -> None:
    """Draw the head, then a line per happening, until cancelled."""
    context = click.get_current_context(silent=True)
    color = context is None or context.color is not False
    screen = Screen(lambda count: f"… {words.number(count, 'line')} left out: the terminal is slow")

    def put(text: str) -> None:
        screen.put(text if color else click.unstyle(text))

    with screen.open():
        async with hub.watch() as happenings, anyio.create_task_group() as tasks:
            for text in head(hub, await hub.triggers(), warnings):
                put(text)
            tasks.start_soon(_stopping, hub, stop, put)
            async for one in _seen(happenings):
                for text in lines(one, shutil.get_terminal_size().columns):
                    put(text)


async def tell(hub: Hub, warnings: Sequence[str], stop: anyio.Event) -> None:
    """Write every happening as a line of JSON, until cancelled."""
    screen = Screen(lambda count: json.dumps({"kind": "missed", "text": f"{count} lines were left out"}))
    with screen.open():
        async with hub.watch() as happenings:
            async for one in happenings:
                screen.put(json.dumps(shape.happening(one)))


async def _stopping(hub: Hub, stop: anyio.Event, put: Callable[[str], None]) -> None:
    await stop.wait()
    running = sum(row["running"] for row in await hub.functions())
    waits = f"; {words.number(running, 'call')} may finish, Ctrl-C again cuts it short" if running else ""
    put("")  # the terminal has written ^C
    put(words.styled(f"stopping{waits}", "yellow"))


async def _seen(happenings: AsyncIterator[Happening]) -> AsyncIterator[Happening]:
    async for one in happenings:
        if one.kind != "started":
            yield one


def _isolation(project: Project) -> words.Cell | str:
    trusted = [one.name for one in project.functions.values() if one.level == "trusted"]
    if not trusted:
        return "run isolated"
    names = ", ".join(trusted[:SHOWN]) + (f" and {len(trusted) - SHOWN} more" if len(trusted) > SHOWN else "")
    return words.Cell(f"run isolated, but unisolated: {names}", "yellow")


def head(hub: Hub, triggers: Sequence[Mapping[str, Json]], warnings: Sequence[str]) -> Iterator[str]:
    """Say what runs, where, and what to know about it."""
    project = hub.project
    scheme = "https" if project.hub.tls else "http"
    counts = f"{words.number(len(project.functions), 'function')}, {words.number(len(project.triggers), 'trigger')}"
    yield f"{words.styled('triggerhub', bold=True)} {triggerhub.__version__} runs {counts}"
    yield words.facts(
        [
            ("project", str(project.hub.project)),
            ("webhooks", f"{scheme}://{hub.addresses['listen']}"),
            ("console", f"http://{hub.addresses['admin']}"),
            ("handlers", _isolation(project)),
        ]
    )
    few = len(triggers) <= SHOWN
    longest = max((len(row["name"]) for row in triggers), default=0)
    for row in triggers:
        if few or row["state"] != "running":
            yield _trigger(row, longest)
    for warning in warnings:
        yield words.problems(warning)
    yield words.styled("Ctrl-C stops it; a saved handler or triggerhub.toml is taken up at once", dim=True)
    yield ""


def _trigger(row: Mapping[str, Json], longest: int) -> str:
    name = words.styled(words.clean(row["name"]).ljust(longest), "cyan")
    text = f"  {name}  {row['type']} → {words.clean(', '.join(row['functions']))}"
    if row["state"] == "running":
        return text
    why = f": {words.clean(row['why'])}" if row["why"] else ""
    return f"{text}  {words.styled(row['state'] + why, words.COLORS.get(row['state']))}"


def lines(one: Happening, columns: int) -> Iterator[str]:
    """Return the lines for a happening: time, what, where, how long, why."""
    clock = f"{datetime.fromtimestamp(one.time / 1000).astimezone():%H:%M:%S}"
    first, *more = one.text.split("\n") if one.kind in ("reloaded", "rejected") else [one.text]
    if one.kind == "output":
        bar = words.styled(f"{clock} {'':{ENTRY}} {words.clean(one.function)} │", dim=True)
        yield f"{bar} {words.clean(one.text)}"
        return
    yield _line(one, clock, first, columns)
    for text in more:
        shown = words.problems(text)
        yield f"  {shown if shown != text else words.styled(text, 'yellow')}"
    if one.kind == "dead":
        yield words.styled(f"{'':{len(clock)}} {'':{ENTRY}} triggerhub dlq show {one.delivery}", dim=True)


def _line(one: Happening, clock: str, text: str, columns: int) -> str:
    kind = words.styled(f"{one.kind:<{ENTRY}}", COLORS.get(one.kind))
    room = columns - len(clock) - ENTRY - 2
    where = words.cut(words.clean(" → ".join(part for part in (one.trigger, one.function) if part)), max(room, 10))
    roomy = columns >= WIDE and one.kind not in ("reloaded", "rejected", "missed")
    took = words.took(one.duration_ms)
    if roomy:
        where += " " * (WHERE - words.width(where))
        took = f"{took:>{TOOK}}"
    room -= words.width(where)
    parts = [words.styled(clock, dim=True), kind, *([where] if where else [])]
    gap = " " if where else ""
    for part, whole in (
        (took, True),
        (words.clean(words.brief(text)), False),
        ("" if one.kind == "dead" else one.delivery or "", True),
    ):
        # What is cut short of an id or a number is of no use to anybody.
        if part and room > (len(part) + 1 if whole else 12):
            shown = words.cut(part, room - 2)
            parts.append(words.styled(f"{gap}{shown}", dim=part == one.delivery))
            room -= words.width(shown) + 2
    return " ".join(parts).rstrip()
