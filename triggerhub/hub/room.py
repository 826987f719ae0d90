"""Let so many calls run at once, of one function or of all its versions together, who came first first."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from itertools import count


class Room:
    """How many calls may run at once, and those who share them.

    What is kept ready for a version is its own: its first calls have it, and all others have the rest.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept = 0
        """How many of them are one's own."""
        self.beyond = 0
        """How many calls have one of the rest."""
        self.waiting: set[Share] = set()

    def call(self) -> None:
        """Give those who wait, the first first, what there is for them."""
        while able := [one for one in self.waiting if one.open]:
            min(able, key=Share.first).call()


class Share:
    """One version's part of a room, and those of its callers who wait."""

    _numbers = count()

    def __init__(self, room: Room) -> None:
        self.room = room
        self._kept = 0
        self._taken = 0
        self._queue: OrderedDict[asyncio.Future[bool], int] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether a call may begin; where somebody waits who might have that, it is his already."""
        return self._taken < self._kept or self.room.beyond < self.room.most - self.room.kept

    def take(self) -> None:
        """Count a call that begins."""
        self._taken += 1
        self.room.beyond += self._taken > self._kept

    def give(self) -> None:
        """Count a call that is over, or does not begin after all; who waits has its place."""
        self.room.beyond -= self._taken > self._kept
        self._taken -= 1
        self.room.call()

    def first(self) -> int:
        """Return when the first who waits came, by a number."""
        return next(iter(self._queue.values()))

    def call(self) -> None:
        """Give the first who waits a place."""
        future, _ = self._queue.popitem(last=False)
        self._stand()
        if not future.done():
            self.take()
            future.set_result(True)

    async def turn(self, until: float) -> bool:
        """Take a place once there is one; False at *until* on the loop's clock. Cancelled: none is taken."""
        if self.open:
            self.take()
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._queue[future] = next(self._numbers)
        self._stand()
        timer = loop.call_at(until, _expire, future) if until < math.inf else None
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled() and future.result():
                self.give()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._queue.pop(future, None)
            self._stand()

    def enter(self, room: Room, kept: int) -> None:
        """Share *room* from now on, *kept* of it its own, with the calls under way and those who wait."""
        left = self.room
        left.waiting.discard(self)
        left.kept -= self._kept
        left.beyond -= max(self._taken - self._kept, 0)
        self.room, self._kept = room, kept
        room.kept += kept
        room.beyond += max(self._taken - kept, 0)
        self._stand()
        left.call()
        room.call()

    def _stand(self) -> None:
        """Be among those who wait where somebody does."""
        if self._queue:
            self.room.waiting.add(self)
        else:
            self.room.waiting.discard(self)


def _expire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
