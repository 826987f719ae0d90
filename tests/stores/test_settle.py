"""Decisions, fences, attempts, answers, what follows, and what a hub that died left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.stores.rig import NOW, Hand, Home, attempt, intake
from triggerhub import ids
from triggerhub.model import Bury, Complete, Decision, Fault, Retry, State
from triggerhub.store import Answered, Fence, Lane, Owed, Repeated, Settlement, Stats

FAULT = Fault(type="ValueError", message="no")


async def stats(hand: Hand) -> Stats:
    return await hand.store.stats()


@pytest.mark.parametrize(
    ("decision", "state", "reason"),
    [
        pytest.param(Complete(), State.SUCCEEDED, None, id="complete"),
        pytest.param(Complete("idempotent"), State.SUCCEEDED, "idempotent", id="complete with a reason"),
        pytest.param(Bury("failed 3 of 3"), State.DEAD, "failed 3 of 3", id="bury"),
    ],
)
async def test_a_decision_that_finishes(hand: Hand, decision: Decision, state: State, reason: str | None) -> None:
    await hand.put()
    (claimed,) = await hand.take()
    hand.now += 250
    assert await hand.settle(claimed, decision, attempt=attempt())
    found = await hand.look(claimed.delivery.id)
    assert (found.state, found.reason, found.finished, found.attempts) == (state, reason, NOW + 250, 1)
    assert (found.version, found.duration_ms, found.error) == ("abc", 1.5, None)
    assert (await hand.grant()).next is None


async def test_a_retry_is_queued_again_and_due_at_its_moment(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Retry(NOW + 500), attempt=attempt("raised", error=FAULT))
    found = await hand.look(one)
    assert (found.state, found.due, found.finished, found.attempts) == (State.QUEUED, NOW + 500, None, 1)
    assert found.error == FAULT
    hand.now += 500
    (again,) = await hand.take()
    assert (again.delivery.attempts, again.delivery.claims, again.fence) == (2, 2, Fence(hand.store.owner, 2))


async def test_an_uncounted_retry_gives_the_attempt_back(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Retry(NOW, counted=False))
    found = await hand.look(one)
    assert (found.state, found.attempts, found.claims) == (State.QUEUED, 0, 1)
    (again,) = await hand.take()
    assert (again.delivery.attempts, again.delivery.claims) == (1, 2)


async def test_success_after_failure_clears_the_error(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    await hand.settle(claimed, Retry(NOW), attempt=attempt("raised", error=FAULT))
    (claimed,) = await hand.take()
    assert claimed.delivery.error == FAULT
    await hand.settle(claimed, Complete(), attempt=attempt())
    assert (await hand.look(one)).error is None


async def test_success_that_ran_nothing_clears_the_error_too(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    await hand.settle(claimed, Retry(NOW), attempt=attempt("raised", error=FAULT))
    (claimed,) = await hand.take()
    await hand.settle(claimed, Complete("idempotent"))
    found = await hand.look(one)
    assert (found.error, found.version) == (None, "abc")


@pytest.mark.parametrize("decision", [Retry(NOW, counted=False), Bury("too old")])
async def test_what_ran_nothing_and_failed_keeps_the_last_error(hand: Hand, decision: Decision) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    await hand.settle(claimed, Retry(NOW), attempt=attempt("raised", error=FAULT))
    (claimed,) = await hand.take()
    await hand.settle(claimed, decision)
    assert (await hand.look(one)).error == FAULT


async def test_every_attempt_is_recorded_in_order(hand: Hand) -> None:
    one = await hand.put()
    records = [attempt("raised", error=FAULT, payload=b"{}"), attempt("timed-out"), attempt(payload=b'"ok"')]
    records = [replace(record, request_id=f"r-{number}") for number, record in enumerate(records)]
    for record, decision in zip(records, [Retry(NOW), Retry(NOW), Complete()], strict=True):
        (claimed,) = await hand.take()
        await hand.settle(claimed, decision, attempt=record)
    detail = await hand.store.get(one)
    assert detail is not None
    assert detail.attempts == records


ODD = ["", " ", "'\"\\", "nul\0within", "\u2028 ä 😀", "x" * 10_000, "null", "[1]", "%_*?"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
async def test_words_of_any_kind_come_back_as_they_were(hand: Hand, text: str) -> None:
    fault = Fault(type=text, message=text)
    first, second = await hand.put(key=text, keep=1000, order=text, trace=text), await hand.put(order=text)
    assert isinstance((await hand.accept(intake(key=text)))[0], Repeated)
    (claimed,) = await hand.take()
    assert (claimed.delivery.id, claimed.event.trace, claimed.delivery.ordering_key) == (first, text, text)
    assert await hand.settle(claimed, Retry(NOW), attempt=attempt("raised", error=fault))
    (claimed,) = await hand.take()
    assert claimed.delivery.error == fault
    assert await hand.settle(claimed, Retry(NOW, counted=False))
    (claimed,) = await hand.take()
    kept = Answered(function="f", key=text, payload=b"1", until=NOW + 1)
    assert await hand.settle(claimed, Bury(text), attempt=attempt("raised", error=fault), answer=kept)
    detail = await hand.store.get(first)
    assert detail is not None
    assert (detail.delivery.reason, detail.delivery.error) == (text, fault)
    assert [record.error for record in detail.attempts] == [fault, fault]
    assert await hand.store.answer([("f", text)], now=NOW) == [b"1"]
    assert await hand.take_ids() == [second]


# fences


async def test_a_delivery_settles_once(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Complete())
    assert not await hand.settle(claimed, Bury("late"), attempt=attempt("raised", error=FAULT))
    found = await hand.store.get(one)
    assert found is not None
    assert (found.delivery.state, found.attempts) == (State.SUCCEEDED, [])


async def test_the_same_fence_twice_in_one_call(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    both = [Settlement(delivery=one, fence=claimed.fence, decision=wish) for wish in (Bury("first"), Complete())]
    assert await hand.store.settle(both, now=NOW) == [True, False]
    assert (await hand.look(one)).reason == "first"


@pytest.mark.parametrize("change", [(1, 0), (-1, 0), (0, 1), (0, -1)], ids=str)
async def test_another_fence_settles_nothing(hand: Hand, change: tuple[int, int]) -> None:
    await hand.put()
    (claimed,) = await hand.take()
    wrong = Fence(claimed.fence.owner + change[0], claimed.fence.claim + change[1])
    assert not await hand.settle(claimed, fence=wrong)
    assert (await hand.look(claimed.delivery.id)).state is State.RUNNING


async def test_a_late_settle_leaves_no_answer_and_nothing_that_follows(hand: Hand) -> None:
    await hand.put()
    (late,) = await hand.take()
    await hand.store.cancel([late.delivery.id], now=NOW, reason="no")
    follow = intake(key="k", keep=1000)
    kept = Answered(function="f", key="i", payload=b"1", until=NOW + 1000)
    assert not await hand.settle(late, attempt=attempt(), answer=kept, then=[follow])
    assert await hand.store.answer([("f", "i")], now=NOW) == [None]
    assert await hand.store.event(follow.event.id) is None
    assert not isinstance((await hand.accept(intake(key="k")))[0], Repeated)


async def test_a_settle_from_before_a_redrive_does_not_end_the_new_run(hand: Hand) -> None:
    one = await hand.put()
    (late,) = await hand.take()
    await hand.store.cancel([one], now=NOW, reason="no")
    await hand.store.redrive([one], now=NOW)
    assert not await hand.settle(late)
    (again,) = await hand.take()
    assert again.fence != late.fence
    assert not await hand.settle(late)
    assert await hand.settle(again)


async def test_a_settle_of_the_hub_before_does_not_end_the_new_run(home: Home) -> None:
    async with home.open() as hand:
        await hand.put()
        (late,) = await hand.take()
    async with home.open() as hand:
        assert not await hand.settle(late, fence=Fence(hand.store.owner, late.fence.claim))
        await hand.store.reap()
        assert not await hand.settle(late)
        (again,) = await hand.take()
        assert not await hand.settle(late)
        assert await hand.settle(again)


async def test_settling_what_is_not_there(hand: Hand) -> None:
    gone = Settlement(delivery=ids.delivery_id(ids.first_at(NOW), 1), fence=Fence(1, 1), decision=Complete())
    assert await hand.store.settle([gone], now=NOW) == [False]
    assert await hand.store.settle([], now=NOW) == []


async def test_answers_are_in_order_and_each_for_itself(hand: Hand) -> None:
    for _ in range(3):
        await hand.put()
    a, b, c = await hand.take()
    await hand.store.cancel([b.delivery.id], now=NOW, reason="no")
    batch = [Settlement(delivery=one.delivery.id, fence=one.fence, decision=Complete()) for one in (c, b, a)]
    assert await hand.store.settle(batch, now=NOW) == [True, False, True]


# what goes with it


async def test_what_follows_is_accepted_in_the_same_transaction(hand: Hand) -> None:
    await hand.put()
    (claimed,) = await hand.take()
    follow = intake("g", trigger="destination:f", hops=1, data=b'"next"')
    hand.now += 5
    assert await hand.settle(claimed, then=[follow])
    (next_one,) = await hand.take(lane=Lane("destination:f", "g"))
    assert next_one.event == follow.event
    assert next_one.delivery.created == NOW + 5
    assert (await stats(hand)).accepted == 2


async def test_what_follows_obeys_dedup_keys(hand: Hand) -> None:
    await hand.put("g", key="k", keep=1000)
    await hand.put()
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, then=[intake("g", key="k", keep=1000)])
    assert len(await hand.listed(function="g")) == 1


async def test_one_settlement_that_cannot_be_leaves_the_whole_call_undone(hand: Hand) -> None:
    for _ in range(2):
        await hand.put()
    good, bad = await hand.take()
    crowd = replace(intake(), owed=tuple(Owed(function=f"f{n}") for n in range(256)))
    batch = [
        Settlement(delivery=good.delivery.id, fence=good.fence, decision=Complete()),
        Settlement(delivery=bad.delivery.id, fence=bad.fence, decision=Complete(), then=(crowd,)),
    ]
    with pytest.raises(ValueError, match="at most 255"):
        await hand.store.settle(batch, now=NOW)
    assert len(await hand.listed(state=State.RUNNING)) == 2
    assert await hand.settle(good)
    assert await hand.settle(bad)


async def test_an_answer_is_kept_until_its_moment(hand: Hand) -> None:
    await hand.put()
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, answer=Answered(function="f", key="i", payload=b'"a"', until=NOW + 100))
    asked = [("f", "other"), ("f", "i"), ("g", "i")]
    assert await hand.store.answer(asked, now=NOW + 99) == [None, b'"a"', None]
    assert await hand.store.answer(asked, now=NOW + 100) == [None, None, None]
    assert await hand.store.answer([], now=NOW) == []


async def test_an_answer_of_a_call_without_a_delivery(hand: Hand) -> None:
    await hand.store.keep_answer(Answered(function="f", key="i", payload=b"1", until=NOW + 100))
    await hand.store.keep_answer(Answered(function="f", key="i", payload=b"2", until=NOW + 200))
    assert await hand.store.answer([("f", "i")], now=NOW + 150) == [b"2"]


async def test_an_answer_is_there_after_a_restart(home: Home) -> None:
    async with home.open() as hand:
        await hand.store.keep_answer(Answered(function="f", key="i", payload=b"1", until=NOW + 100))
    async with home.open() as hand:
        assert await hand.store.answer([("f", "i")], now=NOW) == [b"1"]


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 8])
async def test_a_settle_that_is_cancelled_happens_whole_or_not_at_all(hand: Hand, turns: int) -> None:
    for _ in range(6):
        await hand.put()
    claimed = await hand.take()
    batch = [
        Settlement(delivery=one.delivery.id, fence=one.fence, decision=Complete(), then=(intake("g"),))
        for one in claimed
    ]
    task = asyncio.create_task(hand.store.settle(batch, now=NOW))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await hand.store.set_checkpoints("after", {"all": "that"})
    done = len(await hand.listed(state=State.SUCCEEDED))
    assert done in (0, 6)
    assert len(await hand.listed(function="g")) == done


# what a hub that died left behind


async def test_reaping_gives_back_what_others_left_and_counts_no_attempt(home: Home) -> None:
    async with home.open() as hand:
        lost = [await hand.put(), await hand.put("g")]
        queued = await hand.put()
        await hand.take(1)
        await hand.take(lane=Lane("t", "g"))
    async with home.open() as hand:
        (mine,) = await hand.take()
        assert mine.delivery.id == queued
        assert sorted(await hand.store.reap()) == sorted(lost)
        for one in lost:
            found = await hand.look(one)
            assert (found.state, found.attempts, found.lost, found.claims) == (State.QUEUED, 0, 1, 1)
        assert (await hand.look(queued)).state is State.RUNNING
        assert await hand.store.reap() == []
        assert (await stats(hand)).drift == 0


async def test_how_often_it_was_lost_is_counted_and_its_line_waits(home: Home) -> None:
    async with home.open() as hand:
        one = await hand.put(order="k")
        await hand.put(order="k")
        await hand.take()
    for number in range(1, 4):
        async with home.open() as hand:
            assert await hand.store.reap() == [one]
            (again,) = await hand.take()
            assert (again.delivery.id, again.delivery.lost, again.delivery.attempts) == (one, number, 1)
            assert await hand.store.audit() == []


async def test_a_redriven_one_was_never_lost(home: Home) -> None:
    async with home.open() as hand:
        one = await hand.put()
        await hand.take()
    async with home.open() as hand:
        await hand.store.reap()
        (again,) = await hand.take()
        assert again.delivery.lost == 1
        await hand.settle(again, Bury("given up"))
        assert await hand.store.redrive([one], now=NOW) == [one]
        assert await hand.take_ids() == [one]
    async with home.open() as hand:
        assert await hand.store.reap() == [one]
        assert (await hand.look(one)).lost == 1
