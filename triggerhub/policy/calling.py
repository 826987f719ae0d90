"""Decide what of a batch one call may carry.

Pure: keys stand for the events, in the order in which they are to run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def repeats(keys: Sequence[str | None]) -> dict[int, int]:
    """Return the places of those that repeat another one's key, each with the place of the first that has it."""
    firsts: dict[str, int] = {}
    return {
        place: first
        for place, key in enumerate(keys)
        if key is not None and (first := firsts.setdefault(key, place)) != place
    }


def overtaking(lines: Sequence[str | None], withheld: Collection[int]) -> set[int]:
    """Return the places of those that would overtake one that is *withheld*: they come after it in its line.

    What has no line is kept in no order.
    """
    first: dict[str, int] = {}
    for place in sorted(withheld):
        if (line := lines[place]) is not None:
            first.setdefault(line, place)
    return {place for place, line in enumerate(lines) if line is not None and place > first.get(line, place)}
