"""What a store writes of events that their sources kept until they were handled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.stores.rig import LANE, NOW, Hand, Home, accounts, attempt, intake
from triggerhub.model import Attempt, Bury, Complete, Delivery, Fault, Leave, State
from triggerhub.store import Answered, Query, Record, Repeated

FAULT = Fault(type="E", message="m")
LEFT = Leave("its source gives it again")


def failed() -> Attempt:
    return attempt("raised", error=FAULT)


async def write(hand: Hand, *records: Record) -> list[Delivery]:
    answers = await hand.store.record(records, now=hand.now)
    return [await hand.look(one.deliveries[0]) for one in answers]


async def test_it_is_written_as_it_ended_and_never_claimed(hand: Hand) -> None:
    done, left, dead = await write(
        hand,
        Record(intake=intake(key="a", keep=100), decision=Complete(), attempt=attempt()),
        Record(intake=intake(key="b", keep=100), decision=LEFT, attempt=failed()),
        Record(intake=intake(key="c", keep=100), decision=Bury("spent")),
    )
    assert (done.state, done.attempts, done.finished, done.reason) == (State.SUCCEEDED, 1, NOW, None)
    assert (left.state, left.attempts, left.error, left.reason) == (State.CANCELLED, 1, FAULT, LEFT.reason)
    assert (dead.state, dead.attempts, dead.error, dead.reason) == (State.DEAD, 0, None, "spent")
    assert await hand.take_ids() == []
    assert (await hand.store.stats()).accepted == 3
    await accounts(hand.store)


async def test_what_was_left_goes_on_as_the_same_delivery(hand: Hand) -> None:
    first, *_ = await write(hand, Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed()))
    hand.now += 5
    again, *_ = await write(hand, Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed()))
    hand.now += 5
    done, *_ = await write(hand, Record(intake=intake(key="k", keep=100), decision=Complete(), attempt=attempt()))
    assert first.id == again.id == done.id
    assert (done.state, done.attempts, done.error, done.finished) == (State.SUCCEEDED, 3, None, NOW + 10)
    detail = await hand.store.get(done.id)
    assert detail is not None
    assert [one.outcome for one in detail.attempts] == ["raised", "raised", "returned"]
    assert (await hand.store.stats()).accepted == 1
    await accounts(hand.store)


async def test_what_another_function_left_is_written_anew(hand: Hand) -> None:
    left, *_ = await write(hand, Record(intake=intake("f", key="k", keep=100), decision=LEFT, attempt=failed()))
    done, *_ = await write(hand, Record(intake=intake("g", key="k", keep=100), decision=Complete(), attempt=attempt()))
    assert [(one.function, one.state, one.attempts) for one in (await hand.look(left.id), done)] == [
        ("f", State.CANCELLED, 1), ("g", State.SUCCEEDED, 1),
    ]  # fmt: skip
    again, *_ = await write(hand, Record(intake=intake("f", key="k", keep=100), decision=LEFT, attempt=failed()))
    assert again == done
    await accounts(hand.store)


async def test_a_dead_letter_keeps_the_error_of_the_attempt_before(hand: Hand) -> None:
    await write(hand, Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed()))
    dead, *_ = await write(hand, Record(intake=intake(key="k", keep=100), decision=Bury("spent")))
    assert (dead.state, dead.attempts, dead.error, dead.reason) == (State.DEAD, 1, FAULT, "spent")
    await accounts(hand.store)


async def test_one_that_is_in_the_queue_is_left_to_it(hand: Hand) -> None:
    queued = await hand.put(key="k", keep=100)
    (answer,) = await hand.store.record(
        [Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed())], now=NOW
    )
    assert answer == Repeated(event=queued[:-2] + "00", deliveries=(queued,))
    assert (await hand.look(queued)).state is State.QUEUED
    (claimed,) = await hand.take()
    await hand.store.record([Record(intake=intake(key="k", keep=100), decision=Complete())], now=NOW)
    assert (await hand.look(queued)).state is State.RUNNING
    assert await hand.settle(claimed)
    await accounts(hand.store)


async def test_what_succeeded_or_is_dead_stays_so(hand: Hand) -> None:
    for number, end in enumerate((Complete(), Bury("spent"))):
        before, *_ = await write(hand, Record(intake=intake(key=f"k{number}", keep=100), decision=end))
        after, *_ = await write(
            hand, Record(intake=intake(key=f"k{number}", keep=100), decision=LEFT, attempt=failed())
        )
        assert after == before
    await accounts(hand.store)


async def test_one_that_was_pruned_is_written_anew(hand: Hand) -> None:
    old, *_ = await write(hand, Record(intake=intake(key="k", keep=1000), decision=LEFT, attempt=failed()))
    hand.now += 10
    assert await hand.store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
    assert await hand.store.known("t", ["k"], now=hand.now) == {}
    new, *_ = await write(hand, Record(intake=intake(key="k", keep=1000), decision=Complete(), attempt=attempt()))
    assert new.id != old.id
    assert (await hand.store.known("t", ["k"], now=hand.now))["k"].id == new.id
    await accounts(hand.store)


async def test_without_a_key_each_is_a_delivery_of_its_own(hand: Hand) -> None:
    one, other = await write(
        hand, Record(intake=intake(), decision=Complete()), Record(intake=intake(), decision=Complete())
    )
    assert one.id != other.id


@pytest.mark.parametrize("before", [pytest.param(False, id="new"), pytest.param(True, id="left before")])
async def test_of_a_key_twice_in_one_call_the_first_is_written(hand: Hand, before: bool) -> None:
    if before:
        await write(hand, Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed()))
    records = [Record(intake=intake(key="k", keep=100), decision=one) for one in (LEFT, Bury("spent"), Complete())]
    answers = await hand.store.record(records, now=NOW)
    assert answers[0].resumed if isinstance(answers[0], Repeated) else not before
    assert answers[1:] == [Repeated(event=answers[0].event, deliveries=answers[0].deliveries)] * 2
    found = await hand.look(answers[0].deliveries[0])
    assert (found.state, found.attempts) == (State.CANCELLED, int(before))
    await accounts(hand.store)


async def test_destinations_answers_and_checkpoints_are_of_the_same_commit(hand: Hand) -> None:
    then = intake("g", trigger="destination:f")
    answer = Answered(function="f", key="i", payload=b"1", until=NOW + 10)
    one = Record(intake=intake(), decision=Complete(), attempt=attempt(), answer=answer, then=(then,))
    await hand.store.record([one], now=NOW, checkpoints={("t", "shard"): "7"})
    assert await hand.store.checkpoints("t") == {"shard": "7"}
    assert await hand.store.answer([("f", "i")], now=NOW) == [b"1"]
    found = await hand.store.event(then.event.id)
    assert found is not None
    assert [one.state for one in found[1]] == [State.QUEUED]
    await hand.store.record([], now=NOW, checkpoints={("t", "shard"): None})
    assert await hand.store.checkpoints("t") == {}
    await accounts(hand.store)


async def test_what_is_known_is_found_by_its_key(hand: Hand) -> None:
    queued = await hand.put("f", "g", key="a", keep=100)
    await write(hand, Record(intake=intake(key="b", keep=100), decision=Complete()))
    found = await hand.store.known("t", ["a", "b", "c"], now=NOW)
    assert {key: one.state for key, one in found.items()} == {"a": State.QUEUED, "b": State.SUCCEEDED}
    assert found["a"].id == queued
    assert await hand.store.known("t", ["a"], now=NOW + 100) == {}
    assert await hand.store.known("u", ["a"], now=NOW) == {}


async def test_it_can_be_redriven_like_any_other(hand: Hand) -> None:
    left, *_ = await write(hand, Record(intake=intake(key="k", keep=100), decision=LEFT, attempt=failed()))
    assert await hand.store.redrive([left.id], now=NOW) == [left.id]
    (claimed,) = await hand.take(lane=LANE)
    assert claimed.delivery.id == left.id
    assert await hand.settle(claimed)
    assert (await hand.listed(state=State.SUCCEEDED)) == [left.id]
    await accounts(hand.store)


async def test_it_is_still_there_after_a_restart(home: Home) -> None:
    one = replace(intake(key="k", keep=1000))
    async with home.open() as hand:
        await write(hand, Record(intake=one, decision=Complete(), attempt=attempt()))
    async with home.open() as hand:
        assert await hand.store.reap() == []
        assert (await hand.store.known("t", ["k"], now=NOW))["k"].state is State.SUCCEEDED
        assert [row.event_id for row in await hand.store.page(Query())] == [one.event.id]
