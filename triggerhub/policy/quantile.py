"""Estimate a quantile from what the buckets of a histogram hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(share: float, cells: Sequence[tuple[int, float]]) -> float | None:
    """Return the value that *share* of the observations do not pass; None where there are none.

    *cells* are the count and the sum of each bucket, the lowest first; none is empty. The answer is the mean of the
    bucket in which the observation lies: never outside what was observed, and no further from it than the bucket is
    wide.
    """
    rank = share * sum(count for count, _ in cells)
    passed = 0
    for count, total in cells:
        passed += count
        if passed >= rank:
            return total / count
    return None
