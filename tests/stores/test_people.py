"""What people ask of the queue and its history: list, show, redrive, cancel, discard, count."""

from __future__ import annotations

import itertools

import pytest

from tests.stores.rig import LANE, NOW, Hand, attempt, intake
from triggerhub import ids
from triggerhub.model import Bury, Complete, Fault, Retry, State
from triggerhub.store import Lane

NOBODY = ids.delivery_id(ids.first_at(NOW), 1)


async def dead(hand: Hand, **settings: str) -> str:
    """Return a new delivery that is dead."""
    one = await hand.put(**settings)
    (claimed,) = await hand.take()
    assert claimed.delivery.id == one
    fault = Fault(type="E", message="m")
    assert await hand.settle(claimed, Bury("broken"), attempt=attempt("raised", error=fault))
    return one


async def succeeded(hand: Hand) -> str:
    one = await hand.put()
    (claimed,) = await hand.take()
    assert claimed.delivery.id == one
    assert await hand.settle(claimed)
    return one


# list


async def test_the_newest_is_listed_first(hand: Hand) -> None:
    made = [await hand.put() for _ in range(5)]
    assert await hand.listed() == made[::-1]
    assert await hand.listed(limit=2) == [made[4], made[3]]


async def test_pages_join_without_gap_or_overlap(hand: Hand) -> None:
    for _, name, trigger in itertools.product(range(4), ("f", "g"), ("t", "u")):
        await hand.put(name, trigger=trigger)
    whole = await hand.listed()
    for query in ({}, {"function": "f"}, {"trigger": "u"}, {"state": State.QUEUED}):
        wanted = [one for one in whole if query.get("function") in (None, (await hand.look(one)).function)]
        wanted = [one for one in wanted if query.get("trigger") in (None, (await hand.look(one)).trigger)]
        pages, before = [], None
        while page := await hand.listed(**query, limit=3, before=before):
            pages += page
            before = page[-1]
        assert pages == wanted


async def test_a_page_is_not_disturbed_by_what_arrives_meanwhile(hand: Hand) -> None:
    made = [await hand.put() for _ in range(4)]
    first = await hand.listed(limit=2)
    await hand.put()
    assert first + await hand.listed(limit=2, before=first[-1]) == made[::-1]


async def test_filters_are_all_held_to(hand: Hand) -> None:
    gone = await dead(hand)
    done = await succeeded(hand)
    running = await hand.put()
    await hand.take()
    delayed = await hand.put(due=NOW + 1000)
    other, elsewhere = await hand.put("g"), await hand.put("f", trigger="u")
    assert await hand.listed(state=State.DEAD) == [gone]
    assert await hand.listed(state=State.SUCCEEDED) == [done]
    assert await hand.listed(state=State.RUNNING) == [running]
    assert await hand.listed(state=State.QUEUED) == [elsewhere, other, delayed]
    assert await hand.listed(state=State.CANCELLED) == []
    assert await hand.listed(function="g") == [other]
    assert await hand.listed(trigger="u") == [elsewhere]
    assert await hand.listed(function="g", trigger="u") == []
    assert await hand.listed(function="f", trigger="t", state=State.QUEUED) == [delayed]
    assert await hand.listed(function="nobody") == []


async def test_since_is_the_moment_of_acceptance(hand: Hand) -> None:
    old = await hand.put()
    hand.now += 5000
    # Made long before it was accepted: it waited for room.
    waited = await hand.put(at=NOW)
    new = await hand.put(at=hand.now)
    assert await hand.listed(since=NOW) == [new, waited, old]
    assert await hand.listed(since=NOW + 1) == [new, waited]
    assert await hand.listed(since=NOW + 5000, function="f", state=State.QUEUED) == [new, waited]
    assert await hand.listed(since=NOW + 5001) == []
    assert await hand.listed(since=NOW + 1, before=new) == [waited]


# show


async def test_showing_what_is_not_there(hand: Hand) -> None:
    assert await hand.store.get(NOBODY) is None
    assert await hand.store.get("") is None


@pytest.mark.parametrize("cut", [lambda one: one[:-2], lambda one: one[:8], lambda _: "0", lambda _: "", lambda _: "ä"])
async def test_an_event_is_found_by_its_whole_id_only(hand: Hand, cut) -> None:
    delivery = await hand.put("f", "g")
    assert await hand.store.event(cut(ids.event_of(delivery))) is None
    assert await hand.store.event(delivery) is None
    assert await hand.store.event(ids.event_of(delivery)) is not None


