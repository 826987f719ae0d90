"""How many ask a queue at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.receiving import Turn, hidden, receivers


@pytest.mark.parametrize(
    ("count", "turn", "most", "expected"),
    [
        (1, "full", 8, 2),
        (8, "full", 8, 8),
        (4, "some", 8, 4),
        (4, "empty", 8, 3),
        (1, "empty", 8, 1),
        (4, "failed", 8, 3),
        (1, "failed", 8, 1),
        (8, "some", 2, 2),
    ],
)
def test_receivers(count: int, turn: Turn, most: int, expected: int) -> None:
    assert receivers(count, turn, most=most) == expected


@given(st.lists(st.sampled_from(["full", "some", "empty", "failed"])), st.integers(1, 50))
def test_there_is_always_one_and_never_too_many(turns: list[Turn], most: int) -> None:
    count = 1
    for turn in turns:
        count = receivers(count, turn, most=most)
        assert 1 <= count <= most


@given(st.integers(1, 20))
def test_a_backlog_doubles_them_in_each_round(most: int) -> None:
    count, rounds = 1, 0
    while count < most:
        for _ in range(count):
            count = receivers(count, "full", most=most)
        rounds += 1
    assert rounds <= most.bit_length()


@given(st.floats(1, 43_200))
def test_hiding_is_renewed_at_least_twice_before_it_ends(visibility: float) -> None:
    assert hidden(visibility) * 2 < visibility
