"""Measure the hub beside a bare ingress and beside its peers: ``make bench``.

Two kinds of work, with a 1 KB JSON body each time:

- sync: the caller waits for a trivial Python handler's answer. Sent by wrk over keep-alive connections.
- durable: an event is on disk before it is answered with 202, is run, and its outcome is on disk. Counted
  are events settled a second, from the first request until the last outcome is committed.

The bare ingress answers the same requests without a worker and without a store. The peers run side by
side with the hub, in turn, within the same rounds; a ratio is of medians, beside the fastest peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.load import LUA, bare, wrk
from bench.peers import WORKERS, Skipped
from bench.queueing import QUEUES
from bench.serving import SERVERS
from tests.e2e.daemon import Daemon, daemon

TOML = """
[triggers.sync]
type = "webhook"
path = "/sync"
auth = "none"
respond = "result"
function = "echo"

[triggers.durable]
type = "webhook"
path = "/durable"
auth = "none"
function = "echo"
backlog = 10000000
"""
HANDLER = "def handler(event, context):\n    return {'ok': True}\n"
CONNECTIONS = (1, 8, 64)


@dataclass
class Bench:
    """What is measured, in the order of its rows, and what came of it."""

    works: dict[str, Callable[[int], float]] = field(default_factory=dict)
    """By row: a round's measure, given the number of the round."""
    figures: dict[str, list[float]] = field(default_factory=dict)
    beside: dict[str, list[str]] = field(default_factory=dict)
    """Which rows each row is compared with: the fastest of them counts."""
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self, rounds: int) -> None:
        """Measure every row once a round."""
        for number in range(rounds):
            for row, measure in list(self.works.items()):
                try:
                    self.figures.setdefault(row, []).append(measure(number))
                except Skipped as why:
                    self._skip(row, str(why))

    def _skip(self, row: str, why: str) -> None:
        self.skipped[row] = why
        del self.works[row], self.figures[row]
        for peers in self.beside.values():
            if row in peers:
                peers.remove(row)

    def rows(self) -> list[dict[str, object]]:
        """Return a row per figure: median, lowest, highest, and the ratio to what it is compared with."""
        medians = {row: statistics.median(values) for row, values in self.figures.items()}
        fastest = {row: max(peers, key=medians.__getitem__) for row, peers in self.beside.items() if peers}
        return [
            {
                "work": row,
                "median": round(medians[row], 1),
                "lowest": round(min(values), 1),
                "highest": round(max(values), 1),
                "beside": (beside := fastest.get(row)),
                "ratio": round(medians[row] / medians[beside], 3) if beside else None,
            }
            for row, values in self.figures.items()
        ]


def durable(hub: Daemon, seconds: float, script: Path) -> float:
    """Return events settled a second, accept to commit of the outcome."""
    before = hub.counts()["accepted"]
    began = time.monotonic()
    wrk(f"http://127.0.0.1:{hub.listen}/durable", 64, seconds, script)
    counts = hub.settled(600)
    took = time.monotonic() - began
    assert counts["dead"] == 0, counts
    assert counts["drift"] == 0, counts
    return (counts["accepted"] - before) / took


def prepared(stack: ExitStack, folder: Path, seconds: float, *, peers: bool) -> Bench:
    """Start every side; what they leave behind goes with the *stack*."""
    bench = Bench()
    script, project = folder / "post.lua", folder / "project"
    script.write_text(LUA)
    project.mkdir()
    url = stack.enter_context(bare())
    hub = stack.enter_context(daemon(project, TOML, {"echo.py": HANDLER}))
    hub.post("/sync", b"{}")
    bench.works["bare c=64"] = lambda _: wrk(url, 64, seconds, script)
    for count in CONNECTIONS:
        row = f"sync c={count}"
        bench.works[row] = lambda _, count=count: wrk(f"http://127.0.0.1:{hub.listen}/sync", count, seconds, script)
    bench.beside["sync c=64"] = ["bare c=64"]
    bench.works["durable c=64"] = lambda _: durable(hub, seconds, script)
    if peers:
        _servers(bench, stack, folder, seconds, script)
        _queues(bench, folder)
    return bench


def _servers(bench: Bench, stack: ExitStack, folder: Path, seconds: float, script: Path) -> None:
    for server in SERVERS:
        try:
            name, url = stack.enter_context(server(folder / server.__name__))
        except Skipped as why:
            bench.skipped[server.__name__] = str(why)
            continue
        for count in CONNECTIONS[:2]:
            row = f"{name}, sync c={count}"
            bench.works[row] = lambda _, url=url, count=count: wrk(url, count, seconds, script)
            bench.beside.setdefault(f"sync c={count}", []).append(row)


def _queues(bench: Bench, folder: Path) -> None:
    for made in QUEUES:
        try:
            queue = made()
        except Skipped as why:
            bench.skipped[made.__name__] = str(why)
            continue
        place = f"{made.__name__}-{{}}"
        bench.works[queue.name] = lambda number, queue=queue, place=place: queue.measure(folder / place.format(number))
        bench.beside.setdefault("durable c=64", []).append(queue.name)


def table(bench: Bench, rounds: int, seconds: float) -> str:
    """Return the figures as people read them."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    lines = [
        f"{machine}; medians of {rounds} rounds of {seconds} s",
        f"durability = full, history, logs and metrics on; peers with {WORKERS} workers where they take a number",
        f"{'work':<56}{'a second':>10}{'lowest':>10}{'highest':>10}  ratio",
    ]
    for row in bench.rows():
        ratio = f"{row['ratio']:.2f} x {row['beside']}" if row["beside"] else ""
        lines.append(
            f"{row['work']:<56}{row['median']:>10,.0f}{row['lowest']:>10,.0f}{row['highest']:>10,.0f}  {ratio}"
        )
    lines += [f"skipped {name}: {why}" for name, why in bench.skipped.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--no-peers", action="store_true", help="measure the hub beside the bare ingress only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("the load comes from wrk, which is not installed (Debian, Ubuntu: apt install wrk)", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = prepared(stack, Path(folder), options.seconds, peers=not options.no_peers)
        bench.run(options.rounds)
    if options.json:
        print(json.dumps({"rows": bench.rows(), "skipped": bench.skipped}, indent=1))
    else:
        print(table(bench, options.rounds, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
