"""When workers are lent, and how far ahead work is claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.pooling import AHEAD_MOST, Assignment, ahead, assign, idle_too_long, smoothed


@pytest.mark.parametrize(
    ("idle", "live", "limit", "expected"),
    [
        pytest.param(1, 4, 4, Assignment.LEND, id="an idle one is lent"),
        pytest.param(0, 3, 4, Assignment.START, id="there is room for one more"),
        pytest.param(0, 4, 4, Assignment.WAIT, id="all are lent"),
        pytest.param(0, 5, 4, Assignment.WAIT, id="the limit was lowered"),
    ],
)
def test_assign(idle: int, live: int, limit: int, expected: Assignment) -> None:
    assert assign(idle=idle, live=live, limit=limit) is expected


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
