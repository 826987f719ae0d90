"""Hold one function's calls to its rate, whoever makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from triggerhub.hub.clock import Clock
from triggerhub.policy import rate
from triggerhub.settings import Rate


class Throttle:
    """Spends one function's tokens."""

    def __init__(self, clock: Clock, limit: Rate | None) -> None:
        self._clock = clock
        self._limit = limit
        self._bucket: rate.Bucket | None = None
        self._stirred = asyncio.Event()

    @property
    def limits(self) -> bool:
        """Whether there is a rate at all."""
        return self._limit is not None

    def set(self, limit: Rate | None) -> None:
        """Hold calls to another rate; those that wait by the old one wait by this one."""
        if limit != self._limit:
            self._limit, self._bucket = limit, None
            self.stir()

    def stir(self) -> None:
        """Let those who wait look whether they are to give up."""
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def pass_(self, giving_up: Callable[[], bool] = lambda: False) -> bool:
        """Return True once a call may begin; False where *giving_up* says so before."""
        while (limit := self._limit) is not None:
            if giving_up():
                return False
            now = self._clock.now()
            self._bucket, wait = rate.take(self._bucket or rate.Bucket.full(limit, now), limit, now)
            if wait <= 0:
                return True
            with anyio.move_on_after(wait / 1000):
                await self._stirred.wait()
        return True
