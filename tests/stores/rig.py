"""Stores to put to the test, and short words for what every test does with them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triggerhub import ids
from triggerhub.model import Attempt, Complete, Decision, Delivery, Event, Fault, Millis
from triggerhub.store import (
    Answered,
    Appended,
    Claimed,
    Created,
    Fence,
    Grant,
    Intake,
    Lane,
    Owed,
    Query,
    Settlement,
    Store,
    Want,
)
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import open_store

NOW: Millis = 1_767_225_600_000
LANE = Lane("t", "f")
_numbers = itertools.count(1)


def new_id(at: Millis = NOW) -> str:
    """Return an event id greater than all before it of the same moment."""
    return ids.event_id(at, 0, next(_numbers))


def intake(
    *functions: str,
    trigger: str = "t",
    at: Millis = NOW,
    event: str | None = None,
    key: str | None = None,
    keep: Millis = 0,
    order: str | None = None,
    due: Millis | None = None,
    data: bytes = b'{"n":1}',
    hops: int = 0,
    trace: str | None = None,
) -> Intake:
    """Return an event owed to *functions* (``f`` if none is named)."""
    made = Event(
        id=event or new_id(at),
        trigger=trigger,
        time=at,
        data=data,
        dedup_key=key,
        ordering_key=order,
        due=due,
        hops=hops,
        trace=trace,
    )
    return Intake(event=made, owed=tuple(Owed(function=one) for one in functions or ("f",)), keep=keep)


def attempt(outcome: str = "returned", *, error: Fault | None = None, payload: bytes | None = None) -> Attempt:
    return Attempt(
        request_id="r-1",
        started=NOW,
        duration_ms=1.5,
        version="abc",
        outcome=outcome,
        error=error,
        payload=payload,
        init_ms=20.0,
        memory=1024,
        level="isolated",
    )


@dataclass
class Hand:
    """A store, the time, and the verbs with their usual arguments left out."""

    store: Store
    now: Millis = NOW

    async def accept(self, *intakes: Intake) -> list[Appended]:
        return await self.store.append(intakes, now=self.now)

    async def put(self, *functions: str, **settings: Any) -> str:
        """Accept one new event and return the id of its first delivery."""
        (answer,) = await self.accept(intake(*functions, **settings))
        assert isinstance(answer, Created), answer
        return answer.deliveries[0]

    async def grant(self, limit: int = 100, *, lane: Lane = LANE, size: int = 1, window: Millis = 0) -> Grant:
        (grant,) = await self.store.claim([Want(lane=lane, limit=limit, size=size, window=window)], now=self.now)
        return grant

    async def take(self, limit: int = 100, *, lane: Lane = LANE) -> list[Claimed]:
        return (await self.grant(limit, lane=lane)).claimed

    async def take_ids(self, limit: int = 100, *, lane: Lane = LANE) -> list[str]:
        return [one.delivery.id for one in await self.take(limit, lane=lane)]

    async def settle(
        self,
        claimed: Claimed,
        decision: Decision | None = None,
        *,
        attempt: Attempt | None = None,
        answer: Answered | None = None,
        then: Sequence[Intake] = (),
        fence: Fence | None = None,
    ) -> bool:
        settlement = Settlement(
            delivery=claimed.delivery.id,
            fence=fence or claimed.fence,
            decision=decision or Complete(),
            attempt=attempt,
            answer=answer,
            then=tuple(then),
        )
        (held,) = await self.store.settle([settlement], now=self.now)
        return held

    async def look(self, delivery: str) -> Delivery:
        detail = await self.store.get(delivery)
        assert detail is not None, delivery
        return detail.delivery

    async def listed(self, **query: Any) -> list[str]:
        return [one.id for one in await self.store.page(Query(**query))]


@dataclass
class Home:
    """Where a store keeps its rows from one opening to the next."""

    kind: str
    path: Path
    _memory: MemoryStore | None = field(default=None)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Hand]:
        if self.kind == "memory":
            if self._memory is None:
                self._memory = MemoryStore()
            else:
                self._memory.reopen()
            yield Hand(self._memory)
        else:
            async with open_store(self.path) as store:
                yield Hand(store)


async def accounts(store: Store) -> None:
    """Assert that the ledgers agree with the rows, and add up."""
    assert await store.audit() == []
    assert (await store.stats()).drift == 0
