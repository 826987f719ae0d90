"""Who is claimed when, and what a claim proves."""

from __future__ import annotations

import asyncio
import itertools

import anyio
import pytest

from tests.stores.rig import LANE, NOW, Hand, Home, intake
from triggerhub.model import Retry, State
from triggerhub.store import Fence, Lane, Want


async def test_a_claimed_delivery_is_running_and_its_attempt_counted(hand: Hand) -> None:
    given = intake(data=b"payload")
    await hand.accept(given)
    (claimed,) = await hand.take()
    assert claimed.event == given.event
    assert claimed.fence == Fence(hand.store.owner, 1)
    assert (claimed.delivery.state, claimed.delivery.attempts, claimed.delivery.claims) == (State.RUNNING, 1, 1)
    assert await hand.look(claimed.delivery.id) == claimed.delivery
    assert await hand.take() == []


async def test_the_earliest_due_goes_first_and_of_those_the_oldest(hand: Hand) -> None:
    late, early, also_early = [await hand.put(due=NOW + wait) for wait in (50, 10, 10)]
    hand.now += 100
    assert await hand.take_ids(2) == [early, also_early]
    assert await hand.take_ids() == [late]


async def test_nothing_is_claimed_before_it_is_due(hand: Hand) -> None:
    one = await hand.put(due=NOW + 100)
    grant = await hand.grant()
    assert (grant.claimed, grant.next) == ([], NOW + 100)
    hand.now += 99
    assert await hand.take() == []
    hand.now += 1
    assert await hand.take_ids() == [one]


async def test_a_lane_is_a_trigger_and_a_function(hand: Hand) -> None:
    await hand.put("f", trigger="u")
    await hand.put("g", trigger="t")
    mine = await hand.put("f", trigger="t")
    assert await hand.take_ids() == [mine]
    assert (await hand.grant(lane=Lane("nobody", "f"))).next is None


async def test_many_wants_are_answered_in_order(hand: Hand) -> None:
    f, g = await hand.put("f"), await hand.put("g")
    wants = [Want(lane=Lane("t", name), limit=5) for name in ("g", "none", "f", "g")]
    grants = await hand.store.claim(wants, now=NOW)
    assert [[one.delivery.id for one in grant.claimed] for grant in grants] == [[g], [], [f], []]
    assert await hand.store.claim([], now=NOW) == []


async def test_no_more_than_the_limit_and_then_at_once_again(hand: Hand) -> None:
    made = [await hand.put() for _ in range(5)]
    grant = await hand.grant(3)
    assert [one.delivery.id for one in grant.claimed] == made[:3]
    assert grant.next is not None
    assert grant.next <= hand.now
    grant = await hand.grant(3)
    assert [one.delivery.id for one in grant.claimed] == made[3:]
    assert grant.next is None


async def test_what_waits_is_brought_forward_and_nothing_else(hand: Hand) -> None:
    due = await hand.put()
    running, done = [await hand.put() for _ in range(2)]
    late = await hand.put(due=NOW + 900, trigger="u")
    line = [await hand.put(due=NOW + 500, order="k") for _ in range(2)]
    claimed = {one.delivery.id: one for one in await hand.take()}
    await hand.settle(claimed[done])
    await hand.settle(claimed[due], Retry(NOW + 300))
    assert await hand.store.hasten(400, now=NOW + 300) == 3
    shown = {one: (await hand.look(one)).due - NOW for one in (due, running, done, late, *line)}
    assert shown == {due: 300, running: 0, done: 0, late: 500, line[0]: 100, line[1]: 100}
    assert await hand.store.audit() == []


async def test_what_was_created_since_the_clock_was_put_back_is_not_brought_forward(hand: Hand) -> None:
    hour = 3_600_000
    before = await hand.put(due=NOW + 2 * hour)
    hand.now -= hour
    # Ids only grow: this one lies an hour ahead.
    since = await hand.put(due=hand.now + 2 * hour)
    assert await hand.store.hasten(hour, now=hand.now + 1000) == 1
    assert [(await hand.look(one)).due - NOW for one in (before, since)] == [hour, hour]


async def test_next_is_the_moment_of_the_next_one_due(hand: Hand) -> None:
    await hand.put()
    await hand.put(due=NOW + 900)
    await hand.put(due=NOW + 300)
    assert (await hand.grant()).next == NOW + 300


