"""A call of an alias goes to one of its versions, each as often as its weight says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.routing import chosen


@pytest.mark.parametrize(
    ("weights", "draw", "expected"),
    [
        ({}, 0.99, "1"),
        ({"2": 0.25}, 0.0, "2"),
        ({"2": 0.25}, 0.2499, "2"),
        ({"2": 0.25}, 0.25, "1"),
        ({"2": 0.0}, 0.0, "1"),
        ({"2": 1.0}, 0.999, "2"),
    ],
)
def test_the_draw_decides(weights: dict[str, float], draw: float, expected: str) -> None:
    assert chosen("1", weights, draw) == expected


@given(weight=st.floats(0, 1))
def test_over_even_draws_each_version_has_its_share(weight: float) -> None:
    counted = Counter(chosen("1", {"2": weight}, draw / 1000) for draw in range(1000))
    assert abs(counted["2"] - weight * 1000) <= 1
    assert counted["1"] + counted["2"] == 1000
