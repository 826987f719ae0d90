"""Kill a hub at named points of its work, again and again: what the commands that do so have in common."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.e2e.daemon import GUARD, Daemon

PATIENCE = GUARD
"""Seconds in which a hub must come to the point where it dies; then it is killed wherever it is."""


class Report(Protocol):
    """What a run came to."""

    @property
    def well(self) -> bool: ...


@dataclass
class Journal:
    """What a handler noted: a key and a number, line by line, each number once but for repetitions."""

    numbers: set[int] = field(default_factory=set)
    by_key: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Each number where it was first seen."""
    repeated: int = 0

    @property
    def disordered(self) -> int:
        """How many keys' numbers do not grow."""
        return sum(numbers != sorted(numbers) for numbers in self.by_key.values())


def read(path: Path) -> Journal:
    journal = Journal()
    for line in path.read_text().splitlines():
        key, number = line.split()
        if int(number) in journal.numbers:
            journal.repeated += 1
            continue
        journal.numbers.add(int(number))
        journal.by_key[key].append(int(number))
    return journal


def environ(point: str = "", after: int = 1) -> dict[str, str]:
    """Return what a hub is started with that dies the *after*-th time that it comes to *point*."""
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**keys, "TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(after)}


def killed(hub: Daemon, point: str, after: int, meanwhile: Callable[[], None]) -> bool:
    """Run the hub until it dies at the point; False where it did not within a while, and was killed by hand."""
    hub.start(ready=False, environ=environ(point, after))
    deadline = time.monotonic() + PATIENCE
    while hub.alive and time.monotonic() < deadline:
        meanwhile()
        time.sleep(0.05)
    died = not hub.alive
    hub.kill()
    return died


def told(kills: Counter[str]) -> str:
    return f"{sum(kills.values())} kills ({', '.join(f'{point} {n}' for point, n in sorted(kills.items()))})"


def counts(hub: Daemon, trigger: str) -> dict[str, int]:
    """Return a trigger's deliveries by state."""
    found: dict[str, int] = next(one["counts"] for one in hub.api("GET", "/api/v1/triggers") if one["name"] == trigger)
    return found


def drift(hub: Daemon) -> int:
    """Return by how much what was accepted differs from what there is."""
    status, page = hub.api("GET", "/metrics", raw=True)
    assert status == 200
    (line,) = (one for one in page.decode().splitlines() if one.startswith("triggerhub_accounting_drift "))
    return int(float(line.split()[1]))


def main(about: str | None, run: Callable[[Path, int, int], Report]) -> int:
    """Be the command: ``run`` is given a folder, how many kills, and a seed."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), arguments.kills, arguments.seed)
    print(report)
    return 0 if report.well else 1
