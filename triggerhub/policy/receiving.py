"""Decide how many requests ask a queue for messages at once.

Pure. They grow while the queue gives as many as were asked for, and shrink when it is empty or the function fails.
"""

from __future__ import annotations

from typing import Literal

Turn = Literal["full", "some", "empty", "failed"]
"""What a turn of one receiver came to: as many messages as it asked for, fewer, none; or its whole call failed."""


def receivers(count: int, turn: Turn, *, most: int) -> int:
    """Return how many receivers there shall be, after one of *count* ended a turn: from 1 to *most*.

    Each receiver that finds the queue full adds one, so that their number doubles from round to round.
    """
    match turn:
        case "full":
            count += 1
        case "empty" | "failed":
            count -= 1
        case "some":
            pass
    return max(1, min(count, most))


def hidden(visibility: float, *, beats: int = 3) -> float:
    """Return how many seconds after which a message's time in hiding is renewed: well before it ends."""
    return max(visibility / beats, 0.3)
