"""Read the fields of a cron expression, and write them as croniter understands them.

Numbers, names, ranges and steps are worked out here, so that a mistake is named in the user's words and
none of croniter's surprises is left: to it ``5-5`` is every minute, and a sixth field is the seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_HASH = re.compile(r"h(?:\((\d+)-(\d+)\))?(?:/(\d+))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One column of a cron expression and what it may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    aws: bool = False
    """Days of the week are 1-7 from Sunday, not 0-7."""

    def number(self, text: str) -> int:
        """Return the number that *text* is or names; days of the week always as 0-6."""
        if text in self.names:
            return self.names.index(text) + (1 if self.name == "month" else 0)
        if not re.fullmatch(r"\d+", text, re.ASCII):
            raise ValueError(f"{self.name} {text!r} is not a number{' or a name' if self.names else ''}")
        number = int(text)
        if number > self.high:
            raise ValueError(f"{self.name} {number} is over {self.high}")
        if number < self.low:
            raise ValueError(f"{self.name} {number} is under {self.low}")
        if self.name != WEEKDAY.name:
            return number
        return number - 1 if self.aws else number % 7

    @property
    def all(self) -> range:
        """Every number as :meth:`number` returns them."""
        return range(7) if self.name == WEEKDAY.name else range(self.low, self.high + 1)


SECOND = Kind(name="second", low=0, high=59)
MINUTE = Kind(name="minute", low=0, high=59)
HOUR = Kind(name="hour", low=0, high=23)
DAY = Kind(name="day of month", low=1, high=31)
MONTH = Kind(name="month", low=1, high=12, names=_MONTHS)
WEEKDAY = Kind(name="day of week", low=0, high=7, names=_DAYS)
AWS_WEEKDAY = Kind(name="day of week", low=1, high=7, names=_DAYS, aws=True)
YEAR = Kind(name="year", low=1970, high=2199)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column as it was read."""

    text: str
    """For croniter: ``*``, or numbers and special words between commas."""
    wild: bool
    """It follows real time when clocks change: it holds a ``*`` or an open step like ``0/15``."""
    odd: str | None = None
    """What is legal but hardly meant, as a sentence."""

    @property
    def every(self) -> bool:
        return self.text == "*"

    @property
    def choices(self) -> list[str]:
        """The numbers together, and each special word for itself: croniter heeds only some in company."""
        items = self.text.split(",")
        numbers = ",".join(item for item in items if item.isdigit())
        return [*([numbers] if numbers else []), *(item for item in items if not item.isdigit())]


def read(text: str, kind: Kind) -> Field:
    """Return the column *text*; ValueError says what is wrong with which value."""
    numbers: set[int] = set()
    words: list[str] = []
    wild, odd = False, None
    for item in text.lower().split(","):
        if word := _special(item, kind):
            words.append(word)
            wild = wild or word.startswith("h/")
            if (hashed := _HASH.fullmatch(word)) and int(hashed[3] or 0) >= len(kind.all) and not hashed[1]:
                odd = f"{text!r} is one {kind.name} alone: the step {hashed[3]} is longer than the cycle"
            continue
        start, step, values = _values(item, kind)
        numbers.update(values)
        wild = wild or start == "*" or (step is not None and "-" not in start)
        if step is not None and step >= len(kind.all) and "-" not in start:
            odd = f"{text!r} is {kind.name} {min(values)} alone: the step {step} is longer than the cycle"
    if numbers >= set(kind.all):
        return Field(text="*", wild=True)
    return Field(text=",".join([*map(str, sorted(numbers)), *words]), wild=wild, odd=odd)


