"""The deliveries of an ordering key: one at a time, the oldest first, and a failing one stops only its own."""

from __future__ import annotations

import pytest

from tests.stores.rig import NOW, Hand, Home, intake, new_id
from triggerhub import ids
from triggerhub.model import Bury, Complete, Decision, Retry, State
from triggerhub.store import Lane

U = Lane("u", "f")
G = Lane("t", "g")


async def test_one_at_a_time_and_the_oldest_first(hand: Hand) -> None:
    made = [await hand.put(order="k") for _ in range(4)]
    done = []
    for _ in made:
        (claimed,) = await hand.take()
        assert await hand.take() == []
        assert await hand.settle(claimed)
        done.append(claimed.delivery.id)
    assert done == made


async def test_keys_do_not_wait_for_each_other(hand: Hand) -> None:
    a, _, b, free = [await hand.put(order=key) for key in ("a", "a", "b", None)]
    assert await hand.take_ids() == [a, b, free]


async def test_the_same_key_in_another_lane_is_another_line(hand: Hand) -> None:
    await hand.put("f", "g", order="k")
    other = await hand.put("f", trigger="u", order="k")
    assert len(await hand.take()) == 1
    assert len(await hand.take(lane=G)) == 1
    assert await hand.take_ids(lane=U) == [other]


@pytest.mark.parametrize("counted", [True, False])
async def test_a_retry_holds_up_those_behind_it_and_nobody_else(hand: Hand, counted: bool) -> None:
    first, second, other = [await hand.put(order=key) for key in ("k", "k", "l")]
    claimed, _ = await hand.take(2)
    assert claimed.delivery.id == first
    assert await hand.settle(claimed, Retry(NOW + 1000, counted=counted))
    third = await hand.put(order="l")
    grant = await hand.grant()
    assert (grant.claimed, grant.next) == ([], NOW + 1000)
    (running,) = await hand.listed(state=State.RUNNING)
    assert running == other
    hand.now += 1000
    (again,) = await hand.take()
    assert again.delivery.id == first
    assert await hand.settle(again)
    assert await hand.take_ids() == [second]
    assert third in await hand.listed(state=State.QUEUED)


@pytest.mark.parametrize("decision", [Complete(), Bury("it failed")])
async def test_finishing_lets_the_next_one_go(hand: Hand, decision: Decision) -> None:
    _, second = await hand.put(order="k"), await hand.put(order="k")
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, decision)
    assert await hand.take_ids() == [second]


async def test_cancelling_the_one_in_front_lets_the_next_one_go(hand: Hand) -> None:
    first, second, third = [await hand.put(order="k") for _ in range(3)]
    assert await hand.store.cancel([first], now=NOW, reason="no") == [first]
    assert await hand.take_ids() == [second]
    assert await hand.store.cancel([second], now=NOW, reason="no") == [second]
    assert await hand.take_ids() == [third]


async def test_cancelling_one_in_the_middle_changes_nothing_for_the_others(hand: Hand) -> None:
    first, second, third = [await hand.put(order="k") for _ in range(3)]
    assert await hand.store.cancel([second], now=NOW, reason="no") == [second]
    (claimed,) = await hand.take()
    assert claimed.delivery.id == first
    assert await hand.settle(claimed)
    assert await hand.take_ids() == [third]


async def test_cancelling_the_whole_line_leaves_it_open_for_the_next(hand: Hand) -> None:
    line = [await hand.put(order="k") for _ in range(3)]
    assert await hand.store.cancel(line, now=NOW, reason="no") == line
    later = await hand.put(order="k")
    assert await hand.take_ids() == [later]


async def test_a_redriven_one_takes_its_old_place(hand: Hand) -> None:
    first = await hand.put(order="k")
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Bury("no"))
    second, third = await hand.put(order="k"), await hand.put(order="k")
    assert await hand.store.redrive([first], now=NOW) == [first]
    done = []
    for _ in range(3):
        (claimed,) = await hand.take()
        done.append(claimed.delivery.id)
        assert await hand.settle(claimed)
    assert done == [first, second, third]


async def test_a_redriven_one_waits_for_the_one_that_runs(hand: Hand) -> None:
    first = await hand.put(order="k")
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Bury("no"))
    second, third = await hand.put(order="k"), await hand.put(order="k")
    (running,) = await hand.take()
    assert running.delivery.id == second
    assert await hand.store.redrive([first], now=NOW) == [first]
    assert await hand.take() == []
    assert await hand.settle(running)
    assert await hand.take_ids() == [first]
    assert third in await hand.listed(state=State.QUEUED)


