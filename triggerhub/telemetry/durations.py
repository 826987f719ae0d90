"""Count durations in buckets that grow by :data:`GROWTH` at most, from a millisecond to a day.

A bucket knows how many it holds and their sum, so that few calls are shown as they were measured. Only buckets that
hold something take memory.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from struct import Struct
from typing import TypeAlias

from triggerhub.settings import DAY, MINUTE

SHOWN_MS = (
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    5.0 * MINUTE, 15.0 * MINUTE,
)  # fmt: skip
"""The bounds that Prometheus is shown: few, as each is a series of its own for each function."""
GROWTH = 1.11
"""The quotient of two neighbouring bounds, at most: no quantile is further from what was measured."""

Packed: TypeAlias = bytes
"""What buckets hold, as it is kept for later: compact, and not to be changed."""
_CELL = Struct("=BQd")


def _bounds() -> Iterable[float]:
    yield SHOWN_MS[0]
    for low, high in pairwise((*SHOWN_MS, float(DAY))):
        steps = math.ceil(math.log(high / low, GROWTH))
        for step in range(1, steps):
            yield low * (high / low) ** (step / steps)
        yield high


BOUNDS_MS = tuple(_bounds())
"""Where buckets end, :data:`SHOWN_MS` among them; one more is above."""


class Cell:
    """What one bucket holds."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0


class Histogram(defaultdict[int, Cell]):
    """The buckets that hold something, by the index of their bound."""

    def __init__(self) -> None:
        super().__init__(Cell)

    @property
    def total(self) -> float:
        return sum(cell.total for cell in self.values())

    def shown(self) -> list[tuple[str, float]]:
        """Return how many took at most so long, in seconds, for each of the bounds that are shown."""
        rows = []
        for bound in SHOWN_MS:
            index = bisect_left(BOUNDS_MS, bound)
            rows.append((repr(bound / 1000), float(sum(cell.count for at, cell in self.items() if at <= index))))
        return [*rows, ("+Inf", float(sum(cell.count for cell in self.values())))]


def pack(histograms: Iterable[Mapping[int, Cell]]) -> Packed:
    """Return what the buckets of all *histograms* hold together."""
    counts: defaultdict[int, int] = defaultdict(int)
    totals: defaultdict[int, float] = defaultdict(float)
    for histogram in histograms:
        for index, cell in histogram.items():
            counts[index] += cell.count
            totals[index] += cell.total
    return b"".join(_CELL.pack(index, counts[index], totals[index]) for index in sorted(counts))


def between(before: Packed, after: Packed) -> list[tuple[int, float]]:
    """Return count and sum of each bucket that something came to, the shortest first."""
    if before == after:
        return []
    known = {index: (count, total) for index, count, total in _CELL.iter_unpack(before)}
    found = []
    for index, count, total in _CELL.iter_unpack(after):
        old, sum_before = known.get(index, (0, 0.0))
        if count > old:
            found.append((count - old, total - sum_before))
    return found
