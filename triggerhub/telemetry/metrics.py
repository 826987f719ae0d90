"""Count what happens and write it as Prometheus reads it.

The hot path adds to plain dictionaries; everything else is done when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from triggerhub.model import State
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


class _Histogram:
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
        self._durations: dict[str, _Histogram] = {}
        self.alarms: dict[str, bool] = {}
        """Which alarms are on, by name."""
        self.levels: dict[str, str] = {}
        """How functions are isolated, by name; ``refused`` where the host cannot."""
        self.lags: Mapping[tuple[str, str], float] = {}
        """Seconds that the oldest due delivery has waited, by trigger and function."""
        self._ages: dict[str, float] = {}
        self._memory: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """The most that a worker used, by function: within this window, and within the one before."""
        self._own: dict[tuple[str, str, str, str, tuple[tuple[str, str], ...]], list[float]] = {}
        """Counts and sums of what handlers wrote: by function, namespace, name, unit and dimensions."""
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
            histogram = self._durations[function] = _Histogram()
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

    def render(self, stats: Stats, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """Write all as Prometheus text; *gauges* maps a name to its help and value."""
        registry = CollectorRegistry()
        registry.register(_Page(self, stats, gauges))
        return generate_latest(registry)

    def families(self) -> Iterator[Metric]:
        for label, counters, names in (("trigger", self._events, EVENTS), ("function", self._calls, CALLS)):
            for what, (name, text) in names.items():
                family = CounterMetricFamily(name, text, labels=[label])
                for value, number in counters[what].items():
                    family.add_metric([value], number)
                yield family
        durations = HistogramMetricFamily("triggerhub_duration_seconds", "How long calls took.", labels=["function"])
        for function, histogram in self._durations.items():
            durations.add_metric([function], histogram.buckets(), histogram.total / 1000)
        yield durations
        used = GaugeMetricFamily(
            "triggerhub_worker_memory_bytes",
            "The most that a worker used within the last minutes.",
            labels=["function"],
        )
        for function in {**self._memory[1], **self._memory[0]}:
            used.add_metric([function], self.memory(function) or 0)
        yield used
        ages = GaugeMetricFamily(
            "triggerhub_iterator_age_seconds", "How old the newest event of the latest batch was.", labels=["trigger"]
        )
        for trigger, age in self._ages.items():
            ages.add_metric([trigger], age)
        yield ages
        lags = GaugeMetricFamily(
            "triggerhub_lag_seconds", "How long the oldest due delivery has waited.", labels=["trigger", "function"]
        )
        for (trigger, function), lag in self.lags.items():
            lags.add_metric([trigger, function], lag)
        yield lags
        alarms = GaugeMetricFamily("triggerhub_alarm", "Whether an alarm is on.", labels=["alarm"])
        for name, on in self.alarms.items():
            alarms.add_metric([name], on)
        yield alarms
        levels = GaugeMetricFamily(
            "triggerhub_function_level", "1 at the level that a function is isolated at.", labels=["function", "level"]
        )
        for function, level in self.levels.items():
            levels.add_metric([function, level], 1)
        yield levels
        own = SummaryMetricFamily(
            "triggerhub_handler_metric",
            "What handlers wrote in CloudWatch's embedded metric format.",
            labels=["function", "namespace", "metric", "unit", "dimensions"],
        )
        for (function, namespace, metric, unit, dimensions), (count, total) in self._own.items():
            shown = ",".join(f"{name}={value}" for name, value in dimensions)
            own.add_metric([function, namespace, metric, unit, shown], int(count), total)
        yield own
        yield CounterMetricFamily(
            "triggerhub_handler_metric_left_out",
            f"Values of handlers' metrics beyond the first {SERIES} metrics and dimensions.",
            value=self._left_out,
        )


class _Page(Collector):
    def __init__(self, metrics: Metrics, stats: Stats, gauges: Mapping[str, tuple[str, float]]) -> None:
        self._metrics, self._stats, self._gauges = metrics, stats, gauges

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.families()
        states = GaugeMetricFamily("triggerhub_deliveries", "Deliveries kept, by state.", labels=["state"])
        for state in State:
            states.add_metric([state], self._stats.count(state))
        yield states
        queued = GaugeMetricFamily("triggerhub_queue_depth", "Queued deliveries.", labels=["trigger", "function"])
        for lane, counts in self._stats.by_lane.items():
            queued.add_metric([lane.trigger, lane.function], counts.get(State.QUEUED, 0))
        yield queued
        yield self._by_function()
        ledger = CounterMetricFamily("triggerhub_ledger", "Deliveries ever counted in or out.", labels=["entry"])
        for entry in ("accepted", "discarded", "pruned"):
            ledger.add_metric([entry], getattr(self._stats, entry))
        yield ledger
        yield GaugeMetricFamily(
            "triggerhub_accounting_drift",
            "accepted - (queued + running + succeeded + dead + cancelled + discarded + pruned); always 0.",
            value=self._stats.drift,
        )
        for name, (text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=value)

    def _by_function(self) -> Metric:
        kept = GaugeMetricFamily(
            "triggerhub_function_deliveries", "Deliveries kept, by function and state.", labels=["function", "state"]
        )
        counts: dict[str, Counter[State]] = defaultdict(Counter)
        for lane, states in self._stats.by_lane.items():
            counts[lane.function].update(states)
        for function, states in counts.items():
            for state in State:
                kept.add_metric([function, state], states[state])
        return kept
