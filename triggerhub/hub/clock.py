"""Tell the time, so that tests and simulations can bring their own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import anyio

from triggerhub.model import Millis

LOOK = 1.0
"""Seconds between looks at the clock."""
NEAR: Millis = 1500
"""What is nearer than this has a timer of its own, so that it is on time."""


class Clock(Protocol):
    def now(self) -> Millis: ...

    async def sleep_until(self, when: Millis) -> None:
        """Return once the wall clock has reached *when*; a step of the clock is noticed within a second."""
        ...


class SystemClock:
    """The host's wall clock.

    Whoever sleeps longer than a moment sleeps on one timer that all share: each second it looks whose time
    is near, by the wall clock as it then is. A timer for each would cost ten thousand schedules a tenth of a core.
    """

    def __init__(self) -> None:
        self._sleepers: dict[anyio.Event, Millis] = {}
        self._looking = False

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000

    async def sleep_until(self, when: Millis) -> None:
        while (left := when - self.now()) > 0:
            if left <= NEAR:
                await anyio.sleep(min(left / 1000, LOOK))
                continue
            near = anyio.Event()
            self._sleepers[near] = when
            self._keep_looking()
            try:
                await near.wait()
            finally:
                del self._sleepers[near]

    def _keep_looking(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        self._looking = False
        soon = self.now() + NEAR
        for near, when in self._sleepers.items():
            if when <= soon:
                near.set()
        if self._sleepers:
            self._keep_looking()
