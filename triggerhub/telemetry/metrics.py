"""Count what happens and write it as Prometheus reads it.

The hot path adds to plain dictionaries; everything else is done when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from triggerhub.model import Fault, Millis, destination_trigger
from triggerhub.policy.embedded import Sample
from triggerhub.settings import DAY, HOUR
from triggerhub.store import Stats
from triggerhub.telemetry.durations import BOUNDS_MS, Histogram, Packed, pack
from triggerhub.telemetry.measured import Measured, Own

log = structlog.get_logger("metrics")

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
    "left_out": ("triggerhub_handler_metric_left_out", "Values of a function's own metrics that were left out."),
}


GONE: Millis = HOUR
"""For how long what was counted of a function or trigger is told once it is gone: longer than its last call takes."""
LATE: Millis = 14 * DAY
"""For how long what is forgotten may be counted again: its records are still sent, and its dead letters redriven."""
HINT = "There are too many, their names are too long, or a sum has no end: keep ids and the like out of dimensions."


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
    durations: Packed = b""
    """How long the calls took."""


class Metrics:
    """What the hub counts since it started; the ledgers of the store are added when read."""

    def __init__(self) -> None:
        self._events: dict[str, Counter[str]] = {name: Counter() for name in EVENTS}
        self._calls: dict[str, Counter[str]] = {name: Counter() for name in CALLS}
        self._counters = {**self._events, **self._calls}
        self._durations: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.alarms: dict[str, bool] = {}
        """Which alarms are on, by name."""
        self.levels: dict[str, str] = {}
        """How functions are isolated, by name; ``refused`` where the host cannot."""
        self.lags: Mapping[tuple[str, str], float] = {}
        """Seconds that the oldest due delivery has waited, by trigger and function."""
        self._ages: dict[str, float] = {}
        self._used: dict[str, int] = {}
        """The most that a worker used within this window, by function."""
        self._used_before: dict[str, int] = {}
        """And within the one before."""
        self._measured = Measured()
        self._gone: dict[str, Millis] = {}
        """Functions and triggers that are there no more, and since when."""
        self._forgotten: dict[str, Millis] = {}
        """Those of them that are forgotten, and since when."""
        self._past: Counter[str] = Counter()
        """What was counted of those that are forgotten, by name of a counter: totals never go back."""
        self._past_durations = Histogram()
        self.last_failures: dict[str, tuple[Fault, Millis]] = {}
        """What each function failed with the last time that a caller waited, and when."""
        self.on_failure: Callable[[str], None] | None = None
        """Is told at once of each function of which an error was counted."""

    def count(self, what: str, label: str, number: int = 1) -> None:
        """Add to a counter of :data:`EVENTS` (by trigger) or :data:`CALLS` (by function)."""
        self._counters[what][label] += number

    def failed(self, function: str, fault: Fault | None = None, now: Millis = 0) -> None:
        """Count an error of a function whose call was counted before; *fault* is remembered as the last one.

        It is that of a call whose caller waited: what else failed stands with its delivery.
        """
        self._counters["errors"][function] += 1
        if fault is not None:
            self.last_failures[function] = fault, now
        if self.on_failure is not None:
            self.on_failure(function)

    def observe(self, function: str, milliseconds: float, memory: int | None = None) -> None:
        """Note how long a call took, and the bytes that its worker used."""
        if memory is not None and memory > self._used.get(function, 0):
            self._used[function] = memory
        cell = self._durations[function][bisect_left(BOUNDS_MS, milliseconds)]
        cell.count += 1
        cell.total += milliseconds

    def aged(self, trigger: str, milliseconds: float) -> None:
        """Note how old the newest event of a batch was when the hub got to it."""
        self._ages[trigger] = max(milliseconds, 0.0) / 1000

    def memory(self, function: str) -> int | None:
        """Return the most that a worker used lately, in bytes; None where none was called."""
        windows = (self._used, self._used_before)
        return max((window[function] for window in windows if function in window), default=None)

    def forget_memory(self) -> None:
        """Begin another window: what was used before the last one is used no more."""
        self._used, self._used_before = {}, self._used

    def went(self, were: Collection[str], there: Collection[str], now: Millis) -> None:
        """Note which functions and triggers there *were*, and which are *there* now."""
        for names in (self._gone, self._forgotten):
            for name in names.keys() & set(there):
                del names[name]
        self._gone |= dict.fromkeys({*were}.difference(there, self._gone), now)

    def forget_gone(self, now: Millis) -> list[str]:
        """Forget what was counted of those that went an hour ago; return which they are."""
        self._look_for_late(now)
        names = [name for name, since in self._gone.items() if now - since >= GONE]
        for name in names:
            del self._gone[name]
            for label in (name, destination_trigger(name)):
                for what, counter in self._counters.items():
                    self._past[what] += counter.pop(label, 0)
                for kept in (self._ages, self._used, self._used_before, self.last_failures):
                    kept.pop(label, None)
            for index, cell in self._durations.pop(name, Histogram()).items():
                self._past_durations[index].count += cell.count
                self._past_durations[index].total += cell.total
        self._measured.forget(names)
        self._forgotten |= dict.fromkeys(names, now)
        return names

    def _look_for_late(self, now: Millis) -> None:
        """Have those of which something was counted since they were forgotten go once more."""
        self._forgotten = {name: since for name, since in self._forgotten.items() if now - since < LATE}
        if not self._forgotten:
            return
        labels = {label for counter in self._counters.values() for label in counter} | self._ages.keys()
        labels |= {label.removeprefix(destination_trigger("")) for label in labels}
        for name in self._forgotten.keys() & labels:
            del self._forgotten[name]
            self._gone[name] = now

    def embedded(self, function: str, samples: Sequence[Sample]) -> None:
        """Add what a function wrote in CloudWatch's embedded metric format; what is left out is counted."""
        for one in samples:
            if not self._measured.add(function, one):
                if not self._calls["left_out"][function]:
                    log.warning("metrics of a function's own are left out", function=function, hint=HINT)
                self.count("left_out", function, len(one.values))

    def totals(self, function: str | None = None) -> Totals:
        """Return what was counted so far: of all, or of one function, for which no events are counted."""
        calls = {
            what: self._past[what] + sum(counter.values()) if function is None else counter[function]
            for what, counter in self._calls.items()
            if what in ("invocations", "errors", "retries", "dead", "cold_starts", "throttles")
        }
        if function is not None:
            own = [self._durations[function]] if function in self._durations else []
            return Totals(durations=pack(own), **calls)
        accepted = self._past["accepted"] + sum(self._events["accepted"].values())
        return Totals(accepted=accepted, durations=pack([*self._durations.values(), self._past_durations]), **calls)

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
            memory={name: self.memory(name) or 0 for name in {**self._used_before, **self._used}},
            own=self._measured.own,
        )
