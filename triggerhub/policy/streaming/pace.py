"""Decide when a shard is read again."""

from __future__ import annotations

from triggerhub.model import Millis
from triggerhub.settings import SECOND

BUSY: Millis = 200
"""Between reads of a shard that has more: AWS allows five a second."""
BASE: Millis = 250
"""Between reads of one that had nothing more: Lambda's rate."""
IDLE: Millis = SECOND
"""The longest rest of one that has had nothing for a while."""
PATIENCE = 8
"""Empty reads before the rests grow."""


def rest(*, more: bool, empty: int) -> Millis:
    """Return how long after the begin of one read the next may begin.

    *more* says that the shard has more than was read, *empty* how many reads in a row found nothing.
    """
    if more:
        return BUSY
    return min(IDLE, BASE + max(0, empty - PATIENCE) * 50)
