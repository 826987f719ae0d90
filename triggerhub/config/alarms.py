"""Make the project's alarms of their tables; what they look at and who is told must be there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from triggerhub.aws.reference import is_alias
from triggerhub.config.complain import suggestion, validate
from triggerhub.config.problem import Report
from triggerhub.config.schema import Alarm as AlarmTable
from triggerhub.config.secrets import Secrets
from triggerhub.config.values import NAME
from triggerhub.model import Millis
from triggerhub.policy import units
from triggerhub.policy.alarm import COMPARISONS, MEASURES, OF_CALLS, waits_for_less
from triggerhub.settings import Alarm, Condition


def build(
    tables: Mapping[str, Any],
    functions: Collection[str],
    timeouts: Mapping[str, Millis],
    triggers: Collection[str],
    keep: Millis,
    report: Report,
    secrets: Secrets,
) -> dict[str, Alarm]:
    """Return the alarms that have no error; *functions* and *triggers* name all there are, *keep* is the history.

    *timeouts* are of those functions that the project itself has.
    """
    made = {}
    for name, raw in tables.items():
        base = ("alarms", name)
        if not NAME.fullmatch(name):
            message = f"{name!r} cannot be an alarm's name: letters, digits, '-' and '_', at most 64"
            report.error(base, "bad-name", message, at="key")
            continue
        table = validate(AlarmTable, raw, base, report, secrets)
        if table is None:
            continue
        when = table.when
        known = {"function": functions, "trigger": triggers, "either": {*functions, *triggers}}
        there = known[of := MEASURES[when.measure].of]
        if when.name not in there:
            kind = "function or trigger" if of == "either" else of
            message = f'alarms.{name}.when: there is no {kind} "{when.name}"'
            report.error((*base, "when"), f"unknown-{'function' if of == 'either' else of}", message,
                         suggestion(when.name, there))  # fmt: skip
        elif when.measure in OF_CALLS and is_alias(when.name):
            message = f"alarms.{name}.when: {when.measure} counts calls, and those of an alias are its versions'"
            hint = "name a version, or measure what is an alias's own: succeeded, retries, dead, queued, lag"
            report.error((*base, "when"), "bad-alarm", message, hint)
        if when.measure == "succeeded" and when.window is not None and when.window > keep:
            message = f"alarms.{name}.when: the history goes back {units.show_duration(keep)}, and no further"
            report.error((*base, "when"), "bad-alarm", message, "shorten the window, or raise [hub] keep")
        if found := _out_of_reach(when, timeouts.get(when.name)):
            report.warn((*base, "when"), "bad-alarm", f"alarms.{name}.when: {found[0]}", found[1])
        made[name] = Alarm(when=when, hold=table.hold, repeat=table.repeat, then=tuple(table.then))
    return made


def _out_of_reach(when: Condition, timeout: Millis | None) -> tuple[str, str] | None:
    """Return why a condition can never hold, and the remedy; None where it can."""
    measure, holds = MEASURES[when.measure], COMPARISONS[when.comparison]
    whole = f"{when.measure}({when.name})"
    if waits_for_less(when):
        return None if holds(0, when.bound) else (f"{whole} is never less than 0", "write <=, or a higher bound")
    if measure.kind == "share" and not holds(100, when.bound):
        return f"{whole} is at most 100%, when every call fails", "lower the bound, or write >="
    if when.measure == "degraded" and not holds(1, when.bound):
        return f"{whole} is at most 1, while the source does not work", "write > 0"
    # What is measured may be a little over the timeout.
    if timeout is not None and measure.of == "function" and measure.kind == "time" and when.bound > timeout:
        limit = units.show_duration(timeout)
        why = f"calls of {when.name} are ended after {limit}, their timeout: none takes so long"
        return why, f"lower the bound, or raise functions.{when.name}.timeout"
    return None
