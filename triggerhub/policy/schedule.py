"""Decide when a schedule fires: cron expressions, AWS's ``cron(…)``, ``rate(…)`` and ``at(…)``.

Pure: the moment after which to look is an argument. croniter only ever sees wall-clock time; what a
change of the clocks means is decided here, as Vixie cron does.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal, assert_never

from croniter import CroniterBadDateError, CroniterError, croniter

from triggerhub.model import Millis
from triggerhub.policy import cronfields, walltime
from triggerhub.policy.cronfields import Field
from triggerhub.settings import DAY, HOUR, MINUTE

YEARS = 230
"""How far ahead a match may be: AWS's years end with 2199."""
MISSED_MOST = 1000
"""How many missed slots are made up for at most: the newest."""
_PERIODS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_CALL = re.compile(r"(cron|rate|at)\((.*)\)")
_RATE = re.compile(r"(\d+) +(minute|hour|day)(s?)", re.ASCII)
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_ONE = timedelta(seconds=1)
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - wall-clock time has no zone

Policy = Literal["once", "all", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """What is legal in a schedule but hardly meant."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """Fires at the wall-clock times that match."""

    zone: tzinfo
    wild: bool
    """It follows real time when clocks change, rather than each wall-clock time being one slot."""
    years: tuple[int, ...] = ()
    """Those that it fires in, in order; none where it does in all. croniter knows none after 2099."""
    patterns: tuple[Any, ...] = field(repr=False)
    """The croniters; it fires when any one of them matches."""

    def next(self, after: Millis) -> Millis | None:
        try:
            return self._by_real_time(after) if self.wild else self._by_wall_time(after)
        except CroniterBadDateError:
            return None

    def match(self, wall: datetime) -> datetime:
        """Return the first wall-clock time after *wall* that matches. CroniterBadDateError."""
        while True:
            found = self._match_in_any_year(wall)
            if not self.years or found.year in self.years:
                return found
            later = next((year for year in self.years if year > found.year), None)
            if later is None:
                raise CroniterBadDateError
            wall = datetime(later, 1, 1) - _ONE  # noqa: DTZ001 - wall-clock time has no zone

    def _match_in_any_year(self, wall: datetime) -> datetime:
        if len(self.patterns) == 1:
            return _first(self.patterns[0], wall)
        found = []
        for pattern in self.patterns:
            with suppress(CroniterBadDateError):
                found.append(_first(pattern, wall))
        if not found:
            raise CroniterBadDateError
        return min(found)

    def _by_wall_time(self, after: Millis) -> Millis:
        wall = walltime.shown(after, self.zone).replace(microsecond=0)
        while True:
            wall = self.match(wall)
            # Not later: the second time of an hour shown twice, or the end of the gap it shares with others.
            if (slot := walltime.moment(wall, self.zone)) > after:
                return slot

    def _by_real_time(self, after: Millis) -> Millis:
        ahead = walltime.offset(after, self.zone)
        wall = walltime.shown(after, self.zone).replace(microsecond=0)
        while True:
            slot = walltime.at_offset(self.match(wall), ahead)
            changed = walltime.change(after, slot, self.zone)
            if changed is None:
                return slot
            after, ahead = changed, walltime.offset(changed, self.zone)
            wall = walltime.shown(changed, self.zone) - _ONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Fires every *period* after *anchor*, whatever the clocks do."""

    period: Millis
    anchor: Millis = 0

    def next(self, after: Millis) -> Millis:
        passed = max((after - self.anchor) // self.period, 0)
        return self.anchor + (passed + 1) * self.period


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Fires at one moment."""

    at: Millis

    def next(self, after: Millis) -> Millis | None:
        return self.at if after < self.at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule that was understood."""

    text: str
    when: Cron | Rate | Once
    warnings: tuple[Warned, ...] = ()

    def next(self, after: Millis) -> Millis | None:
        """Return the first slot strictly after; None when there is none any more."""
        return self.when.next(after)

    def is_over(self, now: Millis) -> bool:
        """Whether no slot is to come; quickly said of a schedule that always has one."""
        goes_on = isinstance(self.when, Rate) or (isinstance(self.when, Cron) and not self.when.years)
        return not goes_on and self.next(now) is None

    def anchored(self, at: Millis) -> Schedule:
        """Count a ``rate`` from this moment; other schedules are as they were."""
        return replace(self, when=replace(self.when, anchor=at)) if isinstance(self.when, Rate) else self


def _first(pattern: Any, after: datetime) -> datetime:
    found: datetime = pattern.get_next(datetime, start_time=after, update_current=False)
    return found


def parse(expression: str, *, timezone: tzinfo, seconds_first: bool = False, name: str = "") -> Schedule:
    """Return the schedule of *expression*; ValueError says what is wrong with it.

    *name* is the trigger's: an ``H`` stands for a value that depends on it. With *seconds_first* a sixth
    field is legal, the seconds, in front.
    """
    text = expression.strip()
    call = _CALL.fullmatch(text)
    kind = call[1] if call else "cron"
    try:
        if call is None:
            return _unix(text, timezone, seconds_first, name)
        match kind:
            case "cron":
                return _aws(text, call[2], timezone)
            case "rate":
                return Schedule(text=text, when=_rate(call[2]))
            case _:
                return Schedule(text=text, when=Once(at=_at(call[2], timezone)))
    except ValueError as error:
        what = {"rate": "a rate", "at": "a moment"}.get(kind, "a cron expression")
        raise ValueError(f'"{expression}" is not {what}: {error}') from None


def has_fields(expression: str) -> bool:
    """Whether it is fields alone, rather than a name like ``@daily`` or one of AWS's forms."""
    text = expression.strip()
    return not text.startswith("@") and _CALL.fullmatch(text) is None


def missed(schedule: Schedule, last: Millis, now: Millis, policy: Policy) -> list[Millis]:
    """Return which slots after *last* and up to *now* to make up for, oldest first.

    ``once`` is the newest, ``all`` are the newest MISSED_MOST, ``skip`` is none.
    """
    match policy:
        case "skip":
            return []
        case "once":
            return _newest(schedule, last, now, 1)
        case "all":
            return _newest(schedule, last, now, MISSED_MOST)
        case _:
            assert_never(policy)


def _newest(schedule: Schedule, last: Millis, now: Millis, most: int) -> list[Millis]:
    # From now backwards in growing steps: a year of minutes would take seconds to count through.
    span = MINUTE
    while True:
        start = max(last, now - span)
        slots: list[Millis] = []
        slot = schedule.next(start)
        while slot is not None and slot <= now:
            slots.append(slot)
            slot = schedule.next(slot)
        if len(slots) >= most or start == last:
            return slots[-most:]
        span *= 4


def _unix(text: str, zone: tzinfo, seconds_first: bool, name: str) -> Schedule:
    if text.startswith("@"):
        if text.lower() not in cronfields.ALIASES:
            raise ValueError(f"expected one of {', '.join(cronfields.ALIASES)}")
        columns = cronfields.ALIASES[text.lower()].split()
    else:
        columns = text.split()
    if len(columns) == 6 and not seconds_first:
        raise ValueError("expected 5 fields, got 6; with seconds_first = true the first is the seconds")
    legal = (5, 6) if seconds_first else (5,)
    if len(columns) not in legal:
        raise ValueError(f"expected {' or '.join(map(str, legal))} fields, got {len(columns)}")
    second = cronfields.read(columns.pop(0), cronfields.SECOND) if len(columns) == 6 else None
    kinds = (cronfields.MINUTE, cronfields.HOUR, cronfields.DAY, cronfields.MONTH, cronfields.WEEKDAY)
    fields = [cronfields.read(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Schedule(text=text, when=_cron(fields, second, None, zone, name), warnings=_warnings(text, fields, second))


def _aws(text: str, inside: str, zone: tzinfo) -> Schedule:
    columns = inside.split()
    if len(columns) != 6:
        raise ValueError(f"expected 6 fields (minute, hour, day, month, day of week, year), got {len(columns)}")
    if (columns[2] == "?") == (columns[4] == "?"):
        raise ValueError('exactly one of day of month and day of week must be "?"')
    kinds = (cronfields.MINUTE, cronfields.HOUR, cronfields.DAY, cronfields.MONTH, cronfields.AWS_WEEKDAY)
    fields = [cronfields.read(column, kind) for column, kind in zip(columns, kinds, strict=False)]
    year = cronfields.read(columns[5], cronfields.YEAR)
    if any("h" in field.text for field in (*fields, year)):
        raise ValueError('"H" is not in AWS\'s syntax; write the five fields without cron(…)')
    return Schedule(text=text, when=_cron(fields, None, year, zone, ""), warnings=_warnings(text, fields, None))


def _cron(fields: list[Field], second: Field | None, year: Field | None, zone: tzinfo, name: str) -> Cron:
    minute, hour, day, month, weekday = fields
    tail = [second.text] if second else []
    years = tuple(map(int, year.text.split(","))) if year and not year.every else ()
    # Either kind of days will do, as in POSIX; croniter itself makes it both once there is a W or a #.
    days = [] if day.every else [(choice, "*") for choice in day.choices]
    weekdays = [] if weekday.every else [("*", choice) for choice in weekday.choices]
    patterns = tuple(
        _compile(" ".join([minute.text, hour.text, on, month.text, on_weekday, *tail]), name)
        for on, on_weekday in [*days, *weekdays] or [("*", "*")]
    )
    when = Cron(zone=zone, wild=minute.wild or hour.wild, years=years, patterns=patterns)
    try:
        when.match(_START)
    except CroniterBadDateError:
        raise ValueError("no day is ever like that") from None
    return when


def _compile(pattern: str, name: str) -> Any:
    # With a hash_id croniter takes other meanings than usual: only where an H asks for one.
    hash_id = name.encode() if "h" in pattern else None
    try:
        croniter.expand(pattern, hash_id=hash_id, strict=True)
        return croniter(pattern, _START, hash_id=hash_id, max_years_between_matches=YEARS)
    except CroniterError as error:
        raise ValueError(str(error).rpartition("] is not acceptable. ")[2]) from None


def _warnings(text: str, fields: list[Field], second: Field | None) -> tuple[Warned, ...]:
    found = [Warned(code="cron-step", message=field.odd) for field in (second, *fields) if field and field.odd]
    day, weekday = fields[2], fields[4]
    if not day.every and not weekday.every:
        found.append(Warned(code="cron-both-days", message=cronfields.both_days(text, day, weekday)))
    return tuple(found)


def _rate(inside: str) -> Rate:
    match = _RATE.fullmatch(inside.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a number and minutes, hours or days, like "rate(5 minutes)"')
    count, unit, plural = int(match[1]), match[2], bool(match[3])
    if plural == (count == 1):
        raise ValueError(f'expected "rate({count} {unit}{"" if count == 1 else "s"})"')
    return Rate(period=count * _PERIODS[unit])


def _at(inside: str, zone: tzinfo) -> Millis:
    if not _AT.fullmatch(inside):
        raise ValueError("expected at(yyyy-mm-ddThh:mm:ss)")
    wall = datetime.fromisoformat(inside)
    cronfields.YEAR.number(str(wall.year))
    return walltime.moment(wall, zone)
