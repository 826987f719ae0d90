"""Read and write words with units: ``"30s"``, ``"256MB"``, ``"50/s"``; and say of what there are how many."""

from __future__ import annotations

import re

from triggerhub.settings import DAY, GB, HOUR, KB, MB, MINUTE, SECOND, Rate

_DURATIONS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_SIZES = {"B": 1, "KB": KB, "MB": MB, "GB": GB}
_PERIODS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h|d|w)")
_SIZE = re.compile(rf"{_NUMBER}\s*(B|KB|MB|GB)", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,9})\s*/\s*(s|m|h|d)")

LONGEST = 36_525 * DAY
"""A hundred years: what is longer overflows clocks and databases, and is a slip."""


class TooLong(ValueError):
    """A duration that is one, and beyond what is taken."""


def duration(text: str) -> int:
    """Return the milliseconds of ``"500ms"``, ``"30s"``, ``"1.5h"`` or ``"1h30m"``; ValueError says what is legal."""
    position, total = 0, 0.0
    stripped = text.strip()
    while position < len(stripped):
        match = _DURATION.match(stripped, position)
        if match is None:
            break
        total += float(match[1]) * _DURATIONS[match[2]]
        position = match.end()
    if not stripped or position < len(stripped):
        raise ValueError(f'{text!r} is not a duration; write a number and ms, s, m, h, d or w, like "30s"')
    if total > LONGEST:
        raise TooLong(f"{text!r} is more than a hundred years")
    return round(total)


def size(text: str) -> int:
    """Return the bytes of ``"256MB"``; 1 KB is 1024 bytes. ValueError says what is legal."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a size; write a number and B, KB, MB or GB, like "256MB"')
    return round(float(match[1]) * _SIZES[match[2].upper()])


def rate(text: str) -> Rate:
    """Return the rate of ``"50/s"``. ValueError says what is legal."""
    match = _RATE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f'{text!r} is not a rate; write a number per s, m, h or d, like "50/s"')
    return Rate(count=int(match[1]), per=_PERIODS[match[2]])


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 delivery``, ``2 deliveries``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def show_duration(milliseconds: int) -> str:
    """Write a length of time in the largest unit that divides it, as :func:`duration` reads it."""
    for unit in ("w", "d", "h", "m", "s"):
        if milliseconds and milliseconds % _DURATIONS[unit] == 0:
            return f"{milliseconds // _DURATIONS[unit]}{unit}"
    return f"{milliseconds}ms"


def span(milliseconds: float) -> str:
    """Return a length of time in one unit, as people say it."""
    seconds = milliseconds / 1000
    for unit, most, each in (("s", 60, 1), ("min", 3600, 60), ("h", 48 * 3600, 3600)):
        if seconds < most:
            return f"{int(seconds // each)} {unit}"
    return f"{int(seconds // 86400)} d"


def took(milliseconds: float) -> str:
    """Return how long something took, to three digits, as people say it."""
    for unit, most, each in (("ms", 1000, 1.0), ("s", 60_000, 1000.0), ("min", 3_600_000, 60_000.0)):
        if milliseconds < most:
            return f"{milliseconds / each:.3g} {unit}" if milliseconds / each < 100 else f"{milliseconds:.0f} {unit}"
    return span(milliseconds)


def show_size(count: int) -> str:
    """Write a size in the largest unit that divides it, as :func:`size` reads it."""
    for unit in ("GB", "MB", "KB"):
        if count and count % _SIZES[unit] == 0:
            return f"{count // _SIZES[unit]}{unit}"
    return f"{count}B"


def show_rate(rate: Rate) -> str:
    """Write a rate as :func:`rate` reads it."""
    for unit, per in _PERIODS.items():
        if rate.per == per:
            return f"{rate.count}/{unit}"
    return f"{rate.count} in {show_duration(rate.per)}"
