"""Decide what of a batch one call may carry.

Pure: keys stand for the events, in the order in which they are to run.
"""

from __future__ import annotations

from collections.abc import Sequence


def repeats(keys: Sequence[str | None]) -> dict[int, int]:
    """Return the places of those that repeat another one's key, each with the place of the first that has it."""
    firsts: dict[str, int] = {}
    return {
        place: first
        for place, key in enumerate(keys)
        if key is not None and (first := firsts.setdefault(key, place)) != place
    }
