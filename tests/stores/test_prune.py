"""What housekeeping takes away, and what it must leave."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.stores.rig import LANE, NOW, Hand, accounts, attempt, intake
from triggerhub import ids
from triggerhub.model import Bury, Complete, Decision, State
from triggerhub.store import Answered, Created, Lane, Repeated
from triggerhub.stores import housekeeping
from triggerhub.stores.sqlite import open_store

LATER = NOW + 1_000_000


async def finished(hand: Hand, decision: Decision | None = None, *, at: int = NOW, function: str = "f") -> str:
    """Return a new delivery that was finished at a moment."""
    one = await hand.put(function)
    (claimed,) = await hand.take(lane=Lane("t", function))
    hand.now, now = at, hand.now
    assert await hand.settle(claimed, decision, attempt=attempt())
    hand.now = now
    return one


async def prune(hand: Hand, before: int, *, dead: dict[str, int] | None = None, limit: int = 1000) -> int:
    return await hand.store.prune(finished_before=before, dead_before=dead or {}, now=LATER, limit=limit)


@pytest.mark.parametrize("decision", [Complete(), Bury("no")])
async def test_what_ended_before_the_moment_goes(hand: Hand, decision: Decision) -> None:
    old = await finished(hand, decision, at=NOW + 100)
    kept = await finished(hand, decision, at=NOW + 200)
    assert await prune(hand, NOW + 100) == 0
    assert await prune(hand, NOW + 200) == 1
    assert await hand.store.get(old) is None
    assert await hand.store.event(ids.event_of(old)) is None
    assert await hand.listed() == [kept]
    stats = await hand.store.stats()
    assert (stats.accepted, stats.pruned, stats.drift) == (2, 1, 0)


async def test_what_was_cancelled_goes_too(hand: Hand) -> None:
    one = await hand.put()
    await hand.store.cancel([one], now=NOW, reason="no")
    assert await prune(hand, NOW + 1) == 1


async def test_what_is_queued_or_running_never_goes(hand: Hand) -> None:
    await hand.put()
    await hand.take()
    await hand.put(due=NOW + 100)
    assert await prune(hand, LATER) == 0
    assert len(await hand.listed()) == 2


async def test_what_was_redriven_is_not_old_any_more(hand: Hand) -> None:
    one = await finished(hand)
    await hand.store.redrive([one], now=NOW)
    assert await prune(hand, LATER) == 0
    (claimed,) = await hand.take()
    hand.now = NOW + 500
    await hand.settle(claimed)
    assert await prune(hand, NOW + 500) == 0
    assert await prune(hand, NOW + 501) == 1


async def test_ids_that_lie_ahead_since_the_clock_was_wrong_keep_nothing(hand: Hand) -> None:
    ahead = ids.event_id(LATER + 1_000_000, 0, 0)
    await hand.accept(intake(event=ahead))
    (claimed,) = await hand.take()
    hand.now = NOW + 100
    await hand.settle(claimed)
    assert await prune(hand, NOW + 100) == 0
    assert await prune(hand, NOW + 101) == 1


async def test_dead_letters_have_their_functions_own_moment(hand: Hand) -> None:
    f, g = await finished(hand, Bury("no"), at=NOW + 50), await finished(hand, Bury("no"), at=NOW + 50, function="g")
    done = await finished(hand, at=NOW + 50, function="g")
    assert await prune(hand, NOW, dead={"g": NOW + 51}) == 1
    assert await hand.listed() == [done, f]
    assert await prune(hand, NOW + 51, dead={"f": NOW}) == 1
    assert await hand.listed() == [f]
    assert g not in await hand.listed()


async def test_at_most_the_limit_goes_at_a_time(hand: Hand) -> None:
    for number in range(7):
        await finished(hand, Bury("no") if number % 2 else None)
    gone = []
    while count := await prune(hand, LATER, limit=3):
        gone.append(count)
    assert gone == [3, 3, 1]
    assert (await hand.store.stats()).pruned == 7


async def test_of_large_ones_few_go_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOAD", 200_000)
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        for _ in range(5):
            await hand.put(data=b"x" * 50_000)
        for claimed in await hand.take():
            await hand.settle(claimed, attempt=attempt(payload=b"y" * 50_000))
        gone = []
        while count := await prune(hand, LATER):
            gone.append(count)
    assert gone == [2, 2, 1]


async def test_large_answers_go_in_several_transactions_of_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOAD", 200_000)
    async with open_store(tmp_path / "var") as store:
        for number in range(5):
            await store.keep_answer(Answered(function="f", key=str(number), payload=b"1" * 100_000, until=NOW))
        before = store.writer.groups
        assert await prune(Hand(store), NOW) == 0
        assert await store.answer([("f", str(number)) for number in range(5)], now=NOW - 1) == [None] * 5
        assert store.writer.groups - before == 3


async def test_an_event_goes_with_its_last_delivery(hand: Hand) -> None:
    given = intake("f", "g", data=b"x" * 100_000)
    await hand.accept(given)
    (claimed,) = await hand.take()
    await hand.settle(claimed)
    assert await prune(hand, LATER) == 1
    found = await hand.store.event(given.event.id)
    assert found is not None
    assert (found[0], [one.function for one in found[1]]) == (given.event, ["g"])
    (other,) = await hand.take(lane=Lane("t", "g"))
    assert other.event.data == given.event.data
    await hand.settle(other)
    assert await prune(hand, LATER) == 1
    assert await hand.store.event(given.event.id) is None


async def test_two_events_of_one_large_payload_do_not_share_its_end(hand: Hand) -> None:
    data = b"same" * 30_000
    await hand.put(data=data)
    (first,) = await hand.take()
    await hand.settle(first)
    await hand.put(data=data)
    assert await prune(hand, LATER) == 1
    (second,) = await hand.take()
    assert second.event.data == data


async def test_attempts_go_with_their_delivery(hand: Hand) -> None:
    one = await finished(hand)
    await prune(hand, LATER)
    # The same id again would show them.
    await hand.accept(intake(event=ids.event_of(one)))
    detail = await hand.store.get(one)
    assert detail is not None
    assert detail.attempts == []


async def test_expired_keys_and_answers_go(hand: Hand) -> None:
    await hand.put(key="old", keep=10)
    await hand.put(key="new", keep=LATER)
    await hand.store.keep_answer(Answered(function="f", key="old", payload=b"1", until=NOW + 10))
    await hand.store.keep_answer(Answered(function="f", key="new", payload=b"2", until=LATER + 1))
    await prune(hand, NOW)
    # Asked as of a moment when both were good: what is gone is gone.
    assert await hand.store.answer([("f", "old"), ("f", "new")], now=NOW) == [None, b"2"]
    old, new = await hand.accept(intake(key="old"), intake(key="new"))
    assert isinstance(old, Created)
    assert isinstance(new, Repeated)


async def test_many_expired_keys_go_in_one_call(hand: Hand) -> None:
    await hand.accept(*(intake(key=f"k{number}", keep=10) for number in range(4100)))
    await prune(hand, NOW)
    answers = await hand.accept(*(intake(key=f"k{number}", keep=10) for number in range(4100)))
    assert all(isinstance(one, Created) for one in answers)


async def test_expired_leases_go(hand: Hand) -> None:
    await hand.store.lease("n", "a", 10, now=NOW)
    await prune(hand, NOW)
    assert await hand.store.lease("n", "b", 10, now=NOW) is not None


async def test_a_store_with_nothing_old_is_left_alone(hand: Hand) -> None:
    await finished(hand)
    assert await prune(hand, 0) == 0
    assert await prune(hand, -1000) == 0
    assert await hand.listed(state=State.SUCCEEDED)
    assert LANE in (await hand.store.stats()).by_lane


async def test_what_is_redriven_while_old_ones_are_looked_for_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        redriven, again, gone = [await finished(hand) for _ in range(3)]
        search = housekeeping.old

        def slow_search(*arguments: Any) -> list[tuple[str, int]]:
            found = search(*arguments)
            looking.set()
            assert go_on.wait(10)
            return found

        looking, go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(housekeeping, "old", slow_search)
        pruning = asyncio.create_task(prune(hand, NOW + 100))
        assert await asyncio.to_thread(looking.wait, 10)
        assert await store.redrive([redriven, again], now=NOW) == [redriven, again]
        (first, _) = await hand.take()
        hand.now = NOW + 100
        assert await hand.settle(first)
        go_on.set()
        assert await pruning == 1
        assert await hand.listed() == [again, redriven]
        assert gone not in await hand.listed()
        await accounts(store)
