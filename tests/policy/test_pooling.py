"""When workers are started ahead, and how far ahead work is claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.pooling import (
    AHEAD_MOST,
    LONGEST_PAUSE,
    ahead,
    ahead_of_calls,
    idle_too_long,
    pause,
    smoothed,
)


@pytest.mark.parametrize(
    ("ready", "lent", "limit", "warm", "spare", "expected"),
    [
        pytest.param(0, 0, 4, 0, True, 0, id="nobody calls"),
        pytest.param(0, 1, 4, 0, True, 1, id="the last idle one was lent"),
        pytest.param(1, 1, 4, 0, True, 0, id="one spare is enough"),
        pytest.param(0, 4, 4, 0, True, 0, id="no more than may run"),
        pytest.param(0, 3, 2, 3, True, 0, id="the limit was lowered"),
        pytest.param(0, 1, 4, 0, False, 0, id="spares are not needed"),
        pytest.param(0, 0, 4, 3, False, 3, id="none of those to be warm is there"),
        pytest.param(1, 1, 4, 3, False, 1, id="lent ones are among the warm"),
        pytest.param(0, 3, 4, 3, True, 1, id="a spare beside warm ones"),
        pytest.param(3, 0, 4, 1, True, 0, id="more than are to be warm"),
    ],
)
def test_what_is_started_ahead(ready: int, lent: int, limit: int, warm: int, spare: bool, expected: int) -> None:
    assert ahead_of_calls(ready=ready, lent=lent, limit=limit, warm=warm, spare=spare) == expected


@pytest.mark.parametrize(
    ("ready", "lent", "limit", "expected"),
    [
        pytest.param(0, 0, 1, 1, id="the only one has served"),
        pytest.param(0, 1, 1, 0, id="the only one serves"),
        pytest.param(1, 0, 4, 0, id="the next one is there"),
        pytest.param(0, 3, 4, 1, id="all are lent"),
    ],
)
def test_one_is_started_ahead_where_none_comes_back(ready: int, lent: int, limit: int, expected: int) -> None:
    assert ahead_of_calls(ready=ready, lent=lent, limit=limit, warm=0, spare=True, fresh=True) == expected
    assert ahead_of_calls(ready=ready, lent=lent, limit=limit, warm=0, spare=False, fresh=True) == 0


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.booleans(), st.booleans())
def test_what_is_started_ahead_is_enough_and_within_the_limit(
    ready: int, lent: int, limit: int, warm: int, spare: bool, fresh: bool
) -> None:
    count = ahead_of_calls(ready=ready, lent=lent, limit=limit, warm=warm, spare=spare, fresh=fresh)
    there = ready + lent + count
    assert count >= 0
    assert there <= max(limit, ready + lent)
    assert there >= min(warm, limit)
    if spare and (lent or fresh):
        assert ready + count or there >= limit
    if count:
        assert ahead_of_calls(ready=ready + count, lent=lent, limit=limit, warm=warm, spare=spare, fresh=fresh) == 0
        assert there == max(warm, min(there, lent + 1)) or there == limit, "nothing is started for nothing"


@given(st.integers(1, 10_000))
def test_who_cannot_start_is_tried_less_and_less(failures: int) -> None:
    assert pause(1) == 1.0
    assert pause(failures) <= pause(failures + 1) <= LONGEST_PAUSE


@pytest.mark.parametrize(
    ("recent", "expected"),
    [(None, 0), (100.0, 0), (20.0, 4), (10.0, 8), (1.0, 80), (0.01, AHEAD_MOST), (0.0, AHEAD_MOST)],
)
def test_only_short_calls_are_claimed_ahead(recent: float | None, expected: int) -> None:
    assert ahead(recent, concurrency=4) == expected


@given(st.floats(0, 1e6), st.integers(1, 1000))
def test_what_is_claimed_ahead_is_done_within_the_bound(recent: float, concurrency: int) -> None:
    count = ahead(recent, concurrency=concurrency)
    assert 0 <= count <= AHEAD_MOST
    assert count * recent / concurrency <= 20.0 + 1e-6


@given(st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1e6))
def test_a_slow_call_counts_at_once(recent: float | None, latest: float) -> None:
    assert smoothed(recent, latest) >= latest or (recent is not None and smoothed(recent, latest) <= recent)


@pytest.mark.parametrize(("now", "expected"), [(99, False), (100, True), (101, True)])
def test_idle_too_long(now: int, expected: bool) -> None:
    assert idle_too_long(0, now, 100) is expected
