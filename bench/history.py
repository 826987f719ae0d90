"""Measure what a long history costs: claim and list with no finished delivery in the store, and with a million.

    python bench/history.py [--finished 1000000] [--rounds 300]

Both stores are open at once and take turns, so that what disturbs the machine disturbs both. Each holds
500 queued deliveries that are not due, for the lists to show; one round accepts an event, claims it,
settles it and lists. Medians; the history has four functions, attempts and dedup keys.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from triggerhub import ids
from triggerhub.model import Attempt, Complete, Event, State
from triggerhub.store import Intake, Lane, Owed, Query, Settlement, Want
from triggerhub.stores.sqlite import SQLiteStore, open_store
from triggerhub.stores.transaction import Transaction

FUNCTIONS = ("f", "g", "h", "i")
PAYLOAD = b'{"pad":"' + b"x" * 300 + b'"}'
ENDS = (*[(2, "succeeded")] * 45, *[(3, "dead")] * 4, (4, "cancelled"))
"""A state and its name: of fifty deliveries one was cancelled and four died."""
CHUNK = 50_000
WAITING = 500
TARGET = 1.2
_numbers = itertools.count(1)


def now() -> int:
    return time.time_ns() // 1_000_000


def event(due: int | None = None) -> Event:
    number = next(_numbers)
    moment = now()
    key = f"{moment:x}-{number}"
    return Event(id=ids.event_id(moment, 0, number), trigger="t", time=moment, data=PAYLOAD, dedup_key=key, due=due)


async def seed(store: SQLiteStore, finished: int) -> None:
    """Write *finished* deliveries, a millisecond apart, as the store itself would have left them."""
    first = now() - finished - 1000
    for start in range(0, finished, CHUNK):
        await store.writer.do(lambda t, start=start: _seed(t, range(start, min(start + CHUNK, finished)), first))
    assert await store.audit() == []


def _seed(t: Transaction, numbers: range, first: int) -> None:
    def rows() -> Iterator[tuple[int, int, str, str, str, int]]:
        for number in numbers:
            moment = first + number
            event = ids.event_id(moment, 0, 0)
            yield number, moment, event, ids.delivery_id(event, 1), FUNCTIONS[number % 4], ENDS[number % 50][0]

    def many(into: str, values: Iterator[tuple[Any, ...]], width: int) -> None:
        t.db.executemany(f"INSERT INTO {into} VALUES ({', '.join('?' * width)})", values)

    (last,) = t.db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    many(
        "event (seq, time, data, crc, hops)",
        ((last + 1 + n - numbers.start, at, PAYLOAD, 0, 0) for n, at, _, _, _, _ in rows()),
        5,
    )
    many(
        "delivery (id, event, trigger, function, state, blocked, attempts, created, due, finished, version, duration, "
        "dedup_key, owner, claims, lost)",
        (
            (one, last + 1 + n - numbers.start, "t", function, state, 0, 1, at, at, at + 5, "abc", 4.0, str(n), 1, 1, 0)
            for n, at, _, one, function, state in rows()
        ),
        16,
    )
    many(
        "attempt (delivery, claim, request, started, duration, version, outcome)",
        ((one, 1, one, at, 4.0, "abc", "returned") for _, at, _, one, _, _ in rows()),
        7,
    )
    many("key", (("t", f"{at:x}", event, 1, 2**42) for _, at, event, _, _, _ in rows()), 5)
    for number in numbers:
        t.count(FUNCTIONS[number % 4], "t", ENDS[number % 50][1], 1)
    t.count("", "", "accepted", len(numbers))


async def one_round(store: SQLiteStore, times: dict[str, list[float]]) -> None:
    async def timed(name: str, verb: Callable[[], Awaitable[Any]]) -> Any:
        began = time.perf_counter()
        answer = await verb()
        times[name].append((time.perf_counter() - began) * 1000)
        return answer

    intake = Intake(event=event(), owed=(Owed(function="f"),), keep=60_000)
    await timed("append", lambda: store.append([intake], now=now()))
    ((grant,),) = (await timed("claim", lambda: store.claim([Want(lane=Lane("t", "f"), limit=10)], now=now())),)
    (claimed,) = grant.claimed
    record = Attempt(request_id="r", started=now(), duration_ms=1.0, version="abc", outcome="returned")
    settlement = Settlement(delivery=claimed.delivery.id, fence=claimed.fence, decision=Complete(), attempt=record)
    assert await timed("settle", lambda: store.settle([settlement], now=now())) == [True]
    for name, query in (
        ("list", Query()),
        ("list --state queued", Query(state=State.QUEUED)),
        ("list --function g", Query(function="g")),
        ("list --since 1h", Query(since=now() - 3_600_000)),
        ("list --state dead", Query(state=State.DEAD)),
        ("list --state succeeded", Query(state=State.SUCCEEDED)),
    ):
        await timed(name, lambda query=query: store.page(query))


async def measure(finished: int, rounds: int, folder: Path) -> bool:
    async with open_store(folder / "none") as none, open_store(folder / "many") as many:
        began = time.perf_counter()
        await seed(many, finished)
        print(f"{finished:,} finished deliveries written in {time.perf_counter() - began:.0f} s, ", end="")
        print(f"{(folder / 'many' / 'hub.db').stat().st_size >> 20} MB; SQLite {sqlite3.sqlite_version}")
        stores = {"none": none, "many": many}
        for store in stores.values():
            later = now() + 86_400_000
            waiting = [Intake(event=event(later), owed=(Owed(function=FUNCTIONS[n % 4]),)) for n in range(WAITING)]
            await store.append(waiting, now=now())
        times: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in stores}
        for turn in range(rounds):
            for name in sorted(stores, reverse=bool(turn % 2)):
                await one_round(stores[name], times[name])
    print(f"{'':24}{'with none':>12}{'with many':>12}{'ratio':>8}")
    within = True
    for verb, few in times["none"].items():
        before, after = statistics.median(few), statistics.median(times["many"][verb])
        # With none there is nothing finished to list: the time alone counts.
        alike = verb not in ("list --state dead", "list --state succeeded")
        ratio = f"{after / before:8.2f}" if alike else f"{'–':>8}"
        within = within and (not alike or after / before <= TARGET)
        print(f"{verb:24}{before:9.2f} ms{after:9.2f} ms{ratio}")
    return within


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where to put the databases (the disk matters)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triggerhub-history-", dir=given.folder) as folder:
        within = asyncio.run(measure(given.finished, given.rounds, Path(folder)))
    print(f"{'within' if within else 'NOT within'} {TARGET}×")
    sys.exit(not within)


if __name__ == "__main__":
    main()
