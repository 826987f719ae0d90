"""Estimate a quantile from the counts of a histogram. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the value that *share* of the observations do not pass; None where there are none.

    *counts* has one more member than *bounds*: what lies above the last. Within a bucket the observations are
    taken to lie evenly; above the last bound the answer is that bound.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank, passed, low = share * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and passed + count >= rank:
            return low + (bound - low) * max(rank - passed, 0.0) / count
        passed, low = passed + count, bound
    return float(bounds[-1])
