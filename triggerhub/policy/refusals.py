"""Choose which refusals are written down: whoever may do nothing must not fill the log of what others did. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from triggerhub.model import Millis
from triggerhub.policy.rate import Bucket, take
from triggerhub.settings import MINUTE, Rate

AT_MOST = Rate(count=20, per=20 * MINUTE)
"""Refusals of one who asks that are written down."""
KEPT = 1_000
"""Of so many who ask it is remembered."""


@dataclass(slots=True)
class _Asks:
    bucket: Bucket
    left_out: int = 0


@dataclass(slots=True)
class Refusals:
    """Those that came lately, by who asked."""

    _lately: dict[str, _Asks] = field(default_factory=dict)

    def due(self, who: str, now: Millis) -> int | None:
        """Count one more; None where it is left out, else how many were since the last that was written down."""
        asks = self._lately.pop(who, None) or _Asks(Bucket.full(AT_MOST, now))
        if len(self._lately) >= KEPT:
            del self._lately[next(iter(self._lately))]
        self._lately[who] = asks
        asks.bucket, wait = take(asks.bucket, AT_MOST, now)
        if wait:
            asks.left_out += 1
            return None
        count, asks.left_out = asks.left_out, 0
        return count
