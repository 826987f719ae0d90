"""Tell the time, so that tests and simulations can bring their own."""

from __future__ import annotations

import time
from typing import Protocol

import anyio

from triggerhub.model import Millis


class Clock(Protocol):
    def now(self) -> Millis: ...

    async def sleep_until(self, when: Millis) -> None:
        """Return once the wall clock has reached *when*; a step of the clock is noticed within a second."""
        ...


class SystemClock:
    """The host's wall clock."""

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000

    async def sleep_until(self, when: Millis) -> None:
        while (left := when - self.now()) > 0:
            await anyio.sleep(min(left / 1000, 1.0))
