"""Wait to be called, or for as long as one cares to: an event for one waiter, whose patience costs it no scope."""

from __future__ import annotations

import asyncio


class Bell:
    """Rings until it is stilled."""

    def __init__(self) -> None:
        self._ringing = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._ringing

    def set(self) -> None:
        """Ring, and wake who waits."""
        self._ringing = True
        if self._waiter is not None:
            _wake(self._waiter)

    def clear(self) -> None:
        """Be still until the next call."""
        self._ringing = False

    async def wait(self, patience: float | None = None) -> None:
        """Return once it rings, or after *patience* seconds."""
        if self._ringing:
            return
        assert self._waiter is None, "one waits at a time"
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None if patience is None else loop.call_later(patience, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
