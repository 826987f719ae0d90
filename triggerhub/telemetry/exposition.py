"""Write what was counted as Prometheus reads it; imported when somebody first asks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

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
from triggerhub.store import Stats
from triggerhub.telemetry.metrics import CALLS, EVENTS, Counted

_OF_VALUES = str.maketrans({"\\": r"\\", ",": r"\,"})
_OF_NAMES = _OF_VALUES | str.maketrans({"=": r"\="})
"""How dimensions are written: no two sets of them alike."""


def page(counted: Counted, stats: Stats, gauges: Mapping[str, tuple[str, float]]) -> bytes:
    """Return the page; *gauges* maps a name to its help and value."""
    registry = CollectorRegistry()
    registry.register(_Page(counted, stats, gauges))
    return generate_latest(registry)


def families(counted: Counted) -> Iterator[Metric]:
    """Yield what the hub counts itself."""
    for label, counters, names in (("trigger", counted.events, EVENTS), ("function", counted.calls, CALLS)):
        for what, (name, text) in names.items():
            family = CounterMetricFamily(name, text, labels=[label])
            for value, number in counters[what].items():
                family.add_metric([value], number)
            yield family
    durations = HistogramMetricFamily("triggerhub_duration_seconds", "How long calls took.", labels=["function"])
    for function, histogram in counted.durations.items():
        durations.add_metric([function], histogram.shown(), histogram.total / 1000)
    yield durations
    used = GaugeMetricFamily(
        "triggerhub_worker_memory_bytes",
        "The most that a worker used within the last minutes.",
        labels=["function"],
    )
    for function, memory in counted.memory.items():
        used.add_metric([function], memory)
    yield used
    ages = GaugeMetricFamily(
        "triggerhub_iterator_age_seconds", "How old the newest event of the latest batch was.", labels=["trigger"]
    )
    for trigger, age in counted.ages.items():
        ages.add_metric([trigger], age)
    yield ages
    lags = GaugeMetricFamily(
        "triggerhub_lag_seconds", "How long the oldest due delivery has waited.", labels=["trigger", "function"]
    )
    for (trigger, function), lag in counted.lags.items():
        lags.add_metric([trigger, function], lag)
    yield lags
    alarms = GaugeMetricFamily("triggerhub_alarm", "Whether an alarm is on.", labels=["alarm"])
    for name, on in counted.alarms.items():
        alarms.add_metric([name], on)
    yield alarms
    levels = GaugeMetricFamily(
        "triggerhub_function_level", "1 at the level that a function is isolated at.", labels=["function", "level"]
    )
    for function, level in counted.levels.items():
        levels.add_metric([function, level], 1)
    yield levels
    own = SummaryMetricFamily(
        "triggerhub_handler_metric",
        "What handlers wrote in CloudWatch's embedded metric format.",
        labels=["function", "namespace", "metric", "unit", "dimensions"],
    )
    for (function, namespace, metric, unit, dimensions), (count, total) in counted.own.items():
        shown = ",".join(f"{name.translate(_OF_NAMES)}={value.translate(_OF_VALUES)}" for name, value in dimensions)
        own.add_metric([function, namespace, metric, unit, shown], int(count), total)
    yield own


class _Page(Collector):
    def __init__(self, counted: Counted, stats: Stats, gauges: Mapping[str, tuple[str, float]]) -> None:
        self._counted, self._stats, self._gauges = counted, stats, gauges

    def collect(self) -> Iterator[Metric]:
        yield from families(self._counted)
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
