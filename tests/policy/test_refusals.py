"""Of refusals so many are written down, and of the rest how many there were."""

from __future__ import annotations

from triggerhub.policy.refusals import AT_MOST, KEPT, Refusals

NOW = 1_767_225_600_000
EACH = AT_MOST.per // AT_MOST.count


def test_of_a_flood_the_first_are_written_down_and_later_ones_with_how_many_were_not() -> None:
    refusals = Refusals()
    assert [refusals.due("a", NOW) for _ in range(AT_MOST.count)] == [0] * AT_MOST.count
    assert [refusals.due("a", NOW) for _ in range(500)] == [None] * 500
    assert refusals.due("b", NOW) == 0
    assert refusals.due("a", NOW + EACH) == 500
    assert refusals.due("a", NOW + EACH) is None
    assert refusals.due("a", NOW + 2 * EACH) == 1


def test_a_day_of_it_is_some_thousand_lines() -> None:
    refusals = Refusals()
    told = [refusals.due("a", NOW + second * 1000) for second in range(24 * 3600)]
    lines = [count for count in told if count is not None]
    assert len(lines) <= AT_MOST.count + 24 * 3_600_000 // EACH
    assert sum(lines) + len(lines) > len(told) - 100


def test_it_is_remembered_of_so_many_and_no_more() -> None:
    refusals = Refusals()
    for number in range(3 * KEPT):
        refusals.due(str(number), NOW)
    assert len(refusals._lately) <= KEPT
