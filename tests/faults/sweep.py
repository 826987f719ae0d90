"""Let each of the first writes and syncs of a store fail, and compare what it said with what it knows afterwards.

Eight sweeps: changes (writes, truncations, allocations, names) and syncs, ENOSPC and EIO, once and from
then on. At each point a store is opened, new or as a killed process left it, used, healed, opened again
and used; then the power is cut, and what a failed sync should have written is on no disk. Run as ``python -m tests.faults.sweep --points 200``:
exits with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut import disk, replay
from tests.powercut.cuts import PROJECT, ROOT, examine, scratch
from tests.powercut.disk import CHANGE, SYNC
from tests.powercut.ledger import Book, Ledger
from tests.powercut.workload import Work
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.stores import sqlite, writer
from triggerhub.stores.sqlite import open_store

KINDS = {"change": CHANGE, "sync": SYNC}
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
SWEEPS = [f"{kind} {error} {how}" for kind in KINDS for error in ERRORS for how in ("once", "sticky")]
COMMANDS = {"change": 60, "sync": 320}
"""How many commands reach 200 operations of a kind."""
AT_ONCE = 2
KILLED_COMMANDS = 1_000
"""More than were given by the process that was killed: the numbers go on from here."""


@dataclass
class Point:
    """What came of one point."""

    sweep: str
    at: int
    reached: bool = False
    refused: int = 0
    broken: int = 0
    wrong: list[str] = field(default_factory=list)
    """What was neither lost nor spoilt, and still must not be."""
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)


@dataclass
class Report:
    seed: int
    points: list[Point] = field(default_factory=list)

    @property
    def findings(self) -> list[str]:
        return [
            f"{one.sweep}, point {one.at}: {sentence}"
            for one in self.points
            for sentence in (*one.lost, *one.corrupt, *one.wrong)
        ]

    def table(self) -> str:
        lines = [
            f"seed {self.seed}",
            f"{'sweep':24}{'points':>8}{'reached':>9}{'refused':>9}{'broken':>8}{'lost':>6}{'corrupt':>9}{'wrong':>7}",
        ]
        for sweep in SWEEPS:
            of = [one for one in self.points if one.sweep == sweep]
            counts = Counter(
                {
                    name: sum(bool(getattr(one, name)) for one in of)
                    for name in ("reached", "refused", "broken", "lost", "corrupt", "wrong")
                }
            )
            lines.append(
                f"{sweep:24}{len(of):8}{counts['reached']:9}{counts['refused']:9}{counts['broken']:8}"
                f"{counts['lost']:6}{counts['corrupt']:9}{counts['wrong']:7}"
            )
        return "\n".join(lines)


async def try_point(sweep: str, at: int, seed: int, folder: Path, device: disk.Disk) -> Point:
    """Let one operation fail; *folder* is below the root that the library watches."""
    kind, error, how = sweep.split()
    point = Point(sweep, at)
    log = folder.with_name(f"{folder.name}.log")
    book = Book(device.mark)
    book.resume(KILLED_COMMANDS)
    data = folder / PROJECT / "var"
    # The log is moved often, so that the faults also meet that.
    writer.CHECKPOINT_IDLE, writer.CHECKPOINT_ANYWAY = 60, 200
    device.fail(KINDS[kind], at, ERRORS[error], sticky=how == "sticky")
    await _first_life(point, data, seed, book, device, KINDS[kind])
    device.heal()
    # What the first life left in the log stays there, as long as the store leaves it there.
    writer.CHECKPOINT_IDLE = writer.CHECKPOINT_ANYWAY = 1_000_000
    async with open_store(data) as store:
        book.opened(store.owner)
        await store.reap()
        work = Work(store, book, random.Random(seed + 1), base=1_000_000)
        await work.run(30, at_once=AT_ONCE)
        if work.refused or work.broken:
            point.wrong.append("the store still fails, and the disk does not")
        records = disk.read(log)
    drive = replay.Disk(folder)
    drive.play(records)
    ledger = Ledger()
    ledger.read(one.data for one in records if one.op == "m")
    for model in ("none", "all"):
        image = folder.with_name(f"{folder.name}-{model}-image")
        (image / PROJECT).mkdir(parents=True)
        drive.image(model, random.Random(seed), image)
        lost, corrupt = await examine(image / PROJECT / "var", ledger)
        point.lost += lost
        point.corrupt += corrupt
        shutil.rmtree(image)
    shutil.rmtree(folder)
    log.unlink()
    return point


def prepare(folder: Path, seed: int, device: disk.Disk, *, killed: bool) -> None:
    """Make the folder of a point; *killed*: one in which a process used a store and was killed."""
    (folder / PROJECT).mkdir(parents=True)
    device.log(folder.with_name(f"{folder.name}.log"))
    if killed:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(_killed_life(folder / PROJECT / "var", seed, device))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 9


async def _killed_life(data: Path, seed: int, device: disk.Disk) -> None:
    writer.CHECKPOINT_IDLE = writer.CHECKPOINT_ANYWAY = 150
    book = Book(device.mark)
    async with open_store(data) as store:
        book.opened(store.owner)
        await Work(store, book, random.Random(seed), base=-1_000_000).run(40, at_once=AT_ONCE)
        os._exit(9)


async def _first_life(point: Point, data: Path, seed: int, book: Book, device: disk.Disk, kind: int) -> None:
    """Use a store while its disk fails, and once more after an error that the store says it survives."""
    opened = False
    try:
        async with open_store(data) as store:
            opened = True
            book.opened(store.owner)
            await store.reap()
            work = Work(store, book, random.Random(seed))
            work.patience = 5
            await work.run(COMMANDS[point.sweep.split()[0]], at_once=AT_ONCE)
            point.reached = device.count(kind) >= point.at
            point.refused, point.broken = work.refused, work.broken
            if not work.broken:
                device.heal()  # a broken store also ends on the disk that fails
            await work.run(10, at_once=AT_ONCE)
            if not point.broken and work.refused > point.refused:
                point.wrong.append("there is room again, and the store refuses")
            if not point.broken and work.broken:
                point.wrong.append("the store was not broken, and is when nothing fails")
            if work.believed:
                point.wrong.append(f"{len(work.believed)} commands were acknowledged by a broken store")
    except StoreFull:
        point.refused += 1
    except StoreBroken:
        point.broken += 1
    except OSError as error:
        point.wrong.append(f"an error that is no word for a person: {error!r}")
    if not opened:
        point.reached = device.count(kind) >= point.at


def chosen(points: int, seed: int, sample: int | None) -> list[tuple[str, int]]:
    """Return every sweep's points, or *sample* of them all."""
    every = [(sweep, at) for sweep in SWEEPS for at in range(1, points + 1)]
    if sample is None:
        return every
    draw = random.Random(seed)
    return [(SWEEPS[number % len(SWEEPS)], draw.randint(1, points)) for number in range(sample)]


