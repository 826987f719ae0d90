"""Use a store as a hub would, many at once, and keep account of what it answers.

``python -m tests.powercut.workload DATA SEED COMMANDS`` does so in a process of its own, which the
library records; it ends by itself, or in the middle as a killed process would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.powercut.disk import Disk
from tests.powercut.ledger import Book
from triggerhub import ids
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.model import Attempt, Bury, Complete, Decision, Event, Fault, Retry
from triggerhub.store import Answered, Claimed, Created, Intake, Lane, Owed, Settlement, Want
from triggerhub.stores import folder, writer
from triggerhub.stores.blobs import LARGE
from triggerhub.stores.sqlite import SQLiteStore, open_store

START = 1_767_225_600_000
LANES = (Lane("hook", "work"), Lane("hook", "other"), Lane("topic", "work"))
PARKED = "parked"
"""A trigger that nobody claims from: its deliveries are cancelled."""
CONTROLS = ("", "normal", "unsynced", "nameless")
"""Weaker stores: ``durability = "normal"``, SQLite's syncs off, folders never synced."""


class Work:
    """Gives commands to one opening of a store."""

    def __init__(self, store: SQLiteStore, book: Book, draw: random.Random, *, base: int = 0) -> None:
        self.store = store
        self.book = book
        self.draw = draw
        self.refused = self.broken = 0
        self.believed: list[int] = []
        """Commands that were given after the store was found broken, and were acknowledged."""
        self.patience = 1000
        """How often an outcome that a full disk refuses is tried again."""
        self._broken_at: int | None = None
        self._now = START + base
        self._dead: list[str] = []
        self._parked: list[str] = []
        self._keyed: list[Intake] = []
        self._checkpoint = 0
        self._turns: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (5, self.append),
            (1, self.append_again),
            (2, self.append_many),
            (6, self.claim_and_settle),
            (1, self.cancel),
            (1, self.redrive),
            (1, self.discard),
            (1, self.checkpoint),
            (1, self.keep_answer),
            (1, self.prune),
        ]

    async def run(self, commands: int, *, at_once: int = 6) -> None:
        """Give *commands* of them, from *at_once* sides."""
        left = [commands]

        async def side() -> None:
            while left[0] > 0:
                left[0] -= 1
                weights = [weight for weight, _ in self._turns]
                _, turn = self.draw.choices(self._turns, weights)[0]
                try:
                    await turn()
                except StoreFull:
                    self.refused += 1
                except StoreBroken:
                    self.broken += 1
                    if self._broken_at is None:
                        self._broken_at = self.book.number

        async with asyncio.TaskGroup() as sides:
            for _ in range(at_once):
                sides.create_task(side())

    async def _do(self, call: Awaitable[Any], values: dict[str, Any], **more: Any) -> Any:
        number = self.book.will(values, **more)
        try:
            answer = await call
        except StoreFull:
            self.book.refused(number)
            raise
        if self._broken_at is not None and number > self._broken_at:
            self.believed.append(number)
        self.book.did(number)
        return answer

    # commands

    async def append(self) -> None:
        intake = self._intake()
        await self._append([intake])

    async def append_again(self) -> None:
        if self._keyed:
            first = self.draw.choice(self._keyed)
            again = self._intake()
            event = replace(again.event, trigger=first.event.trigger, dedup_key=first.event.dedup_key)
            (answer,) = await self._do(self.store.append([replace(again, event=event)], now=self.now()), {})
            assert answer.event == first.event.id, "the key is known"

    async def append_many(self) -> None:
        self._checkpoint += 1
        key, value = f"k{self.draw.randrange(3)}-{self._checkpoint}", str(self._checkpoint)
        await self._append(
            [self._intake() for _ in range(self.draw.randint(2, 4))],
            {("one", key): value},
        )

    async def _append(self, intakes: list[Intake], checkpoints: dict[tuple[str, str], str] | None = None) -> None:
        values, data = _owed(intakes)
        values |= {f"checkpoint {scope} {key}": value for (scope, key), value in (checkpoints or {}).items()}
        answers = await self._do(self.store.append(intakes, now=self.now(), checkpoints=checkpoints), values, data=data)
        for intake, answer in zip(intakes, answers, strict=True):
            assert isinstance(answer, Created), answer
            if intake.event.dedup_key is not None:
                self._keyed.append(intake)
            if intake.event.trigger == PARKED:
                self._parked += answer.deliveries

    async def claim_and_settle(self) -> None:
        lane = self.draw.choice(LANES)
        (grant,) = await self.store.claim([Want(lane=lane, limit=self.draw.randint(1, 5))], now=self.now() + 60_000)
        if not grant.claimed:
            return
        await asyncio.sleep(self.draw.choice((0, 0, 0.001)))
        now = self.now()
        settlements = [self._settlement(one, now) for one in grant.claimed]
        while True:
            values: dict[str, Any] = {}
            data: dict[str, int] = {}
            for one in settlements:
                values[f"delivery {one.delivery}"] = _becomes(one.decision, now)
                more, sums = _owed(list(one.then))
                values |= more
                data |= sums
            try:
                assert all(await self._do(self.store.settle(settlements, now=now), values, data=data))
                break
            except StoreFull:
                self.refused += 1
                self.patience -= 1
                if self.patience <= 0:
                    raise
                await asyncio.sleep(0.002)
        self._dead += [one.delivery for one in settlements if isinstance(one.decision, Bury)]

    async def cancel(self) -> None:
        if self._parked:
            one, now = self._parked.pop(), self.now()
            await self._do(self.store.cancel([one], now=now, reason="asked"), {f"delivery {one}": ["cancelled", now]})

    async def redrive(self) -> None:
        if self._dead:
            one = self._dead.pop()
            await self._do(self.store.redrive([one], now=self.now()), {f"delivery {one}": "open"})

    async def discard(self) -> None:
        if self._dead:
            one = self._dead.pop()
            await self._do(self.store.discard([one], now=self.now()), {f"delivery {one}": None})

    async def checkpoint(self) -> None:
        self._checkpoint += 1
        name, value = f"n{self._checkpoint}", str(self._checkpoint)
        await self._do(self.store.set_checkpoints("two", {name: value}), {f"checkpoint two {name}": value})

    async def keep_answer(self) -> None:
        await self.store.keep_answer(Answered(function="work", key=str(self.now()), payload=b"{}", until=self.now()))

    async def prune(self) -> None:
        before = self.now() - 150
        dead = {"work": 0, "other": 0}  # they stay, to be redriven or discarded
        await self._do(
            self.store.prune(finished_before=before, dead_before=dead, now=self.now(), limit=20), {}, prune=before
        )

    # their parts

    def now(self) -> int:
        self._now += 1
        return self._now

    def _intake(self) -> Intake:
        draw, now = self.draw, self.now()
        lane = draw.choice(LANES)
        trigger = PARKED if draw.random() < 0.15 else lane.trigger
        return Intake(
            event=Event(
                id=ids.event_id(now, 0, draw.getrandbits(54)),
                trigger=trigger,
                data=self._payload(),
                time=now,
                dedup_key=str(now) if draw.random() < 0.3 else None,
                ordering_key=str(draw.randrange(4)) if draw.random() < 0.3 else None,
                due=now + 5000 if draw.random() < 0.1 else None,
            ),
            owed=tuple(Owed(function=name) for name in ("work", "other")[: draw.randint(1, 2)]),
            keep=1_000_000_000,
        )

    def _payload(self) -> bytes:
        draw = self.draw
        match draw.random():
            case chance if chance < 0.05:
                return bytes([draw.randrange(4)]) * (LARGE + 1)  # a file, often the same
            case chance if chance < 0.1:
                return draw.randbytes(LARGE + 1000)
            case _:
                return draw.randbytes(draw.choice((50, 200, 1000, 6000)))

    def _settlement(self, claimed: Claimed, now: int) -> Settlement:
        draw = self.draw
        decision: Decision = draw.choice((Complete(), Complete(), Complete(), Retry(now), Bury("enough")))
        attempt = Attempt(
            request_id=claimed.delivery.id,
            started=now,
            duration_ms=1.0,
            version="1",
            outcome="returned" if isinstance(decision, Complete) else "raised",
            error=None if isinstance(decision, Complete) else Fault(type="Error", message="no"),
            payload=b"null",
        )
        then = (self._intake(),) if isinstance(decision, Complete) and draw.random() < 0.1 else ()
        return Settlement(
            delivery=claimed.delivery.id, fence=claimed.fence, decision=decision, attempt=attempt, then=then
        )


