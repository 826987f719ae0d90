"""The token bucket's promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.rate import Bucket, take
from triggerhub.settings import HOUR, SECOND, Rate

TEN = Rate(count=10, per=SECOND)
NOW = 1_767_225_600_000


def taken(bucket: Bucket, rate: Rate, now: int) -> tuple[Bucket, int]:
    count = 0
    while True:
        bucket, wait = take(bucket, rate, now)
        if wait:
            return bucket, count
        count += 1


def test_a_full_bucket_gives_its_count_at_once_and_then_says_how_long_to_wait() -> None:
    bucket, count = taken(Bucket.full(TEN, NOW), TEN, NOW)
    assert count == 10
    assert take(bucket, TEN, NOW)[1] == 100
    assert take(bucket, TEN, NOW + 60)[1] == 40
    assert take(bucket, TEN, NOW + 100)[1] == 0


def test_a_refused_take_costs_nothing() -> None:
    bucket, _ = taken(Bucket.full(TEN, NOW), TEN, NOW)
    for _ in range(50):
        bucket, wait = take(bucket, TEN, NOW + 99)
        assert wait == 1
    assert take(bucket, TEN, NOW + 100)[1] == 0


def test_rest_fills_the_bucket_once_not_more() -> None:
    bucket, _ = taken(Bucket.full(TEN, NOW), TEN, NOW)
    assert taken(bucket, TEN, NOW + HOUR)[1] == 10


def test_a_clock_that_steps_back_neither_grants_nor_starves() -> None:
    bucket, _ = taken(Bucket.full(TEN, NOW), TEN, NOW)
    bucket, wait = take(bucket, TEN, NOW - HOUR)
    assert wait == 100
    assert take(bucket, TEN, NOW - HOUR + 100)[1] == 0


@pytest.mark.parametrize("rate", [Rate(count=3, per=SECOND), Rate(count=7, per=HOUR), Rate(count=5000, per=SECOND)])
def test_waiting_as_told_is_enough_and_a_millisecond_less_is_not(rate: Rate) -> None:
    bucket, _ = taken(Bucket.full(rate, NOW), rate, NOW)
    bucket, wait = take(bucket, rate, NOW)
    assert take(bucket, rate, NOW + wait - 1)[1] > 0
    assert take(bucket, rate, NOW + wait)[1] == 0


@given(
    count=st.integers(1, 50),
    per=st.sampled_from([SECOND, 60 * SECOND]),
    steps=st.lists(st.integers(0, 5000), min_size=1, max_size=200),
)
def test_over_any_time_no_more_pass_than_a_full_bucket_and_the_rate(count: int, per: int, steps: list[int]) -> None:
    rate = Rate(count=count, per=per)
    now, passed, bucket = NOW, 0, Bucket.full(rate, NOW)
    for step in steps:
        now += step
        bucket, wait = take(bucket, rate, now)
        passed += wait == 0
        assert wait >= 0
    assert passed <= count + (now - NOW) * count / per


@given(steps=st.lists(st.integers(-10 * HOUR, 10 * HOUR), max_size=50))
def test_whatever_the_clock_does_the_wait_is_never_longer_than_one_call_costs(steps: list[int]) -> None:
    now, bucket = NOW, Bucket.full(TEN, NOW)
    for step in steps:
        now += step
        bucket, wait = take(bucket, TEN, now)
        assert 0 <= wait <= 100