async def test_an_event_shows_its_own_deliveries_only(hand: Hand) -> None:
    first, second = intake("f", "g"), intake("f")
    await hand.accept(first, second)
    found = await hand.store.event(first.event.id)
    assert found is not None
    assert [one.function for one in found[1]] == ["f", "g"]
    assert {one.event_id for one in found[1]} == {first.event.id}


# retry


async def test_what_waits_for_its_next_attempt_is_due_now_and_nothing_else(hand: Hand) -> None:
    waiting = await hand.put()
    (claimed,) = await hand.take()
    fault = Fault(type="E", message="m")
    assert await hand.settle(claimed, Retry(NOW + 60_000), attempt=attempt("raised", error=fault))
    gone, done = await dead(hand), await succeeded(hand)
    running = await hand.put()
    await hand.take()
    delayed = await hand.put(due=NOW + 1000)
    hand.now += 100
    before = await hand.look(waiting)
    others = [await hand.look(one) for one in (gone, done, running, delayed)]
    asked = [delayed, gone, waiting, running, NOBODY, done, waiting]
    assert await hand.store.retry(asked, now=hand.now) == [waiting]
    found = await hand.look(waiting)
    assert (found.due, before.due) == (NOW + 100, NOW + 60_000)
    before.due = found.due
    assert found == before
    assert [await hand.look(one) for one in (gone, done, running, delayed)] == others
    assert await hand.store.retry([waiting], now=hand.now) == []
    (claimed,) = await hand.take()
    assert (claimed.delivery.id, claimed.delivery.attempts) == (waiting, 2)
    assert (await hand.store.stats()).drift == 0
    assert await hand.store.audit() == []


async def test_a_delivery_grows_old_from_when_it_may_run(hand: Hand) -> None:
    for due, age in ((None, 100), (NOW + 60, 40)):
        await hand.put(due=due)
        hand.now = NOW + 100
        (claimed,) = await hand.take()
        assert claimed.delivery.age(hand.now) == age
        hand.now = NOW


# redrive


async def test_a_redriven_delivery_starts_again_under_its_id(hand: Hand) -> None:
    one = await dead(hand)
    hand.now += 100
    assert await hand.store.redrive([one], now=hand.now) == [one]
    found = await hand.look(one)
    assert (found.state, found.attempts, found.due, found.created) == (State.QUEUED, 0, NOW + 100, NOW)
    assert (found.finished, found.reason, found.error) == (None, None, None)
    hand.now += 10
    (claimed,) = await hand.take()
    assert (claimed.delivery.id, claimed.delivery.attempts, claimed.delivery.age(hand.now)) == (one, 1, 10)
    assert await hand.settle(claimed, attempt=attempt())
    detail = await hand.store.get(one)
    assert detail is not None
    assert [record.outcome for record in detail.attempts] == ["raised", "returned"]
    assert (await hand.store.stats()).accepted == 1


async def test_what_is_finished_is_redriven_and_nothing_else(hand: Hand) -> None:
    gone, done = await dead(hand), await succeeded(hand)
    ended = await hand.put()
    await hand.store.cancel([ended], now=NOW, reason="no")
    running = await hand.put()
    await hand.take()
    queued = await hand.put()
    asked = [queued, done, running, NOBODY, ended, gone, done]
    assert await hand.store.redrive(asked, now=NOW) == [done, ended, gone]
    assert await hand.store.redrive([], now=NOW) == []


async def test_of_what_is_finished_only_that_is_redriven_which_stands_as_asked(hand: Hand) -> None:
    gone, done = await dead(hand), await succeeded(hand)
    assert await hand.store.redrive([done, gone], now=NOW, states=(State.DEAD,)) == [gone]
    assert (await hand.look(done)).state is State.SUCCEEDED


# cancel


async def test_cancelling_what_is_queued(hand: Hand) -> None:
    one = await hand.put()
    assert await hand.store.cancel([one], now=NOW + 5, reason="by hand") == [one]
    found = await hand.look(one)
    assert (found.state, found.reason, found.finished) == (State.CANCELLED, "by hand", NOW + 5)
    assert await hand.take() == []


async def test_cancelling_what_runs_takes_its_fence_away(hand: Hand) -> None:
    one = await hand.put()
    (claimed,) = await hand.take()
    assert await hand.store.cancel([one], now=NOW, reason="by hand") == [one]
    assert not await hand.settle(claimed)
    assert (await hand.look(one)).state is State.CANCELLED


