"""Map wall-clock time to moments, where clocks are put forward and back.

Wall-clock time is a ``datetime`` without a zone; moments are milliseconds. A zone's clock shows some
times twice and others never, and a schedule needs one answer for each.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from triggerhub.model import Millis
from triggerhub.settings import DAY, SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def shown(moment: Millis, zone: tzinfo) -> datetime:
    """Return what a clock in *zone* shows at *moment*, without the zone."""
    return (_EPOCH + moment * _MILLISECOND).astimezone(zone).replace(tzinfo=None, fold=0)


def offset(moment: Millis, zone: tzinfo) -> Millis:
    """Return how far *zone* is ahead of UTC at *moment*."""
    ahead = (_EPOCH + moment * _MILLISECOND).astimezone(zone).utcoffset()
    assert ahead is not None, "a moment in a zone has an offset"
    return ahead // _MILLISECOND


def at_offset(wall: datetime, ahead: Millis) -> Millis:
    """Return the moment when a clock that is *ahead* of UTC shows *wall*."""
    return (wall.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND - ahead


def moment(wall: datetime, zone: tzinfo) -> Millis:
    """Return the one moment for *wall*: of two, the first; of none, the end of the gap that it fell into."""
    first = (wall.replace(tzinfo=zone, fold=0) - _EPOCH) // _MILLISECOND
    if shown(first, zone) == wall:
        return first
    second = (wall.replace(tzinfo=zone, fold=1) - _EPOCH) // _MILLISECOND
    return _bisect(min(first, second), max(first, second), zone)


def change(after: Millis, until: Millis, zone: tzinfo) -> Millis | None:
    """Return the first moment in (*after*, *until*] at which the zone's offset is another than just before.

    It looks day by day: a zone that is changed and changed back within a day goes unseen.
    """
    before, start = offset(after, zone), after
    while start < until:
        end = min(start + DAY, until)
        if offset(end, zone) != before:
            return _bisect(start, end, zone)
        start = end
    return None


def _bisect(low: Millis, high: Millis, zone: tzinfo) -> Millis:
    """Return the moment in (*low*, *high*] of the one change between them; changes are at whole seconds."""
    low, high, old = low // SECOND, -(-high // SECOND), offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle * SECOND, zone) == old:
            low = middle
        else:
            high = middle
    return high * SECOND
