"""Damage a store's files at random: what is handed out is what was put in, or somebody is told.

``python -m tests.faults.corruption --times 200 --seed 7``: bits flipped, pages zeroed or swapped, files cut
short. Each copy is opened, asked and worked off as the hub does it. Exits with 1 when a delivery came out
wrong, twice or not at all and nobody was told.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.sheet import Sheet
from tests.stores.rig import NOW, Hand, intake
from triggerhub import ids
from triggerhub.errors import StoreBroken, TriggerhubError
from triggerhub.model import Complete
from triggerhub.store import Claimed, Created, Lane, Settlement
from triggerhub.stores.sqlite import open_store

PAGE = 4096
LANES = (Lane("t", "f"), Lane("t", "g"))
KINDS = ("bit", "bits", "zeroed page", "swapped pages", "cut short", "payload file")


@dataclass
class Truth:
    """What was put in, by delivery: its lane and its payload's checksum."""

    queued: dict[str, tuple[Lane, int]] = field(default_factory=dict)


async def make(data: Path, events: int) -> Truth:
    """Make a store with a queue and a history, some payloads in files of their own."""
    truth = Truth()
    async with open_store(data) as store:
        hand = Hand(store)
        for number in range(events):
            size = 90_000 if number % 20 == 0 else 40 + number % 900
            payload = b'{"n":%d,"pad":"%s"}' % (number, b"x" * size)
            order = f"line-{number % 7}" if number % 3 == 0 else None
            (told,) = await hand.accept(
                intake("f", "g", event=ids.event_id(NOW, 0, number + 1), data=payload, order=order)
            )
            assert isinstance(told, Created)
            for lane, one in zip(LANES, told.deliveries, strict=True):
                truth.queued[one] = (lane, zlib.crc32(payload))
        for lane in LANES:
            for claimed in await hand.take(events // 4, lane=lane):
                await hand.settle(claimed)
                del truth.queued[claimed.delivery.id]
    return truth


def damage(data: Path, kind: str, draw: random.Random) -> None:
    path = data / "hub.db"
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE
    match kind:
        case "bit" | "bits":
            for _ in range(1 if kind == "bit" else 20):
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        case "zeroed page":
            at = draw.randrange(pages) * PAGE
            content[at : at + PAGE] = bytes(PAGE)
        case "swapped pages":
            one, other = (number * PAGE for number in draw.sample(range(pages), 2))
            content[one : one + PAGE], content[other : other + PAGE] = (
                content[other : other + PAGE],
                content[one : one + PAGE],
            )
        case "cut short":
            del content[draw.randrange(1, len(content)) :]
        case _:
            path = draw.choice(sorted((data / "blobs").iterdir()))
            content = bytearray(path.read_bytes())
            if draw.random() < 0.5:
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            else:
                del content[draw.randrange(len(content)) :]
    path.write_bytes(content)


@dataclass
class Seen:
    """What a damaged store handed out, and what it said."""

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What a person is told: an error with its hint, the reason of a dead letter, a sentence of the audit."""
    unclear: list[str] = field(default_factory=list)
    """Errors that are no sentence for a person."""
    logged: list[str] = field(default_factory=list)


async def work_off(data: Path, truth: Truth) -> Seen:
    """Open the store and claim and settle until nothing is left, as the hub does."""
    seen, came = Seen(), Counter[str]()
    try:
        async with open_store(data, durability="normal") as store:
            hand = Hand(store, now=NOW + 1000)
            await store.reap()
            seen.told += await store.audit()
            for lane in LANES:
                try:
                    while await some(hand, lane, truth, seen, came):
                        pass
                except (TypeError, ValueError, sqlite3.Error) as error:
                    # What a dispatcher logs and tries again; the audit tells why.
                    seen.logged.append(f"{type(error).__name__}: {error}")
            seen.told += await store.audit()
            if not seen.told:
                seen.unclear += seen.logged
    except TriggerhubError as error:
        seen.told.append(f"{error.message}. {error.hint}")
        if isinstance(error, StoreBroken) and "restore" not in (error.hint or ""):
            seen.unclear.append(str(error))
        return seen
    except Exception as error:
        seen.unclear.append(f"{type(error).__name__}: {error}")
        return seen
    seen.missing = sorted(truth.queued.keys() - came.keys())
    seen.wrong += [f"{one} came {times} times" for one, times in came.items() if times > 1]
    return seen


async def some(hand: Hand, lane: Lane, truth: Truth, seen: Seen, came: Counter[str]) -> bool:
    """Claim and settle some deliveries of a lane; whether there were any."""
    grant = await hand.grant(40, lane=lane)
    for one in grant.damaged:
        came[one.id] += 1
        seen.told.append(one.reason or "")
    for claimed in grant.claimed:
        came[claimed.delivery.id] += 1
        if why := differs(claimed, lane, truth):
            seen.wrong.append(why)
    done = [Settlement(delivery=one.delivery.id, fence=one.fence, decision=Complete()) for one in grant.claimed]
    await hand.store.settle(done, now=hand.now)
    return bool(grant.claimed or grant.damaged)


def differs(claimed: Claimed, lane: Lane, truth: Truth) -> str | None:
    one = claimed.delivery
    if one.id not in truth.queued:
        return f"{one.id} was not queued"
    where, checksum = truth.queued[one.id]
    if where != lane or zlib.crc32(claimed.event.data) != checksum or claimed.event.trigger != lane.trigger:
        return f"{one.id} is not what was put in"
    return None


@dataclass
class Sweep:
    """What came of each kind of damage, and sentences about what must not be."""

    told: Counter[str] = field(default_factory=Counter)
    harmless: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    def add(self, number: int, kind: str, seen: Seen) -> None:
        mark = f"{number}, {kind}: "
        if seen.told:
            self.told[kind] += 1
        elif seen.missing:
            self.silent.append(mark + seen.missing[0])
        else:
            self.harmless[kind] += 1
        self.wrong += [mark + one for one in seen.wrong]
        self.unclear += [mark + one for one in seen.unclear]

    def table(self, sheet: Sheet) -> None:
        for kind in KINDS:
            times = self.told[kind] + self.harmless[kind]
            sheet.row(f"{kind}: {times} times, told", f"{self.told[kind]}, the others did no harm")
        for name in ("wrong", "silent", "unclear"):
            for one in (found := getattr(self, name))[:3]:
                print(f"  {name}: {one}")
            what = {"wrong": "handed out wrong, or twice", "silent": "missing in silence", "unclear": "told unclearly"}
            sheet.same(what[name], len(found), 0)


def sweep(folder: Path, times: int, seed: int, events: int = 120) -> Sweep:
    """Damage so many copies of a store, and work each off."""
    draw = random.Random(seed)
    whole = folder / "whole"
    truth = asyncio.run(make(whole, events))
    found = Sweep()
    for number in range(times):
        kind = KINDS[number % len(KINDS)]
        copy = folder / "copy"
        shutil.copytree(whole, copy)
        damage(copy, kind, draw)
        found.add(number, kind, asyncio.run(work_off(copy, truth)))
        shutil.rmtree(copy)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sheet = Sheet()
    with tempfile.TemporaryDirectory() as folder:
        sweep(Path(folder), options.times, options.seed).table(sheet)
    return sheet.code()


if __name__ == "__main__":
    sys.exit(main())
