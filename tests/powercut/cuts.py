"""Cut the power under a store, again and again, and compare what it said with what it knows afterwards.

A process uses the store as a hub would and is recorded; another goes on where it was killed. Then each
cut builds what a disk may hold at that moment, in one of five models, and opens it. Run as
``python -m tests.powercut.cuts --cuts 2000 --seed 7``: exits with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut import disk, replay
from tests.powercut.ledger import Ledger, known
from tests.powercut.workload import CONTROLS
from triggerhub.errors import StoreBroken
from triggerhub.store import Want
from triggerhub.stores.sqlite import SQLiteStore, open_store

ROOT = Path(__file__).parents[2]
PROJECT = "project"
"""A project's folder is there before its hub; the folder for the hub's data is not."""
PER_RECORDING = 400
COMMANDS = 250
"""How many commands each of a recording's processes gives."""


@dataclass
class Report:
    seed: int
    cuts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    cuts_lost: Counter[str] = field(default_factory=Counter)
    cuts_corrupt: Counter[str] = field(default_factory=Counter)
    records: int = 0
    syncs: int = 0
    acknowledged: int = 0
    """The most that were acknowledged before a cut, summed over the recordings."""

    def table(self) -> str:
        lines = [
            f"seed {self.seed}: {self.records} changes, {self.syncs} syncs, {self.acknowledged} commands acknowledged"
        ]
        lines.append(f"{'model':8}{'cuts':>8}{'lost':>8}{'corrupt':>9}")
        lines += [
            f"{model:8}{self.cuts[model]:8}{self.cuts_lost[model]:8}{self.cuts_corrupt[model]:9}"
            for model in replay.MODELS
        ]
        total = [sum(counts.values()) for counts in (self.cuts, self.cuts_lost, self.cuts_corrupt)]
        lines.append(f"{'sum':8}{total[0]:8}{total[1]:8}{total[2]:9}")
        return "\n".join(lines)


def record(folder: Path, seed: int, *, control: str = "") -> list[disk.Record]:
    """Return what two processes asked of the disk, one killed and one that went on and ended well."""
    log = folder / "log"
    root = folder / "disk"
    (root / PROJECT).mkdir(parents=True)
    for life in range(2):
        arguments = [str(root / PROJECT / "var"), str(seed), str(COMMANDS), "--life", str(life)]
        arguments += ["--control", control] + ["--killed"] * (life == 0)
        ended = subprocess.run(
            [sys.executable, "-m", "tests.powercut.workload", *arguments],
            env=disk.environ(root, log),
            cwd=ROOT,
            timeout=300,
            check=False,
        )
        assert ended.returncode == (9 if life == 0 else 0)
    return disk.read(log)


def images(records: list[disk.Record], cuts: int, draw: random.Random, folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield a model, a disk as it may be found, and how many records there were by then."""
    drive = replay.Disk(folder / "disk")
    played = 0
    moments = sorted(draw.randint(1, len(records)) for _ in range(cuts))
    models = [replay.MODELS[number % len(replay.MODELS)] for number in range(cuts)]
    draw.shuffle(models)
    for moment, model in zip(moments, models, strict=True):
        drive.play(records[played:moment])
        played = moment
        image = folder / "image"
        shutil.rmtree(image, ignore_errors=True)
        (image / PROJECT).mkdir(parents=True)
        drive.image(model, draw, image)
        yield model, image, moment


async def examine(data: Path, ledger: Ledger) -> tuple[list[str], list[str]]:
    """Open what a cut left; return what is lost, and what is corrupt."""
    try:
        async with open_store(data) as store:
            there = await known(store)
            if there.integrity != "ok":
                return [], [there.integrity]
            corrupt = await store.audit()
            lost = ledger.broken(there)
            corrupt += await _goes_on(store)
    except StoreBroken as error:
        return [], [str(error)]
    return lost, corrupt


async def _goes_on(store: SQLiteStore) -> list[str]:
    """Return what is wrong once everything was given back and claimed: lines, payloads, ledgers."""
    await store.reap()
    lanes = (await store.stats()).by_lane
    late = 10**13
    await store.claim([Want(lane=lane, limit=1000) for lane in lanes], now=late)
    return await store.audit()


def play(folder: Path, cuts: int, seed: int, *, control: str = "") -> Report:
    """Record as often as *cuts* want it, cut, and examine."""
    draw = random.Random(seed)
    report = Report(seed)
    left = cuts
    while left > 0:
        place = folder / str(left)
        place.mkdir()
        records = record(place, draw.getrandbits(32), control=control)
        asyncio.run(_cut(report, records, min(left, PER_RECORDING), draw, place))
        left -= PER_RECORDING
        shutil.rmtree(place)
    return report


async def _cut(report: Report, records: list[disk.Record], cuts: int, draw: random.Random, place: Path) -> None:
    marks = [(at, one.data) for at, one in enumerate(records) if one.op == "m"]
    report.records += sum(one.op in "cktwaru" for one in records)
    report.syncs += sum(one.op == "s" for one in records)
    ledger, read = Ledger(), 0
    for model, image, moment in images(records, cuts, draw, place):
        while read < len(marks) and marks[read][0] < moment:
            ledger.read([marks[read][1]])
            read += 1
        lost, corrupt = await examine(image / PROJECT / "var", ledger)
        report.cuts[model] += 1
        report.cuts_lost[model] += bool(lost)
        report.cuts_corrupt[model] += bool(corrupt)
        report.lost += [f"cut at {moment}, {model}: {one}" for one in lost]
        report.corrupt += [f"cut at {moment}, {model}: {one}" for one in corrupt]
    report.acknowledged += ledger.acknowledged


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the images, afterwards gone: in memory where there is such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="triggerhub-", dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--control", choices=CONTROLS, default="", help="a weaker store, which must be found out")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with scratch() as folder:
        report = play(folder, options.cuts, options.seed, control=options.control)
    print(report.table())
    for sentence in (report.lost + report.corrupt)[:20]:
        print(f"BROKEN: {sentence}")
    return 1 if report.lost or report.corrupt else 0


if __name__ == "__main__":
    sys.exit(main())
