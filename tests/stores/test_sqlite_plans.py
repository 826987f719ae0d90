"""Every statement finds its rows by an index, so that a long history slows nothing down."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.stores.rig import LANE, NOW, Hand, accounts, attempt, intake
from triggerhub.model import Bury, Complete, Fault, Leave, Retry, State
from triggerhub.store import Answered, Lane, Query, Record, Settlement
from triggerhub.stores.sqlite import SQLiteStore, open_store

SMALL = {"tally", "lease", "opening", "j", "json_each", "v"}
"""Tables of a few rows, and the lists that are given to a statement."""


@asynccontextmanager
async def traced(store: SQLiteStore) -> AsyncGenerator[list[str]]:
    """Collect every statement that runs on any connection."""
    seen: list[str] = []
    connections = (store.writer._connection, store._quick, store._slow)
    for one in connections:
        await one.run(sqlite3.Connection.set_trace_callback, seen.append)
    yield seen
    for one in connections:
        await one.run(sqlite3.Connection.set_trace_callback, None)


async def use_every_verb(hand: Hand) -> None:
    """Do all that a hub and its people do."""
    store = hand.store
    for number in range(30):
        await hand.put("f", "g", key=f"k{number}", keep=100, order=f"o{number % 3}" if number % 2 else None)
    await hand.put(data=b"x" * 100_000)
    await hand.put(due=NOW + 10)
    for decision in (Complete(), Bury("no"), Retry(NOW), Retry(NOW, counted=False)):
        for claimed in await hand.take(3):
            answer = Answered(function="f", key=claimed.delivery.id, payload=b"1", until=NOW + 50)
            await hand.settle(claimed, decision, attempt=attempt(), answer=answer, then=[intake("h", order="o")])
    (_, batch) = await hand.grant(5, size=5, window=100), await hand.grant(5, lane=Lane("t", "g"), size=100, window=100)
    assert batch.claimed == []
    for decision in (Leave("left"), Complete()):
        await store.record([Record(intake=intake(key="r", keep=100), decision=decision, attempt=attempt())], now=NOW)
    await store.known("t", ["k1", "r"], now=NOW)
    await store.reap()
    await store.answer([("f", "k")], now=NOW)
    await store.keep_answer(Answered(function="f", key="k", payload=b"1", until=NOW))
    await store.lease("n", "a", 10, now=NOW)
    await store.unlease("n", "a")
    await store.set_checkpoints("s", {"a": "1", "b": None})
    await store.checkpoints("s", "a")
    whole = await store.page(Query())
    for query in (
        Query(function="f"),
        Query(trigger="t"),
        Query(state=State.DEAD),
        Query(function="f", trigger="t", state=State.SUCCEEDED, since=NOW - 10, before=whole[3].id),
        Query(since=NOW, before=whole[3].id),
    ):
        await store.page(query)
    await store.get(whole[0].id)
    await store.event(whole[0].event_id)
    finished = [one.id for one in whole if one.state.finished]
    assert await store.redrive(finished[:2], now=NOW)
    assert await store.cancel([one.id for one in whole], now=NOW, reason="no")
    dead = [one.id for one in await store.page(Query(state=State.DEAD))]
    assert await store.discard(dead[:1], now=NOW)
    assert await store.prune(finished_before=NOW + 100, dead_before={"f": NOW + 100}, now=NOW + 1000, limit=20)
    await store.stats()
    await store.size()


async def test_no_statement_reads_a_whole_table_or_sorts(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        async with traced(store) as seen:
            await use_every_verb(Hand(store))
        await accounts(store)
        statements = {one for one in seen if re.match("SELECT|INSERT|UPDATE|DELETE", one)}
        assert len({re.sub(r"'[^']*'|\d+", "?", one) for one in statements}) > 40
        plans = await store._quick.run(_plans, statements)
    wrong = [(line, one[:300]) for one, lines in plans.items() for line in lines if _slow(line)]
    assert wrong == []


def _plans(db: sqlite3.Connection, statements: set[str]) -> dict[str, list[str]]:
    return {one: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {one}")] for one in statements}


def _slow(line: str) -> bool:
    if "TEMP B-TREE" in line or "AUTOMATIC" in line:
        return True
    scanned = re.match(r"SCAN (\w+)", line)
    return scanned is not None and scanned[1] not in SMALL and not line.endswith("CONSTANT ROWS")


async def test_the_statements_of_the_hot_path_use_the_index_made_for_them(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        for _ in range(3):
            await hand.put(order="o")
        async with traced(store) as claiming:
            assert await hand.take(lane=LANE)
        async with traced(store) as listing:
            await store.page(Query(state=State.QUEUED, function="f"))
        async with traced(store) as listing_all:
            await store.page(Query())
        claim = await store._quick.run(_plans, {one for one in claiming if "due <=" in one or "ORDER BY due" in one})
        some = await store._quick.run(_plans, {one for one in listing if "FROM delivery" in one})
        whole = await store._quick.run(_plans, {one for one in listing_all if "FROM delivery" in one})
    assert len(claim) == 2
    assert all("USING INDEX delivery_claimable" in lines[0] for lines in claim.values())
    assert len(some) == 2
    assert all(re.search("USING (COVERING )?INDEX delivery_list", lines[0]) for lines in some.values())
    assert [lines[0].partition(" USING ")[2] for lines in whole.values()] == ["PRIMARY KEY (id>? AND id<?)"]


async def test_a_search_reads_the_dead_by_their_own_index_and_a_bounded_number_of_others(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        await hand.put(key="k", keep=100)
        await hand.put()
        (one, _) = await hand.take()
        await hand.settle(one, Bury("no"), attempt=attempt(error=Fault(type="E", message="m")))
        async with traced(store) as seen:
            await store.page(Query(error="m"))
            await store.page(Query(key="k"))
            await store.graves()
        plans = await store._slow.run(_plans, {one for one in seen if "FROM delivery" in one})
        dead = [lines[0] for one, lines in plans.items() if "INDEXED BY" in one]
        others = {one: lines for one, lines in plans.items() if "INDEXED BY" not in one}
    assert len(dead) == 2
    assert all("USING COVERING INDEX delivery_dead" in line for line in dead)
    assert len(others) == 2
    assert all("LIMIT 100000" in one for one in others)
    assert all(
        re.search("SEARCH delivery USING (INDEX delivery_list|PRIMARY KEY)", str(lines)) for lines in others.values()
    )


async def test_what_a_claim_reads_does_not_grow_with_history(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)

        async def steps() -> int:
            """Return how often SQLite's machine was interrupted on the way, every 10 of its instructions."""
            count = 0

            def one() -> int:
                nonlocal count
                count += 1
                return 0

            await hand.put(order="o")
            await store.writer._connection.run(sqlite3.Connection.set_progress_handler, one, 10)
            (claimed,) = await hand.take()
            await store.writer._connection.run(sqlite3.Connection.set_progress_handler, None, 10)
            await hand.settle(claimed, attempt=attempt())
            return count

        before = await steps()
        await hand.accept(*(intake() for _ in range(2000)))
        done = [
            Settlement(delivery=one.delivery.id, fence=one.fence, decision=Complete(), attempt=attempt())
            for one in await hand.take(2000)
        ]
        assert all(await store.settle(done, now=NOW))
        assert await steps() <= before * 1.2 + 2
