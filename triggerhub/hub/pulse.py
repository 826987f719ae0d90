"""Remember how the hub did during the last hour, for people who look.

Nothing is added to the path of an event: what is counted there anyway is read every few seconds, and what
happened in between is the difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from triggerhub.hub.clock import Clock
from triggerhub.model import Fault, Millis
from triggerhub.policy.quantile import quantile
from triggerhub.settings import HOUR, MINUTE, SECOND
from triggerhub.telemetry.durations import between
from triggerhub.telemetry.metrics import Metrics, Totals

T = TypeVar("T")

STEP: Millis = 10 * SECOND
KEPT = HOUR // STEP
BY_FUNCTION = MINUTE // STEP
"""Functions are looked at every so many steps."""
WINDOW: Millis = 5 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What happened within one stretch of time."""

    time: Millis
    """Its end."""
    length: Millis
    accepted: int
    calls: int
    errors: int
    retries: int
    dead: int
    cold_starts: int
    p50: float | None
    """Milliseconds; None where no call ended."""
    p95: float | None

    @property
    def per_minute(self) -> float:
        """Calls per minute; of less than a minute, as many as there were."""
        return self.calls * MINUTE / max(self.length, MINUTE)

    @property
    def error_rate(self) -> float:
        """The share of calls that failed."""
        return self.errors / self.calls if self.calls else 0.0


class Pulse:
    """A ring of readings. ``beat`` takes them until cancelled; the memory is bounded."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._readings: deque[tuple[Millis, Totals]] = deque(
            [(clock.now(), metrics.totals())], maxlen=WINDOW // STEP + 1
        )
        self._points: deque[Point] = deque(maxlen=KEPT)
        self._functions: deque[tuple[Millis, dict[str, Totals]]] = deque(maxlen=HOUR // MINUTE + 1)
        self._look_at_functions()

    async def beat(self) -> None:
        turn = 0
        while True:
            await anyio.sleep(STEP / 1000)
            totals, known = self._metrics.totals(), self._readings[-1][1]
            # What did not change shares the memory of the reading before.
            self._readings.append((self._clock.now(), known if known == totals else totals))
            self._points.append(_between(self._readings[-2], self._readings[-1]))
            turn += 1
            if turn % BY_FUNCTION == 0:
                self._look_at_functions()
            if turn % (WINDOW // STEP) == 0:
                self._metrics.forget_memory()
                for name in self._metrics.forget_gone(self._clock.now()):
                    # Should there be one of that name again, it begins at nothing.
                    for _, found in self._functions:
                        found.pop(name, None)

    def series(self) -> list[Point]:
        """Return a point per step, oldest first."""
        return list(self._points)

    def latest(self) -> Point | None:
        """Return the last point of the series."""
        return self._points[-1] if self._points else None

    def recent(self, length: Millis = WINDOW) -> Point:
        """Return what happened during about the last *length* milliseconds, :data:`WINDOW` at most, until now."""
        now = (self._clock.now(), self._metrics.totals())
        return _between(_before(self._readings, now[0] - length), now)

    @property
    def retries(self) -> int:
        """How often a delivery was queued again since the start."""
        return self._metrics.totals().retries

    def tell(self, failed: Callable[[str], None]) -> None:
        """Call *failed* with a function's name as soon as one of its calls is counted as failed."""
        self._metrics.on_failure = failed

    def totals(self, name: str) -> Totals:
        """Return what was counted of one function since the start."""
        return self._metrics.totals(name)

    def function(self, name: str, length: Millis = WINDOW) -> Point:
        """Return what one function did during about the last *length* milliseconds."""
        now = self._clock.now()
        since, totals = _before(self._functions, now - length)
        return _between((since, totals.get(name, Totals())), (now, self._metrics.totals(name)))

    def last_failure(self, name: str) -> tuple[Fault, Millis] | None:
        """Return what a function failed with the last time that a caller waited, and when; None where it has not."""
        return self._metrics.last_failures.get(name)

    def memory(self, function: str) -> int | None:
        """Return the most that a worker of it used within the last five to ten minutes, in bytes."""
        return self._metrics.memory(function)

    def _look_at_functions(self) -> None:
        known = self._functions[-1][1] if self._functions else {}
        found = {}
        for name in self._metrics.called:
            totals = self._metrics.totals(name)
            found[name] = known[name] if known.get(name) == totals else totals
        self._functions.append((self._clock.now(), found))


def _before(readings: Sequence[tuple[Millis, T]], moment: Millis) -> tuple[Millis, T]:
    for reading in reversed(readings):
        if reading[0] <= moment:
            return reading
    return readings[0]


def _between(before: tuple[Millis, Totals], after: tuple[Millis, Totals]) -> Point:
    old, new = before[1], after[1]
    durations = between(old.durations, new.durations)
    return Point(
        time=after[0],
        length=max(after[0] - before[0], 1),
        accepted=new.accepted - old.accepted,
        calls=new.invocations - old.invocations,
        errors=new.errors - old.errors,
        retries=new.retries - old.retries,
        dead=new.dead - old.dead,
        cold_starts=new.cold_starts - old.cold_starts,
        p50=quantile(0.5, durations),
        p95=quantile(0.95, durations),
    )