def play(folder: Path, points: Sequence[tuple[str, int]], seed: int, *, control: Sequence[str] = ()) -> Iterator[Point]:
    """Try the points in a process that the library watches."""
    within = ["--within", str(folder / "disk"), "--seed", str(seed), *control]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.sweep", *within],
        env=disk.environ(folder / "disk"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for point in points:
                process.stdin.write(json.dumps(point).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise AssertionError(f"the process ended at {point}")
                yield Point(**json.loads(line))
        finally:
            process.stdin.close()
            process.kill()


def serve(folder: Path, seed: int) -> None:
    """Try the points that are asked for on standard input; an answer is a line."""
    device = disk.Disk()
    for number, line in enumerate(sys.stdin):
        sweep, at = json.loads(line)
        place = folder / f"point{number}"
        prepare(place, seed + at, device, killed=at % 2 == 0)
        point = asyncio.run(asyncio.wait_for(try_point(sweep, at, seed + at, place, device), 60))
        print(json.dumps({name: getattr(point, name) for name in Point.__dataclass_fields__}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200, help="how many of each sweep")
    parser.add_argument("--sample", type=int, help="only so many points, chosen by the seed")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep-log", action="store_true", help="a weaker store, which must be found out")
    options = parser.parse_args()
    if options.within:
        if options.keep_log:
            sqlite._empty_log = lambda db: None
        serve(options.within, options.seed)
        return 0
    print(f"seed {options.seed}", flush=True)
    report = Report(options.seed)
    try:
        with scratch() as folder:
            for point in play(folder, chosen(options.points, options.seed, options.sample), options.seed):
                report.points.append(point)
                if len(report.points) % 200 == 0:
                    print(f"{len(report.points)} points", flush=True)
    finally:
        print(report.table())
    for sentence in report.findings[:40]:
        print(f"BROKEN: {sentence}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
