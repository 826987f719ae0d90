"""Work on a store as fast as it goes, and say on stdout what was acknowledged: the process that is killed."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

from triggerhub import ids
from triggerhub.model import Complete, Event, Retry
from triggerhub.store import Intake, Lane, Owed, Settlement, Want
from triggerhub.stores.sqlite import SQLiteStore, open_store

_numbers = itertools.count(1)
LANE = Lane("t", "f")


def now() -> int:
    return time.time_ns() // 1_000_000


def say(verb: str, names: list[str]) -> None:
    print(verb, *names, flush=True)


async def send(store: SQLiteStore, sender: int) -> None:
    for turn in itertools.count():
        number = next(_numbers)
        size = 70_000 if number % 25 == 0 else 300
        event = Event(
            id=ids.event_id(now(), number & 0xFFF, number),
            trigger="t",
            time=now(),
            data=b"%d " % number * (size // 8),
            dedup_key=f"{sender}-{turn}-{now()}",
            ordering_key=f"k{number % 5}",
        )
        given = Intake(event=event, owed=(Owed(function="f"),), keep=60_000)
        (answer,) = await store.append([given], now=now(), checkpoints={("s", str(sender)): event.id})
        say("accepted", list(answer.deliveries))


async def work(store: SQLiteStore) -> None:
    while True:
        (grant,) = await store.claim([Want(lane=LANE, limit=20)], now=now())
        batch = [
            Settlement(
                delivery=one.delivery.id, fence=one.fence, decision=Retry(now()) if number % 7 == 6 else Complete()
            )
            for number, one in enumerate(grant.claimed)
        ]
        held = await store.settle(batch, now=now())
        done = [one.delivery for one, ok in zip(batch, held, strict=True) if ok and one.decision == Complete()]
        say("succeeded", done)
        if not batch:
            await asyncio.sleep(0.001)


async def main(data: Path) -> None:
    async with open_store(data) as store:
        await store.reap()
        say("open", [str(store.owner)])
        await asyncio.gather(*(send(store, sender) for sender in range(8)), work(store), work(store))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
