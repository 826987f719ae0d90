"""Read since when something is asked for: how long ago, or a moment.

Pure: the clock's reading is an argument. The command line and the hub judge by it, so that they never differ.
"""

from __future__ import annotations

from datetime import datetime

from triggerhub.model import Millis
from triggerhub.policy import units

LAST: Millis = 253_402_300_799_999
"""The end of the year 9999: no later day has a name."""


def since(text: str, now: Millis) -> Millis:
    """Return when ``15m`` before *now*, or an RFC 3339 time, was, from 1970 to 9999. ValueError says what is legal."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return max(0, now - _ago(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say in which time zone; write it like 2026-01-31T12:00:00Z")
    return max(0, min(int(moment.timestamp() * 1000), LAST))


def _ago(text: str) -> Millis:
    try:
        return units.duration(text)
    except units.TooLong:
        raise
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write 90s, 15m, 1h, 2d or 2026-01-31T12:00:00Z") from None
