"""Make the ids of events."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from triggerhub import ids
from triggerhub.hub.clock import Clock


class Mint:
    """Makes ids that only grow, also within a millisecond and when the clock steps back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._counter = 0
        self._random: Iterator[tuple[int, ...]] = iter(())

    def __call__(self) -> str:
        now = self._clock.now()
        if now > self._last:
            self._last, self._counter = now, 0
        else:
            self._counter += 1
            if self._counter > 0xFFF:
                self._last, self._counter = self._last + 1, 0
        return ids.event_id(self._last, self._counter, self._drawn())

    def follow(self, newest: str) -> None:
        """Let all ids from now on be greater than *newest*, which an earlier hub made."""
        self._last = max(self._last, ids.milliseconds(newest) + 1)

    def _drawn(self) -> int:
        """Return the next eight random bytes; they are fetched for many ids at once, since each fetch is a wait."""
        for drawn in self._random:
            return drawn[0]
        self._random = struct.iter_unpack("Q", os.urandom(8 * 512))
        return self._drawn()