def _owed(intakes: list[Intake]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what the ledger says of new events."""
    made = [
        (ids.delivery_id(one.event.id, number), zlib.crc32(one.event.data))
        for one in intakes
        for number in range(1, len(one.owed) + 1)
    ]
    keys = {f"key {i.event.trigger} {i.event.dedup_key}": i.event.id for i in intakes if i.event.dedup_key is not None}
    return {f"delivery {one}": "open" for one, _ in made} | keys, dict(made)


def _becomes(decision: Decision, now: int) -> Any:
    match decision:
        case Complete():
            return ["succeeded", now]
        case Bury():
            return ["dead", now]
        case Retry():
            return "open"


async def _live(options: argparse.Namespace) -> None:
    # The log is moved often, so that every cut is near some of it.
    writer.CHECKPOINT_IDLE, writer.CHECKPOINT_ANYWAY = 60, 200
    book = Book(Disk().mark)
    book.resume(options.life * 1_000_000)
    draw = random.Random(options.seed * 10 + options.life)
    if options.control == "nameless":
        folder.sync = lambda place: None
    async with open_store(options.data, durability="normal" if options.control == "normal" else "full") as store:
        if options.control == "unsynced":
            await store.writer._connection.run(lambda db: db.execute("PRAGMA synchronous = OFF"))
            store._blobs._sync = False
        book.opened(store.owner)
        await store.reap()
        await Work(store, book, draw, base=options.life * 1_000_000).run(options.commands)
        if options.killed:
            os._exit(9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("commands", type=int)
    parser.add_argument("--life", type=int, default=0)
    parser.add_argument("--control", choices=CONTROLS, default="")
    parser.add_argument("--killed", action="store_true", help="end as if killed")
    asyncio.run(_live(parser.parse_args()))


if __name__ == "__main__":
    main()
