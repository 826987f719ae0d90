"""Decide when an alarm goes off and when it is over: read its sentence, and go from state to state.

``errors(ship-order) > 5 in 10m``: a measure, what it is taken of, a comparison, and for what is counted the time it is
counted over. Pure: the values are measured elsewhere.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, TypeAlias

from triggerhub.model import Millis
from triggerhub.policy import units
from triggerhub.settings import DAY, MINUTE, SECOND, Condition

Of: TypeAlias = Literal["function", "trigger", "either"]
Kind: TypeAlias = Literal["count", "share", "time"]
State: TypeAlias = Literal["ok", "alarm"]
Change: TypeAlias = Literal["alarm", "again", "ok"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What an alarm may look at."""

    of: Of
    kind: Kind
    """count: a number; share: percent; time: milliseconds, written with a unit."""
    counted: bool = True
    """Over a time; otherwise as it stands."""
    says: str


MEASURES: Mapping[str, Measure] = {
    "errors": Measure(of="function", kind="count", says="calls that failed"),
    "error_rate": Measure(of="function", kind="share", says="calls that failed, in percent of all calls"),
    "invocations": Measure(of="function", kind="count", says="calls, failed ones included"),
    "succeeded": Measure(of="function", kind="count", says="deliveries that succeeded, over restarts too: a heartbeat"),
    "retries": Measure(of="function", kind="count", says="deliveries queued again after a failure"),
    "throttles": Measure(of="function", kind="count", says="waiting callers that found no free worker in time"),
    "dead": Measure(of="function", kind="count", says="deliveries that became dead letters"),
    "p50": Measure(of="function", kind="time", says="how long half of the calls took at most"),
    "p95": Measure(of="function", kind="time", says="how long 95 of 100 calls took at most"),
    "p99": Measure(of="function", kind="time", says="how long 99 of 100 calls took at most"),
    "accepted": Measure(of="trigger", kind="count", says="events that were accepted"),
    "queued": Measure(of="either", kind="count", counted=False, says="deliveries that wait"),
    "lag": Measure(of="either", kind="time", counted=False, says="how long the oldest delivery that is due has waited"),
    "degraded": Measure(of="trigger", kind="count", counted=False, says="1 while the trigger's source does not work"),
}
OF_CALLS = frozenset(("errors", "error_rate", "invocations", "throttles", "p50", "p95", "p99"))
"""What is counted of calls: those of an alias are its versions'."""
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
EXAMPLE = "errors(ship-order) > 5 in 10m"
LONGEST: Millis = 7 * DAY
SHORTEST: Millis = 10 * SECOND
CALM: Millis = MINUTE
"""An alarm is over once its condition has not held for so long."""
_SENTENCE = re.compile(
    r"\s*(?P<measure>\w+)\s*\(\s*(?P<name>[\w:-]*)\s*\)\s*(?P<op>>=|<=|>|<)\s*(?P<bound>[^\s%]+\s*%?)"
    r"(?:\s+in\s+(?P<window>\S+))?\s*"
)


def waits_for_less(condition: Condition) -> bool:
    """Whether too little is the trouble, which is known only once the whole window has been seen."""
    return condition.comparison.startswith("<")


def parse(text: str) -> Condition:
    """Read an alarm's sentence. ValueError says what was expected, and what was found."""
    match = _SENTENCE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a sentence like {EXAMPLE!r}, got {text!r}")
    word = match["measure"]
    measure = MEASURES.get(word)
    if measure is None:
        close = get_close_matches(word, MEASURES, 1)
        meant = f"did you mean {close[0]}?" if close else f"there is {', '.join(MEASURES)}"
        raise ValueError(f"there is no measure {word!r}; {meant}")
    if not match["name"]:
        of = "function or trigger" if measure.of == "either" else measure.of
        raise ValueError(f"{word} is taken of one {of}: {word}(NAME)")
    return Condition(
        text=" ".join(text.split()),
        measure=word,
        name=match["name"],
        comparison=match["op"],
        bound=_bound(word, measure, match["bound"].strip()),
        window=_window(word, measure, match["window"]),
    )


def _bound(word: str, measure: Measure, text: str) -> float:
    if measure.kind == "time":
        return float(units.duration(text))
    share = text.endswith("%")
    if share != (measure.kind == "share"):
        raise ValueError(f"{word} is {'a share: write percent, like 5%' if not share else 'a number, not percent'}")
    number = text.removesuffix("%").strip()
    if not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", number):
        raise ValueError(f"{text!r} is no number")
    return float(number)


def _window(word: str, measure: Measure, text: str | None) -> Millis | None:
    if not measure.counted:
        if text is not None:
            raise ValueError(f"{word} is looked at as it stands: leave out 'in {text}', or write hold =")
        return None
    if text is None:
        raise ValueError(f"{word} is counted over a time: add one, like 'in 10m'")
    window = units.duration(text)
    if not SHORTEST <= window <= LONGEST:
        shown = units.show_duration
        raise ValueError(f"{text!r} is not between {shown(SHORTEST)} and {shown(LONGEST)}")
    return window


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an alarm stands."""

    since: Millis
    """When it came to its state."""
    seen: Millis
    """When the alarm, as it is written, was first looked at."""
    state: State = "ok"
    turning: Millis | None = None
    """Since when the condition speaks for the other state."""
    told: Millis = 0
    """When somebody was told last."""


def begin(now: Millis) -> Standing:
    """Return the standing of a new alarm."""
    return Standing(since=now, seen=now)


def changed(standing: Standing, now: Millis) -> Standing:
    """Return the standing of an alarm whose sentence is another now: judged anew, it stays where it is until then.

    CloudWatch has it so, and who was told that it is on is told that it is over.
    """
    return replace(standing, seen=now, turning=None)


def judge(when: Condition, standing: Standing, value: float | None, now: Millis, *, begun: Millis) -> bool | None:
    """Return whether the condition holds; None where that cannot be told (yet).

    Where a whole window, measured since *begun*, has nothing that could be measured, it does not hold: what made
    the trouble is no longer there, as CloudWatch has it where missing data is not breaching. That there is too little
    is known once a whole window has been measured; that there is enough, at once.
    """
    if value is None:
        return None if now - begun < (when.window or 0) else False
    holds = COMPARISONS[when.comparison](value, when.bound)
    if holds and waits_for_less(when) and now - max(standing.seen, begun) < (when.window or 0):
        return None
    return holds


def step(
    standing: Standing, holds: bool | None, now: Millis, *, hold: Millis = 0, repeat: Millis | None = None
) -> tuple[Standing, Change | None]:
    """Return the next standing, and what to tell.

    It goes off once the condition has held for *hold*, and is over once it has not for *hold* or :data:`CALM`,
    whichever is longer. *repeat*: say it again after so long while it lasts. A clock that was put back starts
    the waiting anew and repeats nothing.
    """
    off = standing.state == "alarm"
    if holds is None or holds is off:
        standing = replace(standing, turning=None)
        if off and repeat is not None and now - standing.told >= repeat:
            return replace(standing, told=now), "again"
        return standing, None
    turning = min(now if standing.turning is None else standing.turning, now)
    if now - turning < (max(hold, CALM) if off else hold):
        return replace(standing, turning=turning), None
    change: Change = "ok" if off else "alarm"
    state: State = "ok" if off else "alarm"
    return replace(standing, state=state, since=now, turning=None, told=now), change
