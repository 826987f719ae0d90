"""Live through many days, and say of each that breaks a promise how to live through it again.

Run as ``python -m tests.simulation.seeds --seeds 10000``: exits with 1 when a promise is broken. With
``--state FILE`` what is done is kept there, and another run goes on after it. ``--seed N`` tells of one day.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from tests.simulation.day import Result, Trouble, simulate

CHUNK = 25
"""How many seeds a process takes at once."""


@dataclass
class Report:
    """What all the days came to."""

    first: int
    seeds: int = 0
    deliveries: int = 0
    calls: int = 0
    deaths: int = 0
    steps: int = 0

    def add(self, one: Result) -> None:
        self.seeds += 1
        self.deliveries += one.deliveries
        self.calls += one.calls
        self.deaths += one.deaths
        self.steps += one.steps

    def table(self, broken: int) -> str:
        return (
            f"seeds {self.first} to {self.first + self.seeds - 1}: {self.seeds} days, {self.deliveries} deliveries, "
            f"{self.calls} calls, {self.deaths} deaths of the hub\n"
            f"invariants held at {self.steps} steps; {broken} days broke one"
        )


def days(first: int, last: int, jobs: int, *, trouble: Trouble = "", busy: bool = True) -> Iterator[list[Result]]:
    """Yield the days from *first* up to *last*, in their order, some at a time."""
    chunks = [range(start, min(start + CHUNK, last + 1)) for start in range(first, last + 1, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(partial(_chunk, trouble=trouble, busy=busy), chunks)


def _chunk(seeds: range, *, trouble: Trouble, busy: bool) -> list[Result]:
    return [simulate(seed, trouble=trouble, busy=busy) for seed in seeds]


def one(seed: int, *, trouble: Trouble) -> int:
    """Live through one day and tell of it."""
    result = simulate(seed, trouble=trouble)
    print(
        f"seed {seed}: {result.deliveries} deliveries, {result.calls} calls, {result.deaths} deaths, {result.steps} steps"
    )
    print(f"it ends as {result.digest}")
    for problem in result.problems:
        print(f"BROKEN: {problem}")
    return 1 if result.problems else 0


def many(first: int, seeds: int, jobs: int, state: Path | None, *, trouble: Trouble) -> int:
    """Live through *seeds* days from *first* on; those that *state* says are done are not lived again."""
    report, broken = Report(first), list[int]()
    if state and state.exists():
        kept = json.loads(state.read_text())
        report, broken = Report(**kept["report"]), kept["broken"]
        print(f"going on after {report.seeds} seeds", flush=True)
    again = f"python -m tests.simulation.seeds{f' --trouble {trouble}' if trouble else ''}"
    began = told = time.monotonic()
    for chunk in days(report.first + report.seeds, report.first + seeds - 1, jobs, trouble=trouble):
        for result in chunk:
            report.add(result)
            if result.problems:
                broken.append(result.seed)
                print(f"BROKEN: seed {result.seed}: {result.problems[0]}", flush=True)
                print(f"        {again} --seed {result.seed}", flush=True)
        if state:
            state.write_text(json.dumps({"report": asdict(report), "broken": broken}))
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{report.seeds} seeds", flush=True)
    print(report.table(len(broken)))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, help="keep what is done here, and go on after it")
    parser.add_argument(
        "--trouble", choices=get_args(Trouble), default="", help="what is set, edited or struck meanwhile"
    )
    options = parser.parse_args()
    if options.seed is not None:
        return one(options.seed, trouble=options.trouble)
    return many(options.first, options.seeds, options.jobs, options.state, trouble=options.trouble)


if __name__ == "__main__":
    sys.exit(main())
