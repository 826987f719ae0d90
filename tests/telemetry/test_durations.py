"""How long calls took: buckets in which a quantile is near what was measured, whatever it was."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.quantile import quantile
from triggerhub.settings import DAY, HOUR, MINUTE, SECOND
from triggerhub.telemetry.durations import BOUNDS_MS, GROWTH, SHOWN_MS, Histogram, between, pack
from triggerhub.telemetry.metrics import Metrics


def test_bounds_grow_evenly_from_a_millisecond_to_a_day() -> None:
    assert (BOUNDS_MS[0], BOUNDS_MS[-1]) == (1.0, DAY)
    assert set(SHOWN_MS) < set(BOUNDS_MS)
    assert all(1 < high / low <= GROWTH + 1e-9 for low, high in pairwise(BOUNDS_MS))
    assert len(BOUNDS_MS) < 255, "the index of one is a byte"


@pytest.mark.parametrize(
    ("took", "p50", "p95"),
    [
        pytest.param([6000.0, 6050.0], 6025.0, 6025.0, id="two calls of six seconds share a bucket"),
        pytest.param([150_000.0], 150_000.0, 150_000.0, id="over two minutes"),
        pytest.param([15.0 * MINUTE] * 3, 15.0 * MINUTE, 15.0 * MINUTE, id="the longest timeout"),
        pytest.param([0.25], 0.25, 0.25, id="below the first bound"),
        pytest.param([2.0 * DAY], 2.0 * DAY, 2.0 * DAY, id="above the last"),
        pytest.param([10.0] * 95 + [8000.0] * 5, 10.0, 10.0, id="five of a hundred are slow"),
        pytest.param([10.0] * 94 + [8000.0] * 6, 10.0, 8000.0, id="six of a hundred are slow"),
    ],
)
def test_what_is_shown_is_what_was_measured(took: list[float], p50: float, p95: float) -> None:
    metrics = Metrics()
    metrics.observe("work", 1000.0)
    before = metrics.totals("work").durations
    for milliseconds in took:
        metrics.observe("work", milliseconds)
    cells = between(before, metrics.totals("work").durations)
    assert (quantile(0.5, cells), quantile(0.95, cells)) == (p50, p95)


milliseconds = st.floats(1.0, 24 * HOUR) | st.floats(1.0, 30.0 * SECOND) | st.integers(1, 999).map(float)


@given(
    early=st.lists(milliseconds, max_size=20),
    late=st.lists(milliseconds, min_size=1, max_size=60),
    share=st.sampled_from([0.5, 0.95, 0.99]) | st.floats(0.01, 1),
)
def test_a_quantile_is_within_a_bucket_of_the_true_one(early: list[float], late: list[float], share: float) -> None:
    metrics = Metrics()
    for one in early:
        metrics.observe("work", one)
    before = metrics.totals("work").durations
    for one in late:
        metrics.observe("work", one)
    found = quantile(share, between(before, metrics.totals("work").durations))
    true = next(one for at, one in enumerate(sorted(late), 1) if at >= share * len(late))
    assert found is not None
    assert found == pytest.approx(true, rel=GROWTH - 1 + 1e-6)
    assert min(late) * (1 - 1e-6) <= found <= max(late) * (1 + 1e-6)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(milliseconds, max_size=20)))
def test_all_functions_together_are_the_sum_of_each(called: dict[str, list[float]]) -> None:
    metrics, alone = Metrics(), Histogram()
    for name, took in called.items():
        for one in took:
            metrics.observe(name, one)
            cell = alone[bisect_left(BOUNDS_MS, one)]
            cell.count += 1
            cell.total += one
    together, expected = (between(b"", one) for one in (metrics.totals().durations, pack([alone])))
    assert [count for count, _ in together] == [count for count, _ in expected]
    assert math.fsum(total for _, total in together) == pytest.approx(math.fsum(total for _, total in expected))
    assert dict(alone.shown())["+Inf"] == sum(map(len, called.values()))


def test_nothing_between_two_readings_is_nothing() -> None:
    metrics = Metrics()
    assert between(metrics.totals().durations, metrics.totals("work").durations) == []
    metrics.observe("work", 5.0)
    assert between(metrics.totals().durations, metrics.totals().durations) == []
    assert metrics.totals("other").durations == b""
