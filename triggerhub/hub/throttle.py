"""Hold one function's calls to its rate, whoever makes them."""

from __future__ import annotations

import asyncio

import anyio

from triggerhub.hub.clock import Clock
from triggerhub.policy import rate
from triggerhub.settings import Rate


class Throttle:
    """Spends one function's tokens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limit: Rate | None = None
        self._bucket: rate.Bucket | None = None

    async def pass_(self, limit: Rate | None, *, giving_up: asyncio.Event | None = None) -> bool:
        """Return True once a call may begin; False when *giving_up* is set before."""
        while limit is not None:
            now = self._clock.now()
            if self._bucket is None or limit != self._limit:
                self._limit, self._bucket = limit, rate.Bucket.full(limit, now)
            self._bucket, wait = rate.take(self._bucket, limit, now)
            if wait <= 0:
                return True
            if giving_up is None:
                await anyio.sleep(wait / 1000)
                continue
            with anyio.move_on_after(wait / 1000):
                await giving_up.wait()
                return False
        return True
