"""Hold back lines of the log that come in floods: what strangers or a full disk cause must not fill it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Quiet:
    """One kind of line: told once in ``every`` seconds, with how often it came up since."""

    every: float = 1.0
    told: float = -math.inf
    untold: int = 0

    def due(self, now: float) -> int:
        """Count one more; return how many are to be told of now, 0 where it is too early."""
        self.untold += 1
        if abs(now - self.told) < self.every:
            return 0
        count, self.told, self.untold = self.untold, now, 0
        return count
