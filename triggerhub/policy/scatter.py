"""Place deliveries on a plot of time against duration. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from triggerhub.model import Delivery, Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One delivery; ``x`` and ``y`` are shares of the plot, from its left and its top."""

    id: str
    state: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The dots, the moments at both ends, and where which duration lies."""

    dots: tuple[Dot, ...]
    begin: Millis
    end: Millis
    rules: tuple[tuple[float, float], ...]
    """Milliseconds, and their share from the top."""


def plot(rows: Sequence[Delivery]) -> Plot | None:
    """Return the plot of *rows*; None where nothing of them ran. Durations are logarithmic, in whole decades."""
    durations = [row.duration_ms for row in rows if row.duration_ms]
    if not durations:
        return None
    low = math.floor(math.log10(max(min(durations), 0.1)))
    high = max(math.ceil(math.log10(max(max(durations), 0.1))), low + 1)
    begin, end = min(row.created for row in rows), max(row.created for row in rows)
    dots = tuple(
        Dot(
            id=row.id,
            state=row.state.value,
            x=(row.created - begin) / (end - begin) if end > begin else 0.5,
            y=_height(row.duration_ms, low, high),
        )
        for row in rows
    )
    rules = tuple((10.0**decade, _height(10.0**decade, low, high)) for decade in range(low, high + 1))
    return Plot(dots=dots, begin=begin, end=end, rules=rules)


def _height(milliseconds: float | None, low: int, high: int) -> float:
    """Return the share from the top; what has no duration yet lies on the ground."""
    if not milliseconds:
        return 1.0
    return 1.0 - min(max((math.log10(milliseconds) - low) / (high - low), 0.0), 1.0)
