"""Count what happens and write it as Prometheus reads it.

The hot path adds to plain dictionaries; everything else is done when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from triggerhub.policy.embedded import Sample
from triggerhub.store import Stats

BUCKETS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 60000.0)

EVENTS = {
    "accepted": ("triggerhub_events_accepted", "Events committed, by trigger."),
    "duplicates": ("triggerhub_events_duplicate", "Events whose dedup key was seen within its horizon, by trigger."),
    "filtered": ("triggerhub_events_filtered", "Events that a trigger's filter did not match."),
    "keyless": ("triggerhub_events_without_key", "Events in which a trigger's key or order found nothing."),
}
CALLS = {
    "invocations": ("triggerhub_invocations", "Calls of a function's code, failed ones included."),
    "errors": ("triggerhub_errors", "Calls that ended in a function error."),
    "throttles": ("triggerhub_throttles", "Waiting callers that found no free worker in time."),
    "cold_starts": ("triggerhub_cold_starts", "Calls that waited for a worker to start."),
    "retries": ("triggerhub_retries", "Deliveries queued again after a failure."),
    "dead": ("triggerhub_dead_letters", "Deliveries buried."),
    "lost_records": ("triggerhub_destination_failures", "Records of outcomes that a destination did not take."),
    "dead_letter_errors": ("triggerhub_dead_letter_errors", "Events that a dead-letter target did not take."),
}


SERIES = 1_000
"""Different metrics and dimensions that handlers may write; what more they write is counted and left out."""


class Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)
        self.total = 0.0

    def observe(self, milliseconds: float) -> None:
        self.counts[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self.total += milliseconds

    def buckets(self) -> list[tuple[str, float]]:
        rows, running = [], 0
        for bound, count in zip((*(b / 1000 for b in BUCKETS_MS), None), self.counts, strict=True):
            running += count
            rows.append(("+Inf" if bound is None else repr(bound), float(running)))
        return rows


Own: TypeAlias = tuple[str, str, str, str, tuple[tuple[str, str], ...]]
"""What a handler's metric is known by: function, namespace, name, unit and dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """All that was counted, for who writes it."""

    events: Mapping[str, Counter[str]]
    """By a name of :data:`EVENTS` and trigger."""
    calls: Mapping[str, Counter[str]]
    """By a name of :data:`CALLS` and function."""
    durations: Mapping[str, Histogram]
    alarms: Mapping[str, bool]
    levels: Mapping[str, str]
    lags: Mapping[tuple[str, str], float]
    ages: Mapping[str, float]
    memory: Mapping[str, int]
    own: Mapping[Own, Sequence[float]]
    """Counts and sums of what handlers wrote."""
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What was counted up to a moment, for those who look at differences."""

    accepted: int = 0
    invocations: int = 0
    errors: int = 0
    retries: int = 0
    dead: int = 0
    cold_starts: int = 0
    throttles: int = 0
    durations: tuple[int, ...] = (0,) * (len(BUCKETS_MS) + 1)
    """Calls by the buckets of :data:`BUCKETS_MS` and one above them."""


class Metrics:
    """What the hub counts since it started; the ledgers of the store are added when read."""

    def __init__(self) -> None:
        self._events: dict[str, Counter[str]] = {name: Counter() for name in EVENTS}
        self._calls: dict[str, Counter[str]] = {name: Counter() for name in CALLS}
        self._durations: dict[str, Histogram] = {}
        self.alarms: dict[str, bool] = {}
        """Which alarms are on, by name."""
        self.levels: dict[str, str] = {}
        """How functions are isolated, by name; ``refused`` where the host cannot."""
        self.lags: Mapping[tuple[str, str], float] = {}
        """Seconds that the oldest due delivery has waited, by trigger and function."""
        self._ages: dict[str, float] = {}
        self._memory: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """The most that a worker used, by function: within this window, and within the one before."""
        self._own: dict[Own, list[float]] = {}
        """Counts and sums of what handlers wrote."""
        self._left_out = 0

    def count(self, what: str, label: str, number: int = 1) -> None:
        """Add to a counter of :data:`EVENTS` (by trigger) or :data:`CALLS` (by function)."""
        counters = self._events if what in self._events else self._calls
        counters[what][label] += number

    def observe(self, function: str, milliseconds: float, memory: int | None = None) -> None:
        """Note how long a call took, and the bytes that its worker used."""
        if memory is not None and memory > self._memory[0].get(function, 0):
            self._memory[0][function] = memory
        histogram = self._durations.get(function)
        if histogram is None:
            histogram = self._durations[function] = Histogram()
        histogram.observe(milliseconds)

    def aged(self, trigger: str, milliseconds: float) -> None:
        """Note how old the newest event of a batch was when the hub got to it."""
        self._ages[trigger] = max(milliseconds, 0.0) / 1000

    def memory(self, function: str) -> int | None:
        """Return the most that a worker used lately, in bytes; None where none was called."""
        return max((window[function] for window in self._memory if function in window), default=None)

    def forget_memory(self) -> None:
        """Begin another window: what was used before the last one is used no more."""
        self._memory = ({}, self._memory[0])

    def embedded(self, function: str, samples: Sequence[Sample]) -> None:
        """Add what a function wrote in CloudWatch's embedded metric format."""
        for one in samples:
            key = (function, one.namespace, one.name, one.unit, one.dimensions)
            own = self._own.get(key)
            if own is None:
                if len(self._own) >= SERIES:
                    self._left_out += len(one.values)
                    continue
                own = self._own[key] = [0.0, 0.0]
            own[0] += len(one.values)
            own[1] += sum(one.values)

    def totals(self, function: str | None = None) -> Totals:
        """Return what was counted so far: of all, or of one function, for which no events are counted."""
        names = self._durations if function is None else [function] if function in self._durations else []
        columns = zip(*(self._durations[name].counts for name in names), strict=True)
        calls = {
            what: sum(counter.values()) if function is None else counter[function]
            for what, counter in self._calls.items()
            if what in ("invocations", "errors", "retries", "dead", "cold_starts", "throttles")
        }
        accepted = sum(self._events["accepted"].values()) if function is None else 0
        return Totals(accepted=accepted, durations=tuple(map(sum, columns)) or Totals().durations, **calls)

    def accepted(self, trigger: str) -> int:
        """Return how many events of a trigger were committed."""
        return self._events["accepted"][trigger]

    @property
    def called(self) -> list[str]:
        """The functions that were called."""
        return list(self._durations)

    def render(self, stats: Stats, gauges: Mapping[str, tuple[str, float]], *, told: bool = True) -> bytes:
        """Write all as Prometheus text; *gauges* maps a name to its help and value.

        Without *told* nothing that handlers wrote: their metrics carry what events and answers do.
        """
        # What writes it takes 2 MB, which a hub that nobody scrapes need not have.
        from triggerhub.telemetry import exposition

        counted = self.counted()
        return exposition.page(counted if told else replace(counted, own={}), stats, gauges)

    def counted(self) -> Counted:
        """Return all that was counted, as it is: not to be changed."""
        return Counted(
            events=self._events,
            calls=self._calls,
            durations=self._durations,
            alarms=self.alarms,
            levels=self.levels,
            lags=self.lags,
            ages=self._ages,
            memory={name: self.memory(name) or 0 for name in {**self._memory[1], **self._memory[0]}},
            own=self._own,
            left_out=self._left_out,
        )
