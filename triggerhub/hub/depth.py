"""Know how many deliveries wait or run."""

from __future__ import annotations

from collections import Counter

from triggerhub.store import Stats


class Depth:
    """Counts the unfinished deliveries of each trigger, for backpressure."""

    def __init__(self) -> None:
        self._unfinished: Counter[str] = Counter()

    def load(self, stats: Stats) -> None:
        """Begin with what is in the store."""
        for lane, counts in stats.by_lane.items():
            self._unfinished[lane.trigger] += sum(n for state, n in counts.items() if not state.finished)

    def __getitem__(self, trigger: str) -> int:
        return self._unfinished[trigger]

    def add(self, trigger: str, count: int) -> None:
        self._unfinished[trigger] += count