async def test_claimed_at_the_same_time_each_is_claimed_once(hand: Hand) -> None:
    made = [await hand.put() for _ in range(40)]
    rounds = await asyncio.gather(*(hand.take_ids(3) for _ in range(20)))
    assert sorted(itertools.chain.from_iterable(rounds)) == sorted(made)


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 8])
async def test_a_claim_that_is_cancelled_took_all_or_nothing(hand: Hand, turns: int) -> None:
    made = [await hand.put() for _ in range(6)]
    task = asyncio.create_task(hand.grant(6))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await hand.store.set_checkpoints("after", {"all": "that"})
    assert len(await hand.listed(state=State.RUNNING)) in (0, len(made))


@pytest.mark.parametrize("turns", [1, 2, 4])
async def test_who_is_cancelled_while_he_waits_learns_what_he_claimed_and_is_cancelled_at_his_next_wait(
    hand: Hand, turns: int
) -> None:
    made = [await hand.put() for _ in range(6)]
    taken: list[str] = []
    went_on = False

    async def take() -> None:
        nonlocal went_on
        taken.extend(await hand.take_ids(6))
        await asyncio.sleep(0)
        went_on = True

    task = asyncio.create_task(take())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():  # the whole was over before
        assert went_on
    else:
        assert not went_on
    assert taken == made
    assert len(await hand.listed(state=State.RUNNING)) == len(made)


async def test_a_scope_that_runs_out_while_its_events_are_stored_tells_what_became_of_them(hand: Hand) -> None:
    answers: list[object] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        answers.extend(await hand.store.append([intake()], now=NOW))
        await anyio.sleep(60)
    assert scope.cancelled_caught
    assert len(answers) == 1
    assert len(await hand.listed(state=State.QUEUED)) == 1


# batches


async def test_no_more_than_the_bytes_wanted_but_always_one(hand: Hand) -> None:
    ids = [await hand.put(data=b"x" * size) for size in (100, 50, 50, 10)]
    taken = []
    while len(taken) < 4:
        (grant,) = await hand.store.claim([Want(lane=LANE, limit=9, bytes=100)], now=NOW)
        taken.append([one.delivery.id for one in grant.claimed])
        if not grant.claimed:
            break
    assert taken == [ids[:1], ids[1:3], ids[3:], []]
    await hand.put(data=b"x" * 101)
    (grant,) = await hand.store.claim([Want(lane=LANE, limit=9, bytes=100)], now=NOW)
    assert len(grant.claimed) == 1
    assert (await hand.store.stats()).count(State.RUNNING) == 5


async def test_a_batch_waits_until_it_is_full(hand: Hand) -> None:
    made = [await hand.put(), await hand.put()]
    grant = await hand.grant(size=3, window=1000)
    assert (grant.claimed, grant.next) == ([], NOW + 1000)
    made.append(await hand.put())
    grant = await hand.grant(3, size=3, window=1000)
    assert [one.delivery.id for one in grant.claimed] == made
    assert grant.next is None


async def test_a_batch_goes_when_its_oldest_has_waited_for_the_window(hand: Hand) -> None:
    one = await hand.put()
    hand.now += 600
    two = await hand.put()
    assert (await hand.grant(size=10, window=1000)).next == NOW + 1000
    hand.now += 399
    assert (await hand.grant(size=10, window=1000)).claimed == []
    hand.now += 1
    grant = await hand.grant(10, size=10, window=1000)
    assert [claimed.delivery.id for claimed in grant.claimed] == [one, two]


async def test_what_is_left_of_a_batch_waits_for_its_own_window(hand: Hand) -> None:
    for _ in range(3):
        await hand.put()
    grant = await hand.grant(2, size=2, window=500)
    assert len(grant.claimed) == 2
    assert grant.next == NOW + 500


async def test_a_batch_counts_what_is_due_and_free(hand: Hand) -> None:
    await hand.put(due=NOW + 10_000)
    await hand.put(order="k")
    await hand.put(order="k")
    grant = await hand.grant(size=2, window=700)
    assert (grant.claimed, grant.next) == ([], NOW + 700)


async def test_next_of_a_batch_with_nothing_due_is_when_something_is(hand: Hand) -> None:
    await hand.put(due=NOW + 200)
    grant = await hand.grant(size=5, window=1000)
    assert (grant.claimed, grant.next) == ([], NOW + 200)


# across openings


async def test_each_opening_has_a_greater_epoch(home: Home) -> None:
    owners = []
    for _ in range(3):
        async with home.open() as hand:
            owners.append(hand.store.owner)
    assert owners == sorted(set(owners))


async def test_what_runs_is_not_claimed_by_the_next_opening_until_it_is_reaped(home: Home) -> None:
    async with home.open() as hand:
        one = await hand.put()
        await hand.take()
    async with home.open() as hand:
        assert (await hand.grant()).claimed == []
        assert await hand.store.reap() == [one]
        assert [claimed.delivery.id for claimed in await hand.take(lane=LANE)] == [one]
