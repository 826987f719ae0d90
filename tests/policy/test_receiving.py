"""How many ask a queue at once, and how many batches are under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.receiving import Turn, askers, batches, hidden

TURNS = st.lists(st.sampled_from(["full", "some", "empty", "failed"]))


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
def test_askers(count: int, turn: Turn, most: int, expected: int) -> None:
    assert askers(count, turn, most=most) == expected


@pytest.mark.parametrize(
    ("limit", "turn", "running", "expected"),
    [
        (1, "some", 1, 2),
        (5, "some", 2, 5),
        (2, "full", 2, 3),
        (8, "full", 8, 8),
        (8, "failed", 8, 7),
        (1, "failed", 1, 1),
        (4, "empty", 2, 4),
    ],
)
def test_batches(limit: int, turn: Turn, running: int, expected: int) -> None:
    assert batches(limit, turn, running=running, most=8) == expected


@given(TURNS, st.integers(1, 50))
def test_there_is_always_one_and_never_too_many(turns: list[Turn], most: int) -> None:
    count = limit = 1
    for turn in turns:
        count, limit = askers(count, turn, most=most), batches(limit, turn, running=limit, most=most)
        assert 1 <= count <= most
        assert 1 <= limit <= most


@given(st.integers(1, 20))
def test_a_backlog_doubles_them_in_each_round(most: int) -> None:
    count, rounds = 1, 0
    while count < most:
        for _ in range(count):
            count = askers(count, "full", most=most)
        rounds += 1
    assert rounds <= most.bit_length()


@given(st.integers(1, 50))
def test_a_function_that_always_fails_is_left_one_or_two(most: int) -> None:
    limit = most
    for _ in range(most * 2):
        limit = batches(limit, "failed", running=limit, most=most)
    assert batches(limit, "full", running=limit, most=most) <= 2


@given(st.floats(1, 43_200))
def test_hiding_is_renewed_at_least_twice_before_it_ends(visibility: float) -> None:
    assert hidden(visibility) * 2 < visibility
