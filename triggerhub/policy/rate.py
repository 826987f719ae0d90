"""Hold calls to a rate: a token bucket in whole numbers, so that no fraction of a call is ever lost."""

from __future__ import annotations

from dataclasses import dataclass

from triggerhub.model import Millis
from triggerhub.settings import Rate


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left to spend. A millisecond adds ``rate.count``; a call costs ``rate.per``."""

    level: int
    at: Millis

    @classmethod
    def full(cls, rate: Rate, now: Millis) -> Bucket:
        """Return a bucket that lets ``rate.count`` calls through at once."""
        return cls(rate.count * rate.per, now)


def take(bucket: Bucket, rate: Rate, now: Millis) -> tuple[Bucket, Millis]:
    """Return the bucket after an attempt to take one call, and how long to wait: 0 means it was taken.

    After a rest up to ``rate.count`` calls pass at once; from then on ``rate.count`` per ``rate.per``. A
    clock that steps back adds nothing, and the filling goes on from its new reading; one that leaps
    ahead fills the bucket once, not more.
    """
    passed = max(now - bucket.at, 0)
    level = min(bucket.level + passed * rate.count, rate.count * rate.per)
    if level >= rate.per:
        return Bucket(level - rate.per, now), 0
    return Bucket(level, now), -(-(rate.per - level) // rate.count)
