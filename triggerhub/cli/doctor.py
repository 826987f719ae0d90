"""Say what this host can and cannot give a hub."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from triggerhub.cli.exits import FAILED
from triggerhub.cli.show import as_json, dump
from triggerhub.client import data_folder
from triggerhub.settings import GB, MB

COLOURS = {"good": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that was looked at."""

    name: str
    verdict: Literal["good", "note", "bad"]
    text: str


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> int:
    """Say what this host can and cannot give. Exits 1 when something must be mended."""
    data = data_folder(ctx.meta["project"])
    readings = list(look(data))
    if as_json:
        dump([{"name": one.name, "verdict": one.verdict, "text": one.text} for one in readings])
    else:
        for one in readings:
            click.echo(f"{click.style(one.verdict.ljust(5), fg=COLOURS[one.verdict])} {one.name.ljust(12)} {one.text}")
    return FAILED if any(one.verdict == "bad" for one in readings) else 0


def look(data: Path) -> Iterator[Reading]:
    """Look at everything a hub depends on."""
    yield Reading("python", "good", f"{platform.python_version()} on {platform.system()} {platform.release()}")
    yield _sqlite()
    node = shutil.which("node")
    yield Reading("node", "good" if node else "note", node or "not found: .mjs, .js and .cjs handlers cannot run")
    yield Reading("isolation", "note", "handlers run unisolated (level trusted), the only level in this version")
    yield _descriptors()
    yield from _watches()
    yield from _disk(data)
    year = time.gmtime().tm_year
    yield Reading("clock", "good" if year >= 2024 else "bad", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _sqlite() -> Reading:
    version = sqlite3.sqlite_version_info
    if (3, 7, 0) <= version < (3, 51, 3):
        text = (
            f"{sqlite3.sqlite_version}: has the WAL-reset fault of 3.7.0 to 3.51.2, which needs two connections that "
            "write; the hub has one"
        )
        return Reading("sqlite", "good", text)
    return Reading("sqlite", "good", sqlite3.sqlite_version)


def _descriptors() -> Reading:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} (hard limit {hard})"
    if soft < 1024:
        return Reading("descriptors", "note", f"{text}: few connections at once; raise it with ulimit -n")
    return Reading("descriptors", "good", text)


def _watches() -> Iterator[Reading]:
    for name, least in (("max_user_watches", 8192), ("max_user_instances", 64)):
        try:
            value = int(Path(f"/proc/sys/fs/inotify/{name}").read_text())
        except (OSError, ValueError):
            yield Reading("inotify", "note", f"{name} cannot be read: files are found by reconciling only")
            continue
        remedy = "" if value >= least else f": few; sysctl fs.inotify.{name}={least * 8}"
        yield Reading("inotify", "good" if value >= least else "note", f"{name} {value}{remedy}")


def _disk(data: Path) -> Iterator[Reading]:
    place = data if data.is_dir() else data.parent
    try:
        free = shutil.disk_usage(place).free
        yield Reading("disk", "good" if free > GB else "note", f"{free / GB:.1f} GB free at {place}")
        median = _sync(place)
        yield Reading("sync", "good" if median < 20 else "note", f"{median:.2f} ms to make 4 KB durable at {place}")
    except OSError as error:
        yield Reading("disk", "bad", f"{place} cannot be written: {error.strerror}")


def _sync(place: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=place) as file:
        os.posix_fallocate(file.fileno(), 0, MB)
        for number in range(20):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, number * 4096)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
