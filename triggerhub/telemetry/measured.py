"""Keep what functions measure themselves within bounds: they are strangers, and the page that shows it is the hub's."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from triggerhub.policy.embedded import Sample
from triggerhub.settings import KB

SERIES = 2_000
"""Different metrics and dimensions of all functions …"""
LABELS = 512 * KB
"""… and the characters of their names and dimensions."""

Own: TypeAlias = tuple[str, str, str, str, tuple[tuple[str, str], ...]]
"""What a function's metric is known by: function, namespace, name, unit and dimensions."""


@dataclass(slots=True)
class _Taken:
    series: int = 0
    labels: int = 0


class Measured:
    """Counts and sums. One function never takes more than it leaves to the others, so that each finds room."""

    def __init__(self) -> None:
        self.own: dict[Own, list[float]] = {}
        self._all = _Taken()
        self._of: defaultdict[str, _Taken] = defaultdict(_Taken)

    def add(self, function: str, one: Sample) -> bool:
        """Add the values of a sample; False where it is left out, for want of room or of a finite sum."""
        key = (function, one.namespace, one.name, one.unit, one.dimensions)
        count, total = self.own.get(key, (0.0, 0.0))
        total += sum(one.values)
        if not math.isfinite(total) or (key not in self.own and not self._take(key)):
            return False
        self.own[key] = [count + len(one.values), total]
        return True

    def _take(self, key: Own) -> bool:
        function, namespace, name, unit, dimensions = key
        labels = sum(map(len, (namespace, name, unit, *(part for pair in dimensions for part in pair))))
        mine, every = self._of[function], self._all
        left = _Taken(SERIES - every.series - 1, LABELS - every.labels - labels)
        if mine.series + 1 > left.series or mine.labels + labels > left.labels:
            return False
        for taken in (mine, every):
            taken.series += 1
            taken.labels += labels
        return True

    def forget(self, functions: Collection[str]) -> None:
        """Let go of what these measured."""
        for key in [key for key in self.own if key[0] in functions]:
            del self.own[key]
        for taken in [self._of.pop(name) for name in functions if name in self._of]:
            self._all.series -= taken.series
            self._all.labels -= taken.labels
