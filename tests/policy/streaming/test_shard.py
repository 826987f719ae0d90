"""What a shard hands out: batches, retries, bisecting, ages, and positions that skip nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.streaming import (
    Call,
    Failed,
    FailedFrom,
    GiveUp,
    Plan,
    Position,
    Record,
    Shard,
    Succeeded,
    Unheard,
    decode,
)
from triggerhub.policy.streaming import shard as module
from triggerhub.settings import MB, MINUTE, SECOND, RetryPolicy

NOW = 1_767_225_600_000
RETRY = RetryPolicy(attempts=3, initial=SECOND, max=10 * SECOND, jitter=False)


def records(count: int, *, first: int = 1, keys: int = 1, arrived: int = NOW, size: int = 2) -> list[Record]:
    return [Record(str(n), f"k{n % keys}", arrived, b"x" * size) for n in range(first, first + count)]


def plan(**changes: object) -> Plan:
    return replace(Plan(size=10, retry=RETRY), **changes)  # type: ignore[arg-type]


def numbers(step: object) -> list[int]:
    assert isinstance(step, Call | GiveUp)
    return [int(record.sequence) for record in step.records]


def made(fed: int = 0, keys: int = 1, position: Position | None = None, **changes: object) -> Shard:
    shard = Shard(plan(**changes), position or Position())
    shard.feed(records(fed, keys=keys), NOW)
    return shard


def only(shard: Shard, now: int = NOW) -> Call | GiveUp:
    (step,) = shard.take(now)
    return step


# batches


def test_a_batch_has_at_most_so_many_records_and_the_next_waits_for_it() -> None:
    shard = made(15)
    first = only(shard)
    assert numbers(first) == list(range(1, 11))
    assert shard.take(NOW) == []
    shard.settle(first, Succeeded(), NOW, 0.5)
    assert shard.position(NOW) == Position(after="10")
    assert numbers(only(shard)) == [11, 12, 13, 14, 15]


def test_a_window_lets_a_batch_fill() -> None:
    shard = made(3, window=5000)
    assert shard.take(NOW + 4999) == []
    assert shard.next() == NOW + 5000
    assert numbers(only(shard, NOW + 5000)) == [1, 2, 3]


def test_a_full_batch_a_full_payload_and_the_end_of_the_shard_wait_for_no_window() -> None:
    assert numbers(only(made(10, window=5000))) == list(range(1, 11))
    shard = made(3, window=5000)
    shard.end()
    assert numbers(only(shard)) == [1, 2, 3]
    heavy = Shard(plan(window=5000), Position())
    heavy.feed(records(7, size=MB), NOW)
    assert len(only(heavy).records) == 5


def test_a_record_that_is_too_large_by_itself_runs_alone() -> None:
    shard = Shard(plan(), Position())
    shard.feed([*records(1, size=7 * MB), *records(1, first=2)], NOW)
    assert numbers(only(shard)) == [1]


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    shard = made(1, window=5000)
    assert shard.take(NOW - 60 * MINUTE) == []
    call = only(shard, NOW - 60 * MINUTE + 5000)
    shard.settle(call, Failed(), NOW, 0)
    assert shard.take(NOW - 60 * MINUTE) == []
    assert only(shard, NOW - 60 * MINUTE + 30 * SECOND)


def test_reading_ahead_is_bounded_by_records_and_by_bytes() -> None:
    assert made(0).room() == module.AHEAD
    assert made(400).room() == module.AHEAD - 400
    assert made(0, size=1000, parallel=4).room() == 8000
    heavy = Shard(plan(), Position())
    heavy.feed(records(16, size=MB), NOW)
    assert heavy.room() == 0


def test_what_is_read_twice_is_handled_once() -> None:
    shard = made(5)
    shard.feed(records(7), NOW)
    assert numbers(only(shard)) == [1, 2, 3, 4, 5, 6, 7]


def test_filtered_records_move_the_position_and_are_not_called_with() -> None:
    shard = Shard(plan(), Position())
    shard.feed([replace(one, wanted=one.sequence == "3") for one in records(5)], NOW)
    assert shard.position(NOW) == Position(after="2")
    call = only(shard)
    assert numbers(call) == [3]
    shard.settle(call, Succeeded(), NOW, 0)
    assert shard.position(NOW) == Position(after="5")


# failures


def test_a_failed_batch_is_tried_again_after_a_rest_and_then_given_up_whole() -> None:
    shard = made(4)
    now = NOW
    for attempt, rest in ((1, SECOND), (2, 2 * SECOND), (3, 0)):
        call = only(shard, now)
        assert isinstance(call, Call)
        assert call.attempt == attempt
        shard.settle(call, Failed("r"), now, 0)
        if rest:
            assert shard.take(now + rest - 1) == []
        now += rest
    given_up = only(shard, now)
    assert given_up == GiveUp(0, records(4), "RetryAttemptsExhausted", 3, Failed("r"))
    assert shard.position(now) == Position()
    shard.gave_up(given_up)
    assert shard.position(now) == Position(after="4")


def test_a_call_that_did_not_come_about_counts_for_nothing() -> None:
    shard = made(1)
    now = NOW
    for _ in range(20):
        call = only(shard, now)
        assert isinstance(call, Call)
        assert call.attempt == 1
        shard.settle(call, Unheard(), now, 0.5)
        assert shard.take(now) == []
        now = shard.next() or 0
    call = only(shard, now)
    shard.settle(call, Succeeded(), now, 0)
    assert shard.position(now) == Position(after="1")


def test_a_partial_answer_moves_the_position_and_goes_on_at_the_lowest_that_failed() -> None:
    shard = made(5, partial=True)
    shard.settle(only(shard), FailedFrom(2, "r"), NOW, 0)
    assert shard.position(NOW) == Position(after="2")
    call = only(shard, NOW + SECOND)
    assert isinstance(call, Call)
    assert (numbers(call), call.attempt) == ([3, 4, 5], 2)


def test_after_partial_answers_only_the_record_that_failed_is_given_up() -> None:
    shard = made(5, partial=True)
    now = NOW
    for _ in range(3):
        call = only(shard, now)
        shard.settle(call, FailedFrom(numbers(call).index(2)), now, 0)
        now += 10 * SECOND
    given_up = only(shard, now)
    assert isinstance(given_up, GiveUp)
    assert (numbers(given_up), given_up.calls) == ([2], 3)
    shard.gave_up(given_up)
    call = only(shard, now)
    assert isinstance(call, Call)
    assert (numbers(call), call.attempt) == ([3, 4, 5], 1)


@given(size=st.integers(1, 300), poison=st.integers(0, 299), attempts=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_bisecting_isolates_a_poison_record_and_delivers_the_rest(size: int, poison: int, attempts: int) -> None:
    poison %= size
    shard = made(size, size=size, bisect=True, retry=replace(RETRY, attempts=attempts))
    handled: list[int] = []
    bad, now = 0, NOW
    while shard.position(now).after != str(size):
        steps = shard.take(now)
        if not steps:
            now = shard.next() or now
            continue
        (step,) = steps
        if isinstance(step, GiveUp):
            assert numbers(step) == [poison + 1]
            shard.gave_up(step)
        elif poison + 1 in numbers(step):
            bad += 1
            shard.settle(step, Failed(), now, 0)
        else:
            handled += numbers(step)
            shard.settle(step, Succeeded(), now, 0)
    assert bad <= math.ceil(math.log2(size)) + attempts
    assert handled == [n for n in range(1, size + 1) if n != poison + 1]


def test_records_past_their_age_are_given_up_before_they_are_called_with() -> None:
    shard = Shard(plan(max_age=MINUTE), Position())
    shard.feed([*records(2, arrived=NOW - 2 * MINUTE), *records(2, first=3)], NOW)
    given_up = only(shard)
    assert isinstance(given_up, GiveUp)
    assert (numbers(given_up), given_up.condition, given_up.calls) == ([1, 2], "RecordAgeExceeded", 0)
    shard.gave_up(given_up)
    assert numbers(only(shard)) == [3, 4]


def test_the_retry_policy_has_an_age_of_its_own() -> None:
    shard = made(1, retry=replace(RETRY, max_age=1500))
    shard.settle(only(shard), Failed(), NOW, 0)
    shard.settle(only(shard, NOW + SECOND), Failed(), NOW + SECOND, 0)
    given_up = only(shard, NOW + SECOND)
    assert isinstance(given_up, GiveUp)
    assert given_up.condition == "RecordAgeExceeded"


# lanes


def test_lanes_run_side_by_side_and_a_failing_one_blocks_only_itself() -> None:
    shard = made(40, keys=8, parallel=4, size=5)
    steps = shard.take(NOW)
    assert len(steps) > 1
    assert len({step.lane for step in steps}) == len(steps)
    bad = steps[0]
    for step in steps:
        shard.settle(step, Failed() if step is bad else Succeeded(), NOW, 0.5)
    again = shard.take(NOW)
    assert bad.lane not in {step.lane for step in again}
    assert again


def test_a_position_remembers_lanes_that_are_ahead() -> None:
    shard = made(40, keys=8, parallel=4, size=5)
    steps = shard.take(NOW)
    done = steps[-1]
    shard.settle(done, Succeeded(), NOW, 0)
    position = decode(shard.position(NOW).encode())
    assert position == shard.position(NOW)
    anew = Shard(plan(parallel=4, size=100), position)
    anew.feed(records(40, keys=8), NOW)
    called = sorted(n for step in anew.take(NOW) for n in numbers(step))
    assert called == [n for n in range(1, 41) if n not in numbers(done)]


def test_another_number_of_lanes_starts_from_what_all_have_done() -> None:
    position = Position(after="3", lanes=("9", None))
    shard = Shard(plan(parallel=3, size=100), position)
    shard.feed(records(10), NOW)
    assert sorted(n for step in shard.take(NOW) for n in numbers(step)) == list(range(4, 11))


# where reading begins, and ends


def test_what_arrived_before_the_start_is_passed_over_and_remembered() -> None:
    shard = Shard(plan(), Position(since=NOW))
    shard.feed(records(2, arrived=NOW - 1), NOW)
    assert shard.position(NOW) == Position(after="2", since=NOW)
    shard.feed(records(1, first=3, arrived=NOW - 1), NOW)
    shard.feed([*records(1, first=4), *records(1, first=5, arrived=NOW - 1)], NOW)
    call = only(shard)
    assert numbers(call) == [4, 5]
    shard.settle(call, Succeeded(), NOW, 0)
    assert shard.position(NOW) == Position(after="5")


def test_reading_from_the_latest_takes_whatever_comes() -> None:
    shard = Shard(plan(), Position(since=NOW), latest=True)
    assert shard.position(NOW) == Position(since=NOW)
    shard.feed(records(1, arrived=NOW - 1), NOW)
    assert numbers(only(shard)) == [1]


def test_a_closed_shard_is_finished_once_all_of_it_is_done() -> None:
    shard = made(2)
    shard.end()
    assert shard.room() == 0
    call = only(shard)
    assert not shard.finished
    shard.settle(call, Succeeded(), NOW, 0)
    assert shard.finished
    assert decode(shard.position(NOW + 7).encode()) == Position(ended=NOW + 7)


def test_sequence_numbers_are_kept_as_they_were_written() -> None:
    shard = Shard(plan(), Position())
    shard.feed([Record("0010", "k", NOW, b"{}")], NOW)
    assert shard.read_after == "0010"
    shard.settle(only(shard), Succeeded(), NOW, 0)
    assert shard.position(NOW).after == "0010"


def test_a_place_at_the_end_that_was_lost_is_taken_up_at_its_moment() -> None:
    shard = Shard(plan(), Position(since=NOW), latest=True)
    assert shard.since == NOW
    shard.anew()
    shard.feed([*records(2, arrived=NOW - 1), *records(1, first=3)], NOW)
    assert numbers(only(shard)) == [3]


def test_another_policy_of_retrying_counts_from_the_next_failure_on() -> None:
    shard = made(1)
    shard.settle(only(shard), Failed(), NOW, 0)
    shard.obey(replace(RETRY, attempts=2))
    shard.settle(only(shard, NOW + SECOND), Failed(), NOW + SECOND, 0)
    assert isinstance(only(shard, NOW + SECOND), GiveUp)


def test_a_lane_that_is_held_has_no_step() -> None:
    shard = made(2, size=1)
    assert not shard.drained
    assert shard.take(NOW, held={0}) == []
    assert shard.next(held={0}) is None
    for _ in range(2):
        shard.settle(only(shard), Succeeded(), NOW, 0)
    assert shard.drained
    assert not shard.finished


# whatever happens


class World:
    """A shard that is driven at random, and what must hold of it."""

    def __init__(self, random: Random, plan: Plan, total: int, keys: int) -> None:
        self.random, self.plan = random, plan
        self.records = [
            Record(str(n), f"k{random.randrange(keys)}", NOW + n, b"{}", wanted=random.random() > 0.1)
            for n in range(1, total + 1)
        ]
        self.poison = {n for n in range(1, total + 1) if random.random() < 0.05}
        self.settled: set[int] = {int(one.sequence) for one in self.records if not one.wanted}
        self.ran: Counter[int] = Counter()
        self.stored = Position().encode()
        self.now = NOW
        self.calm = False
        self.restart()

    def restart(self) -> None:
        self.shard = Shard(self.plan, decode(self.stored))
        self.running: list[Call | GiveUp] = []
        # What the position passes over is done.
        position = decode(self.stored)
        for one in self.records[: int(position.after or 0)]:
            assert int(one.sequence) in self.settled

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.3:
            self.read()
        elif chance < 0.6:
            for step in self.shard.take(self.now):
                self.check(step)
                self.running.append(step)
        elif chance < 0.95 or self.calm:
            if self.running:
                self.end(self.running.pop(self.random.randrange(len(self.running))))
            else:
                self.now = max(self.now, self.shard.next() or self.now)
        else:
            self.restart()

    def read(self) -> None:
        after = int(self.shard.read_after or 0)
        count = min(self.shard.room(), self.random.randrange(1, 30))
        self.shard.feed(self.records[max(0, after - self.random.randrange(3)) : after + count], self.now)
        if after + count >= len(self.records):
            self.shard.end()

    def check(self, step: Call | GiveUp) -> None:
        """No record is called with while an older one of its key is not settled, or called with elsewhere."""
        inside = numbers(step)
        assert inside == sorted(inside)
        assert not {n for one in self.running for n in numbers(one)} & set(inside)
        for record in step.records:
            number = int(record.sequence)
            older = {int(one.sequence) for one in self.records[: number - 1] if one.key == record.key}
            assert older <= self.settled | set(inside)

    def end(self, step: Call | GiveUp) -> None:
        inside = numbers(step)
        if isinstance(step, GiveUp):
            self.shard.gave_up(step)
            self.settled |= set(inside)
        else:
            verdict = self.verdict(inside)
            if isinstance(verdict, Succeeded | FailedFrom):
                good = inside[: verdict.index] if isinstance(verdict, FailedFrom) else inside
                self.settled |= set(good)
                self.ran.update(good)
            self.shard.settle(step, verdict, self.now, self.random.random())
        if self.calm or self.random.random() > 0.1:
            self.stored = self.shard.position(self.now).encode()
        else:
            self.restart()

    def verdict(self, inside: list[int]) -> Succeeded | Failed | FailedFrom | Unheard:
        bad = [at for at, n in enumerate(inside) if n in self.poison]
        if bad:
            return FailedFrom(bad[0]) if self.plan.partial else Failed()
        if self.calm or self.random.random() < 0.8:
            return Succeeded()
        if self.plan.partial and self.random.random() < 0.5:
            return FailedFrom(self.random.randrange(len(inside)))
        return Failed() if self.random.random() < 0.5 else Unheard()


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 12),
    parallel=st.integers(1, 5),
    bisect=st.booleans(),
    partial=st.booleans(),
    attempts=st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_no_record_is_skipped_and_each_key_is_in_order(
    seed: int, size: int, parallel: int, bisect: bool, partial: bool, attempts: int
) -> None:
    retry = replace(RETRY, attempts=attempts)
    policies = plan(size=size, parallel=parallel, bisect=bisect, partial=partial, retry=retry)
    world = World(Random(seed), policies, total=120, keys=7)
    for _ in range(300):
        world.step()
    world.calm = True
    for _ in range(20_000):
        if world.shard.finished:
            break
        world.step()
    assert world.shard.finished
    assert world.settled == set(range(1, 121))
    assert decode(world.shard.position(world.now).encode()).ended is not None


@given(st.text(alphabet="0123456789", min_size=1, max_size=30), st.integers(0, 2**45), st.booleans())
def test_a_position_is_read_as_it_was_written(after: str, since: int, both: bool) -> None:
    position = Position(after=after if both else None, since=since, lanes=(after, None))
    assert decode(position.encode()) == position
    assert json.loads(position.encode())


@pytest.mark.parametrize("position", [Position(), Position(ended=5), Position(after="1")])
def test_a_plain_position_is_short(position: Position) -> None:
    assert len(position.encode()) < 20
    assert decode(position.encode()) == position
