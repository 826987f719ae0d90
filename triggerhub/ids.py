"""Make the ids of events and deliveries: UUIDv7, so that keys grow with time.

An event's id ends in a zero byte, and its deliveries carry the 255 ids right after it: the
deliveries of an event are a key range and need no index of their own, and an id that grows with
time keeps the hot page of every index warm. Pure: time and randomness are arguments.
"""

from __future__ import annotations

MAX_FAN_OUT = 255
"""How many deliveries one event may have: as many as a byte can number."""
LAST = "g"
"""Greater than every id, which are hexadecimal."""


def event_id(milliseconds: int, counter: int, random: int) -> str:
    """Return a UUIDv7 whose last byte is zero.

    *counter* (12 bits) orders ids of one millisecond; *random* (54 bits) keeps hosts apart.
    """
    high, low, order = milliseconds >> 16 & 0xFFFF_FFFF, milliseconds & 0xFFFF, 0x7000 | counter & 0xFFF
    variant, rest = 0x8000 | random >> 40 & 0x3FFF, (random & 0xFF_FFFF_FFFF) << 8
    return f"{high:08x}-{low:04x}-{order:04x}-{variant:04x}-{rest:012x}"


def delivery_id(event: str, number: int) -> str:
    """Return the id of the event's delivery *number*, counted from 1."""
    return f"{event[:-2]}{number:02x}"


def event_of(delivery: str) -> str:
    """Return the id of the event that *delivery* belongs to."""
    return f"{delivery[:-2]}00"


def milliseconds(identifier: str) -> int:
    """Return the time in an id, in milliseconds since the epoch."""
    return int(identifier[:8] + identifier[9:13], 16)


def first_at(milliseconds: int) -> str:
    """Return the smallest id of a moment: the lower bound of a key range by time."""
    return event_id(milliseconds, 0, 0)
