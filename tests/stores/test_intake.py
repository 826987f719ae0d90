"""What it means to be accepted: rows, dedup keys and checkpoints, in one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.stores.rig import LANE, NOW, Hand, Home, intake, new_id
from triggerhub import ids
from triggerhub.model import State
from triggerhub.store import Created, Owed, Repeated


async def test_an_event_is_owed_to_each_of_its_functions(hand: Hand) -> None:
    given = intake("f", "g", "h", data=b'{"a":"\xc3\xbc"}', hops=3, trace="Root=1", order="o", key="k")
    (answer,) = await hand.accept(given)
    made = tuple(ids.delivery_id(given.event.id, number) for number in (1, 2, 3))
    assert answer == Created(event=given.event.id, deliveries=made)
    found = await hand.store.event(given.event.id)
    assert found is not None
    event, owed = found
    assert event == given.event
    assert [(one.id, one.function, one.event_id) for one in owed] == [
        (made[0], "f", given.event.id),
        (made[1], "g", given.event.id),
        (made[2], "h", given.event.id),
    ]


async def test_a_new_delivery_is_queued_now_with_the_keys_of_its_event(hand: Hand) -> None:
    given = intake(order="o", key="k")
    given = replace(given, owed=(Owed(function="f", idempotency_key="i"),))
    hand.now = NOW + 7
    ((one,),) = [answer.deliveries for answer in await hand.accept(given)]
    found = await hand.look(one)
    assert found.state is State.QUEUED
    assert (found.attempts, found.claims, found.lost, found.finished) == (0, 0, 0, None)
    assert (found.created, found.due) == (NOW + 7, NOW + 7)
    assert (found.trigger, found.dedup_key, found.ordering_key, found.idempotency_key) == ("t", "k", "o", "i")


@pytest.mark.parametrize(("due", "expected"), [(NOW + 500, NOW + 500), (NOW - 500, NOW), (None, NOW)])
async def test_due_is_now_or_the_events_own_moment_if_later(hand: Hand, due: int | None, expected: int) -> None:
    assert (await hand.look(await hand.put(due=due))).due == expected


async def test_answers_come_in_the_order_of_the_questions(hand: Hand) -> None:
    many = [intake("f", "g"), intake("g"), intake("f")]
    assert [one.event for one in await hand.accept(*many)] == [one.event.id for one in many]
    assert await hand.accept() == []


async def test_an_event_owed_to_nobody_is_accepted_and_kept_nowhere(hand: Hand) -> None:
    empty = replace(intake(key="k", keep=100), owed=())
    assert await hand.accept(empty) == [Created(event=empty.event.id, deliveries=())]
    assert await hand.store.event(empty.event.id) is None
    again = intake(key="k", keep=100)
    assert await hand.accept(again) == [Repeated(event=empty.event.id, deliveries=())]


async def test_an_event_owed_to_the_most_functions(hand: Hand) -> None:
    many = intake(*(f"f{number}" for number in range(ids.MAX_FAN_OUT)))
    (answer,) = await hand.accept(many)
    found = await hand.store.event(many.event.id)
    assert found is not None
    assert [one.id for one in found[1]] == list(answer.deliveries)
    assert len(answer.deliveries) == 255


async def test_one_event_owed_to_too_many_spoils_its_own_call_only(hand: Hand) -> None:
    good, other = intake(), intake()
    bad = intake(*(f"f{number}" for number in range(ids.MAX_FAN_OUT + 1)))
    refused, accepted = await asyncio.gather(
        hand.store.append([good, bad], now=NOW, checkpoints={("s", "k"): "v"}),
        hand.store.append([other], now=NOW),
        return_exceptions=True,
    )
    assert isinstance(refused, ValueError)
    assert "256 functions; expected at most 255" in str(refused)
    assert isinstance(accepted, list)
    assert await hand.store.event(good.event.id) is None
    assert await hand.store.checkpoints("s") == {}
    assert await hand.listed() == [ids.delivery_id(other.event.id, 1)]


# dedup keys


async def test_a_dedup_key_is_accepted_once_within_its_horizon(hand: Hand) -> None:
    first, second = intake("f", "g", key="k", keep=1000), intake("f", key="k", keep=1000)
    (created,) = await hand.accept(first)
    hand.now += 999
    assert await hand.accept(second) == [Repeated(event=first.event.id, deliveries=created.deliveries)]
    assert await hand.store.event(second.event.id) is None
    hand.now += 1
    assert await hand.accept(second) == [
        Created(event=second.event.id, deliveries=(ids.delivery_id(second.event.id, 1),))
    ]


async def test_the_horizon_runs_from_the_first_not_from_a_repetition(hand: Hand) -> None:
    await hand.put(key="k", keep=100)
    hand.now += 60
    assert isinstance((await hand.accept(intake(key="k", keep=100)))[0], Repeated)
    hand.now += 60
    assert isinstance((await hand.accept(intake(key="k", keep=100)))[0], Created)


async def test_a_key_that_was_taken_again_has_a_new_horizon(hand: Hand) -> None:
    await hand.put(key="k", keep=100)
    hand.now += 100
    second = await hand.put(key="k", keep=100)
    hand.now += 99
    (answer,) = await hand.accept(intake(key="k", keep=100))
    assert answer == Repeated(event=ids.event_of(second), deliveries=(second,))


async def test_a_key_without_a_horizon_holds_nobody_up(hand: Hand) -> None:
    answers = await hand.accept(intake(key="k"), intake(key="k"))
    assert [type(one) for one in answers] == [Created, Created]


async def test_a_key_is_its_triggers_own(hand: Hand) -> None:
    answers = await hand.accept(*(intake(trigger=name, key="k", keep=1000) for name in ("t", "u", "t")))
    assert [type(one) for one in answers] == [Created, Created, Repeated]


async def test_a_key_repeated_within_one_call(hand: Hand) -> None:
    first, second = intake(key="k", keep=1000), intake(key="k", keep=1000)
    made = ids.delivery_id(first.event.id, 1)
    assert await hand.accept(first, second) == [
        Created(event=first.event.id, deliveries=(made,)),
        Repeated(event=first.event.id, deliveries=(made,)),
    ]


async def test_of_many_at_once_with_one_key_one_is_accepted(hand: Hand) -> None:
    answers = await asyncio.gather(*(hand.accept(intake(key="k", keep=1000)) for _ in range(20)))
    kinds = [type(one) for (one,) in answers]
    assert kinds.count(Created) == 1
    assert len({one.event for (one,) in answers}) == 1


async def test_a_key_outlives_the_delivery_it_was_for(hand: Hand) -> None:
    first = await hand.put(key="k", keep=10_000)
    (claimed,) = await hand.take()
    assert await hand.settle(claimed)
    hand.now += 1000
    assert await hand.store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
    assert await hand.accept(intake(key="k", keep=1)) == [Repeated(event=ids.event_of(first), deliveries=(first,))]


async def test_a_key_is_still_taken_after_a_restart(home: Home) -> None:
    async with home.open() as hand:
        first = await hand.put(key="k", keep=1000)
    async with home.open() as hand:
        (answer,) = await hand.accept(intake(key="k", keep=1000))
        assert answer == Repeated(event=ids.event_of(first), deliveries=(first,))


# with checkpoints, and cut


async def test_checkpoints_are_written_with_the_events(hand: Hand) -> None:
    await hand.store.set_checkpoints("s", {"gone": "1"})
    await hand.store.append([intake()], now=NOW, checkpoints={("s", "k"): "v", ("s", "gone"): None, ("r", "k"): "w"})
    assert await hand.store.checkpoints("s") == {"k": "v"}
    assert await hand.store.checkpoints("r") == {"k": "w"}
    await hand.store.append([], now=NOW, checkpoints={("s", "k"): "x"})
    assert await hand.store.checkpoints("s") == {"k": "x"}


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_a_call_that_is_cancelled_happens_whole_or_not_at_all(hand: Hand, turns: int) -> None:
    many = [intake("f", "g") for _ in range(10)]
    task = asyncio.create_task(hand.store.append(many, now=NOW, checkpoints={("s", "k"): "v"}))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await hand.store.set_checkpoints("after", {"all": "that"})
    there = await hand.listed(limit=1000)
    assert len(there) in (0, 20)
    assert await hand.store.checkpoints("s") == ({"k": "v"} if there else {})


async def test_what_was_accepted_is_there_after_a_restart(home: Home) -> None:
    given = intake("f", "g", data=b'"kept"', order="o")
    async with home.open() as hand:
        await hand.accept(given)
    async with home.open() as hand:
        found = await hand.store.event(given.event.id)
        assert found is not None
        assert found[0] == given.event
        assert [one.delivery.function for one in await hand.take(lane=LANE)] == ["f"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
async def test_payloads_of_all_sizes_come_back_as_they_were(hand: Hand, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    await hand.put(data=data)
    (claimed,) = await hand.take()
    assert claimed.event.data == data
    detail = await hand.store.get(claimed.delivery.id)
    assert detail is not None
    assert detail.event.data == data


async def test_an_id_is_accepted_in_any_order(hand: Hand) -> None:
    older, younger = new_id(NOW - 1000), new_id(NOW)
    await hand.accept(intake(event=younger))
    await hand.accept(intake(event=older))
    assert await hand.listed() == [ids.delivery_id(younger, 1), ids.delivery_id(older, 1)]
