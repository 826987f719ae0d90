"""Look after a running call: its deadline, and the memory of the processes that serve it; between calls, that alone.

One timer serves many short calls: it is set when none runs, and goes over to a slower one when nobody is busy.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from triggerhub.runtimes import memory
from triggerhub.runtimes.groups import Group

PERIOD = 0.1
"""Seconds between two looks at the memory of a busy worker."""
NEAR = 0.02
"""The same for one that holds more than half of what it may."""
SOON = 0.005
"""The first such time for one that may be gone at once; each next one is twice as long."""
IDLE = 1.0
"""The same for a worker that nobody has called for so long: what a call left running in it may grow."""
AWAY = 1.0
"""A look that is later than this by so many seconds was missed: the hub itself did not run."""
REST = 0.25
"""Seconds within which the memory is not looked at again when a call ends."""


class Watch:
    """Times by the loop's clock, which nobody can set.

    Time in which the hub itself stood still (SIGSTOP, a frozen container) is not counted: the answer may lie
    there unread, and the worker may have stood still as well.
    """

    __slots__ = (
        "_apart",
        "_deadline",
        "_gone",
        "_group",
        "_known",
        "_late",
        "_limit",
        "_loop",
        "_measured",
        "_next",
        "_over",
        "_pace",
        "_peak",
        "_pid",
        "_seen",
        "_timer",
    )

    def __init__(self, limit: int, *, late: Callable[[], None], over: Callable[[], None]) -> None:
        """*late* is called at a deadline, *over* when more than *limit* bytes are held, in a call or between two."""
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._late = late
        self._over = over
        self._pid: int | None = None
        self._group: Group | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._pace = math.inf
        self._measured = 0.0
        self._seen = 0
        self._peak = 0
        self._gone = 0
        """What the processes held at most beyond what they hold, since they began."""
        self._apart = 0
        """What they have resident and is not counted as theirs: shared with what they were made of, or a file's."""
        self._known: int | None = None
        """What the last call came to."""

    def begin(self, pid: int, seconds: float, group: Group | None = None) -> None:
        """A call begins that may take so long; *group* counts the memory, where there is one."""
        now = self._loop.time()
        self._pid, self._group = pid, group
        self._deadline = now + seconds
        self._peak = 0
        if self._timer is None or self._deadline < self._next:
            self._set(now)

    def look(self) -> None:
        """Measure at once, and often at first: what serves one call alone may be gone by the next look."""
        if self._pid is not None and self._deadline is not None:
            self._measure(self._pid)
            self._pace = SOON
            self._set(self._loop.time())

    def end(self, told: int | None = None) -> int | None:
        """The call has ended; return the most memory seen in bytes, or None if none was ever measured.

        All of it is counted as what is held to the limit. It is never more than that: what was held beyond it was
        taken away. *told* is what the kernel says of the largest process, where all are gone. Where nothing is to be
        seen any more, the last call's is returned.
        """
        if self._pid is not None and self._loop.time() - self._measured > REST:
            self._measure(self._pid)
            ever, now = memory.most(memory.family(self._pid))
            if now:
                # What came and went between two looks, since the worker began.
                self._gone, self._apart = max(ever - now, 0), max(now - self._seen, 0)
        most = max(self._seen and self._seen + self._gone, (told or 0) - self._apart)
        if most <= self._limit:
            # Where pages are shared it says too much.
            self._peak = max(self._peak, most)
        self._deadline = None
        self._known = min(max(self._peak, self._seen), self._limit) or self._known
        return self._known

    def close(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._deadline is not None
        period = min(self._pace, PERIOD if self._seen * 2 < self._limit else NEAR)
        self._pace *= 2
        self._next = min(now + period, self._deadline)
        self._timer = self._loop.call_at(self._next, self._tick)

    def _rest(self) -> None:
        # Whichever call begins has a look that is sooner.
        self._next = math.inf
        self._timer = self._loop.call_later(IDLE, self._glance)

    def _glance(self) -> None:
        self._timer = None
        if self._pid is not None and self._measure(self._pid):
            self._over()
            return
        # Of the next call it says nothing.
        self._measured = -math.inf
        self._rest()

    def _tick(self) -> None:
        self._timer = None
        if self._deadline is None or self._pid is None:
            self._rest()
            return
        now = self._loop.time()
        if (away := now - self._next) > AWAY:
            self._deadline += away
        if now >= self._deadline:
            self._deadline = None
            self._late()
            return
        if self._measure(self._pid):
            self._deadline = None
            self._over()
            return
        self._set(now)

    def _measure(self, pid: int) -> bool:
        """Whether the processes hold more than they may."""
        self._measured = self._loop.time()
        if self._group is not None:
            self._seen = self._group.used(pid)
            self._peak = max(self._peak, self._seen)
            return self._seen > self._limit
        pids = memory.family(pid)
        self._seen, tables = memory.resident(pids)
        if self._seen > self._limit or tables > self._limit:
            self._seen = min(self._seen + tables, memory.held(pids))
        self._peak = max(self._peak, self._seen)
        return self._seen > self._limit

    @property
    def overgrown(self) -> bool:
        """Whether the last measure was over the limit."""
        return self._seen > self._limit