async def test_what_is_finished_stays_as_it_is(hand: Hand) -> None:
    gone, done, queued = await dead(hand), await succeeded(hand), await hand.put()
    assert await hand.store.cancel([gone, queued, NOBODY, done, queued], now=NOW, reason="no") == [queued]
    assert (await hand.look(gone)).state is State.DEAD


# discard


async def test_discarding_removes_what_is_dead_and_counts_it(hand: Hand) -> None:
    gone, done, queued = await dead(hand), await succeeded(hand), await hand.put()
    assert await hand.store.discard([done, gone, queued, NOBODY, gone], now=NOW) == [gone]
    assert await hand.store.get(gone) is None
    assert await hand.store.event(ids.event_of(gone)) is None
    stats = await hand.store.stats()
    assert (stats.accepted, stats.discarded, stats.count(State.DEAD), stats.drift) == (3, 1, 0, 0)
    assert await hand.store.redrive([gone], now=NOW) == []


async def test_discarding_one_of_an_event_keeps_the_others(hand: Hand) -> None:
    given = intake("f", "g", data=b"x" * 100_000)
    await hand.accept(given)
    (claimed,) = await hand.take()
    await hand.settle(claimed, Bury("no"))
    assert await hand.store.discard([claimed.delivery.id], now=NOW) == [claimed.delivery.id]
    (other,) = await hand.take(lane=Lane("t", "g"))
    assert other.event == given.event


# count


async def test_every_delivery_is_counted_in_one_place(hand: Hand) -> None:
    await dead(hand)
    await hand.store.discard([await dead(hand)], now=NOW)
    await succeeded(hand)
    await hand.store.cancel([await hand.put()], now=NOW, reason="no")
    await hand.put()
    (retried,) = await hand.take()
    await hand.settle(retried, Retry(NOW + 1000))
    await hand.put()
    await hand.take()
    await hand.put("f", "g", trigger="u")
    stats = await hand.store.stats()
    assert stats.accepted == 8
    assert {state: stats.count(state) for state in State} == {
        State.QUEUED: 3,
        State.RUNNING: 1,
        State.SUCCEEDED: 1,
        State.DEAD: 1,
        State.CANCELLED: 1,
    }
    assert stats.by_lane[LANE][State.QUEUED] == 1
    assert stats.by_lane[Lane("u", "g")][State.QUEUED] == 1
    assert (stats.discarded, stats.pruned, stats.drift) == (1, 0, 0)
    assert await hand.store.audit() == []


async def test_a_repetition_counts_nothing(hand: Hand) -> None:
    for _ in range(3):
        await hand.accept(intake(key="k", keep=1000))
    assert (await hand.store.stats()).accepted == 1


async def test_an_empty_store(hand: Hand) -> None:
    stats = await hand.store.stats()
    assert (stats.accepted, stats.drift) == (0, 0)
    assert await hand.listed() == []
    assert await hand.store.reap() == []
    assert await hand.store.prune(finished_before=NOW, dead_before={}, now=NOW) == 0


async def test_what_is_held_is_what_pruning_leaves(hand: Hand) -> None:
    before = await hand.store.held()
    await hand.put(data=b"q" * 60_000, due=NOW + 1000)
    await hand.put(data=b"Q" * 500_000, due=NOW + 1000)
    await hand.accept(intake("f", "g", data=b"d" * 100_000))
    (claimed,) = await hand.take()
    await hand.settle(claimed, Bury("no"))
    await succeeded(hand)
    await hand.put(data=b"s" * 500_000)
    (claimed,) = await hand.take()
    await hand.settle(claimed, Complete())
    assert 660_000 <= await hand.store.held() - before < 662_000


async def test_size_follows_what_is_kept(hand: Hand) -> None:
    before = await hand.store.size()
    for fill in (b"a", b"b"):
        await hand.put(data=fill * 500_000)
    for fill in (b"c", b"d"):
        await hand.put(data=fill * 60_000)
    full = await hand.store.size()
    assert full - before > 1_100_000
    for claimed in await hand.take():
        await hand.settle(claimed, Complete())
    await hand.store.prune(finished_before=NOW + 1000, dead_before={}, now=NOW + 1000)
    assert full - await hand.store.size() > 1_100_000