async def test_a_retry_gives_way_to_an_older_one_that_was_redriven(hand: Hand) -> None:
    first = await hand.put(order="k")
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Bury("no"))
    await hand.put(order="k")
    (running,) = await hand.take()
    await hand.store.redrive([first], now=NOW)
    assert await hand.settle(running, Retry(NOW))
    assert await hand.take_ids() == [first]


async def test_who_is_tried_now_keeps_his_place_in_line(hand: Hand) -> None:
    first, second = await hand.put(order="k"), await hand.put(order="k")
    (running,) = await hand.take()
    assert await hand.settle(running, Bury("no"))
    (running,) = await hand.take()
    assert running.delivery.id == second
    assert await hand.settle(running, Retry(NOW + 60_000))
    await hand.store.redrive([first], now=NOW)
    third = await hand.put(order="k")
    assert await hand.store.retry([second], now=NOW) == [second]
    done = []
    for _ in range(3):
        (running,) = await hand.take()
        done.append(running.delivery.id)
        assert await hand.settle(running)
    assert done == [first, second, third]


async def test_many_redriven_at_once_go_oldest_first(hand: Hand) -> None:
    line = [await hand.put(order="k") for _ in range(4)]
    await hand.store.cancel(line, now=NOW, reason="no")
    assert await hand.store.redrive(line[::-1], now=NOW) == line[::-1]
    done = []
    for _ in line:
        (claimed,) = await hand.take()
        done.append(claimed.delivery.id)
        assert await hand.settle(claimed)
    assert done == line


async def test_an_older_one_that_is_accepted_late_goes_before_who_has_not_begun(hand: Hand) -> None:
    oldest, middle, youngest = (new_id() for _ in range(3))
    await hand.accept(intake(event=youngest, order="k"), intake(event=middle, order="k"))
    await hand.accept(intake(event=oldest, order="k"))
    done = []
    for _ in range(3):
        (claimed,) = await hand.take()
        done.append(ids.event_of(claimed.delivery.id))
        assert await hand.settle(claimed)
    assert done == [oldest, middle, youngest]


async def test_an_older_one_that_is_accepted_late_waits_for_who_runs(hand: Hand) -> None:
    older, younger = new_id(), new_id()
    await hand.accept(intake(event=younger, order="k"))
    (running,) = await hand.take()
    await hand.accept(intake(event=older, order="k"))
    assert await hand.take() == []
    assert await hand.settle(running)
    assert await hand.take_ids() == [ids.delivery_id(older, 1)]


async def test_a_delayed_one_in_front_holds_up_its_line(hand: Hand) -> None:
    first = await hand.put(order="k", due=NOW + 500)
    await hand.put(order="k")
    grant = await hand.grant()
    assert (grant.claimed, grant.next) == ([], NOW + 500)
    hand.now += 500
    assert await hand.take_ids() == [first]


async def test_a_settled_event_stands_behind_those_of_its_key(hand: Hand) -> None:
    first = await hand.put(order="k")
    (claimed,) = await hand.take()
    second = await hand.put(order="k")
    follow = intake(order="k")
    assert await hand.settle(claimed, then=[follow])
    (claimed,) = await hand.take()
    assert first < claimed.delivery.id == second
    assert await hand.settle(claimed)
    assert await hand.take_ids() == [ids.delivery_id(follow.event.id, 1)]


async def test_a_reaped_one_goes_before_those_behind_it(home: Home) -> None:
    async with home.open() as hand:
        first, second = await hand.put(order="k"), await hand.put(order="k")
        await hand.take()
    async with home.open() as hand:
        assert await hand.store.reap() == [first]
        (claimed,) = await hand.take()
        assert claimed.delivery.id == first
        assert await hand.settle(claimed)
        assert await hand.take_ids() == [second]


async def test_discarding_and_pruning_leave_the_line_as_it_is(hand: Hand) -> None:
    first, second, third = [await hand.put(order="k") for _ in range(3)]
    (claimed,) = await hand.take()
    assert await hand.settle(claimed, Bury("no"))
    (running,) = await hand.take()
    assert await hand.store.discard([first], now=NOW) == [first]
    assert await hand.take() == []
    assert running.delivery.id == second
    assert await hand.settle(running)
    hand.now += 1000
    assert await hand.store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
    assert await hand.take_ids() == [third]
