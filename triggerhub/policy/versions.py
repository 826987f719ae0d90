"""Decide which versions of a function of the handlers folder are kept, and which one is before another. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from triggerhub.model import Json, Millis
from triggerhub.settings import DAY, GB

MOST = 10
"""Versions of one function."""
AGE = 30 * DAY
"""So long after it last took over, or was first seen, a version goes; of those that ran, the last earlier one stays."""
ROOM = 1 * GB
"""What the code of the versions of one function takes in all; the newest stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A version whose code is still there."""

    version: str
    first: Millis
    """When it was first seen in the folder."""
    ran: Millis | None = None
    """When it last took over from the folder; None where it never could."""
    size: int
    """Bytes of its code."""
    code: Json
    """How it is started again, as whoever keeps the code has written it down."""

    @property
    def last(self) -> Millis:
        """The last moment at which the folder brought it."""
        return self.first if self.ran is None else max(self.ran, self.first)


def newest_first(kept: Mapping[str, Kept]) -> list[Kept]:
    """Return versions by when the folder last brought them."""
    return sorted(kept.values(), key=lambda one: (one.last, one.version), reverse=True)


def before(kept: Mapping[str, Kept], version: str) -> Kept | None:
    """Return the version that ran before *version*: the last that took over before it did; None where none is kept."""
    then = kept[version].ran if version in kept else None
    ran = [one for one in newest_first(kept) if one.ran is not None and one.version != version]
    return next((one for one in ran if then is None or one.last < then), None)


def outdated(kept: Mapping[str, Kept], needed: Collection[str], *, there: bool, now: Millis) -> set[str]:
    """Return which versions of a function are to go; never one of *needed*.

    *there* is whether the folder has the function still.
    """
    gone, number, room, spared = set[str](), 0, 0, not there
    for one in newest_first(kept):
        number, room = number + 1, room + one.size
        if one.version in needed:
            continue
        earlier = one.ran is not None and not spared
        spared |= earlier
        if not earlier and (number > MOST or room > ROOM or now - one.last > AGE):
            gone.add(one.version)
    return gone


def state(*, runs: bool, lies: bool, pinned: bool, ran: bool) -> str:
    """Say in words what a version is."""
    words = ["runs"] if runs else ["earlier" if ran else "did not start"] if not lies else []
    if pinned:
        words.append("pinned")
    if lies:
        words.append("lies in the folder" if runs or ran else "lies in the folder, did not start")
    return ", ".join(words)
