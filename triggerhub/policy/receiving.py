"""Decide how many ask a queue for messages at once, and how many batches may be under way.

Pure. Both grow while the queue gives, and shrink when it is empty or the function fails.
"""

from __future__ import annotations

from typing import Literal

Turn = Literal["full", "some", "empty", "failed"]
"""What a turn of one that asks came to: as many messages as it asked for, fewer, none; or its whole call failed."""


def askers(count: int, turn: Turn, *, most: int) -> int:
    """Return how many may ask at once, after a turn of one of *count*: from 1 to *most*.

    Each that finds the queue full adds one, so that their number doubles from round to round.
    """
    return _within(count + {"full": 1, "some": 0, "empty": -1, "failed": -1}[turn], most)


def batches(limit: int, turn: Turn, *, running: int, most: int) -> int:
    """Return how many may be under way, asking or handling, after a turn of one of those *running*: from 1 to *most*.

    Who got something leaves room for another to ask; a failure takes a place away.
    """
    match turn:
        case "full" | "some":
            limit = max(limit, running + 1)
        case "failed":
            limit -= 1
        case "empty":
            pass
    return _within(limit, most)


def _within(number: int, most: int) -> int:
    return max(1, min(number, most))


def hidden(visibility: float, *, beats: int = 3) -> float:
    """Return how many seconds after which a message's time in hiding is renewed: well before it ends."""
    return max(visibility / beats, 0.3)
