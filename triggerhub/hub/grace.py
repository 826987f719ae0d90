"""Give a source that is stopped the time to finish what it has fetched."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.lowlevel


class Grace:
    """One source's unfinished business; *stop* cancels the source."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._open = 0
        self._calls: set[anyio.CancelScope] = set()
        self._until = math.inf

    @property
    def ending(self) -> bool:
        """Whether the source is to end: nothing more should begin."""
        return self._until < math.inf

    def end(self, until: float) -> None:
        """Stop the source once nothing is open; calls are cut at *until*, on the loop's clock."""
        self._until = until
        for call in self._calls:
            call.deadline = until
        if not self._open:
            self._stop()

    @asynccontextmanager
    async def finish(self) -> AsyncGenerator[None]:
        """Serve ``source.Context.finish``."""
        await anyio.lowlevel.checkpoint()
        if self.ending:
            await anyio.sleep_forever()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if self.ending and not self._open:
                self._stop()

    @contextmanager
    def call(self) -> Iterator[anyio.CancelScope]:
        """Hold a scope that ends when calls are to be cut."""
        with anyio.CancelScope(deadline=self._until) as scope:
            self._calls.add(scope)
            try:
                yield scope
            finally:
                self._calls.discard(scope)
