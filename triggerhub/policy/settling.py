"""Decide when a file has come to rest.

A version of a file has settled when size, mtime and inode have stayed as they are for the settle
time. It is counted from the file's own mtime where that can be trusted, so that a file which was
complete before it was noticed is not kept waiting; but a version must always have been seen at two
moments, because one long ``write`` stamps the mtime only at its beginning. Pure: moments are
arguments, in seconds of a clock that never steps.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from triggerhub.policy.inventory import Version

GLANCE = 0.25
"""The longest that a version must be watched whatever its mtime says: the kernel lets a throttled
writer sleep for 0.2 s within one write."""
STEP = 0.1
"""A difference between two clocks that moves by more than this many seconds is a step of the wall clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a path was found to be: a version, or None for no regular file."""

    path: str
    version: Version | None
    at: float
    changed: float | None = None
    """The mtime, on the clock of *at*; None where the file system's clock cannot be compared with ours."""


@dataclass(slots=True)
class _Pending:
    version: Version | None
    since: float
    """Unchanged from this moment on."""
    seen: float
    """When this version was first looked at."""
    looked: float
    """When the path was last looked at."""
    ripe: float = 0.0
    """When it has settled unless it changes; the one entry in the heap that counts."""


class Settling:
    """The paths that something happened to and that have not come to rest yet."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._glance = min(settle / 2, GLANCE)
        self._pending: dict[str, _Pending] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, path: str) -> bool:
        return path in self._pending

    def __repr__(self) -> str:
        return f"<Settling: {len(self._pending)} paths pending>"

    def judge(self, look: Look) -> bool:
        """Take in a look; return whether the path has settled as it was found (and is forgotten here).

        Where it has not, :meth:`due` names it again when it may have.
        """
        pending = self._follow(self._pending.get(look.path), look)
        ripe = max(pending.since + self._settle, pending.seen + self._glance)
        if ripe <= look.at:
            self._pending.pop(look.path, None)
            return True
        self._pending[look.path] = pending
        if ripe != pending.ripe:
            pending.ripe = ripe
            heapq.heappush(self._order, (ripe, look.path))
        return False

    def forget(self, path: str) -> None:
        """Stop waiting for a path, as for one that was never known and is no more."""
        self._pending.pop(path, None)

    def due(self, now: float, limit: int) -> list[str]:
        """Take the paths to look at now, at most *limit*; each must be judged afterwards."""
        paths: list[str] = []
        while len(paths) < limit and (ripe := self.next) is not None and ripe <= now:
            path = heapq.heappop(self._order)[1]
            # Were it to be looked at and found unsettled after all, it shall be entered again.
            self._pending[path].ripe = 0.0
            paths.append(path)
        return paths

    @property
    def next(self) -> float | None:
        """Return the moment of the next look; None while nothing is pending."""
        while self._order:
            ripe, path = self._order[0]
            if (pending := self._pending.get(path)) and pending.ripe == ripe:
                return ripe
            heapq.heappop(self._order)
        return None

    def _follow(self, before: _Pending | None, look: Look) -> _Pending:
        stamped = look.at if look.changed is None else min(look.changed, look.at)
        if before is None:
            since = look.at if look.version is None else stamped
            return _Pending(look.version, since, look.at, look.at)
        if _same(before.version, look.version):
            before.looked = look.at
            return before
        # An mtime from before the last look does not explain what changed since then.
        since = stamped if look.version is not None and stamped > before.looked else look.at
        return _Pending(look.version, since, look.at, look.at)


def _same(one: Version | None, other: Version | None) -> bool:
    return other is None if one is None else one.same(other)


class Clocks:
    """Puts the timestamps of files on the clock that never steps."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._offset: float | None = None
        self._doubted = float("-inf")
        self._now = 0.0

    def read(self, steady: float, wall: float) -> None:
        """Take in a reading of both clocks; a step of the wall clock casts doubt on stamps for a while."""
        offset = wall - steady
        if self._offset is not None and abs(offset - self._offset) > STEP:
            self._doubted = steady + self._settle
        self._offset = offset
        self._now = steady

    def steady(self, stamp_ns: int) -> float | None:
        """Return the moment of a timestamp; None while the stamps are in doubt."""
        if self._offset is None or self._now < self._doubted:
            return None
        return stamp_ns / 1e9 - self._offset