def _values(item: str, kind: Kind) -> tuple[str, int | None, Sequence[int]]:
    """Return an item's part before the slash, its step, and its numbers."""
    start, slash, step_text = item.partition("/")
    if not start:
        raise ValueError(f"{kind.name} has an empty item" if not slash else f"{kind.name} {item!r} has no start")
    step = _step(item, step_text, kind) if slash else None
    if start == "*" or (start == "?" and not slash and kind.name in (DAY.name, WEEKDAY.name)):
        return "*", step, kind.all[:: step or 1]
    first, dash, last = start.partition("-")
    if dash and not (first and last):
        raise ValueError(f"{kind.name} {item!r} is a range without its {'end' if first else 'beginning'}")
    low = kind.number(first)
    if not dash:
        return start, step, [low] if step is None else kind.all[kind.all.index(low) :: step]
    high = kind.number(last)
    # Over the end of the cycle, like FRI-MON; both ends of 0-7 are Sunday, which is the whole week.
    over = low > high or (low == high and last == "7" != first)
    begin, end = kind.all.index(low), kind.all.index(high) + over * len(kind.all)
    return start, step, [*kind.all, *kind.all][begin : end + 1 : step or 1]


def _step(item: str, text: str, kind: Kind) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ValueError(f"{kind.name} {item!r} has no number after the slash")
    if int(text) == 0:
        raise ValueError(f"{kind.name} {item!r} has a step of 0")
    return int(text)


def _special(item: str, kind: Kind) -> str | None:
    """Return croniter's word for an item that is not numbers; None if it is."""
    if item == "r" or item.startswith(("r(", "r/")):
        raise ValueError(f'{kind.name} {item!r} is random, another at each start; "H" is as spread, and stays')
    if hashed := _HASH.fullmatch(item):
        return _hashed(item, hashed, kind)
    if kind.name == DAY.name and item == "l":
        return "l"
    if kind.name == DAY.name and item.endswith("w"):
        if item == "lw":
            raise ValueError(f'{kind.name} "LW" is not supported; the nearest there is to it is "L"')
        return f"{kind.number(item[:-1])}w"
    if kind.name == WEEKDAY.name:
        return _special_weekday(item, kind)
    return None


def _hashed(item: str, match: re.Match[str], kind: Kind) -> str:
    low, high, step = match.groups()
    if low is not None and kind.number(low) > kind.number(high):
        raise ValueError(f"{kind.name} {item!r} is a range that ends before it begins")
    if step is not None:
        _step(item, step, kind)
    return item


def _special_weekday(item: str, kind: Kind) -> str | None:
    day, hash_sign, nth = item.partition("#")
    if hash_sign:
        if nth not in ("1", "2", "3", "4", "5"):
            raise ValueError(f"{kind.name} {item!r} names no week of the month: expected 1 to 5 after the #")
        return f"{kind.number(day)}#{nth}"
    if item == "l" and kind.aws:
        return "6"
    if item.startswith("l") or (item.endswith("l") and item[:-1] in (*_DAYS, *"01234567")):
        day = item[1:] if item.startswith("l") else item[:-1]
        if not day:
            raise ValueError(f'{kind.name} "L" needs a day: "L5" is the last Friday of the month')
        return f"l{kind.number(day)}"
    return None


def both_days(text: str, day: Field, weekday: Field) -> str:
    """Say when an expression with both kinds of days fires; croniter, as POSIX, takes either."""
    days = " and ".join(_ordinal(item) for item in day.text.split(","))
    weekdays = " and ".join(_weekday(item) for item in weekday.text.split(","))
    return f'"{text}" fires on every {days} and on every {weekdays}'


def _ordinal(item: str) -> str:
    if item == "l":
        return "last day of the month"
    if item.endswith("w"):
        return f"working day nearest to the {_ordinal(item[:-1])}"
    if not item.isdigit():
        return f"day that {item.upper()} stands for"
    number = int(item)
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _weekday(item: str) -> str:
    if item.isdigit():
        return _DAY_NAMES[int(item)]
    if item.startswith("l"):
        return f"last {_DAY_NAMES[int(item[1:])]}"
    day, _, nth = item.partition("#")
    return f"{_ordinal(nth)} {_DAY_NAMES[int(day)]}" if nth else f"day of the week that {item.upper()} stands for"
