"""An event loop whose time is not the world's: it leaps to the next timer, and always takes the same way.

A day of timers takes as long as its steps. Whatever has its place in a set of tasks or of cancel scopes
is hashed by its number, since an address in memory would give another order in every run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import anyio
from anyio._backends import _asyncio as backend

from triggerhub.model import Millis

Result = TypeVar("Result")


class Stuck(Exception):
    """Nothing can happen any more: every task waits for another."""


class _Leaping(selectors.BaseSelector):
    """Waits for nothing: passes the time instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self._map: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._map[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self.now += timeout
        return []

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._map

    def close(self) -> None:
        self._map.clear()


class _Task(asyncio.Task[Any]):
    """A task with a place of its own in a set."""

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], **more: Any) -> None:
        self._number = number
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Loop(asyncio.SelectorEventLoop):
    """Runs in virtual time, which begins at 0."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)
        self._clock_resolution = 1e-6
        numbers = count(1)
        self.set_task_factory(lambda loop, coroutine, **more: _Task(next(numbers), coroutine, loop=loop, **more))

    def time(self) -> float:
        return self._leaping.now


@contextmanager
def _numbered_scopes() -> Iterator[None]:
    numbers, begin = count(1), backend.CancelScope.__init__
    places: dict[int, int] = {}

    def numbered(self: Any, *arguments: Any, **more: Any) -> None:
        places[id(self)] = next(numbers)
        begin(self, *arguments, **more)

    backend.CancelScope.__init__ = numbered  # type: ignore[method-assign]
    backend.CancelScope.__hash__ = lambda self: places[id(self)]  # type: ignore[method-assign]
    try:
        yield
    finally:
        backend.CancelScope.__init__ = begin  # type: ignore[method-assign]
        del backend.CancelScope.__hash__


def run(function: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run *function* to its end in virtual time."""
    with _numbered_scopes(), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(function())


class Clock:
    """The wall clock of a simulation; it may be set, and who sleeps by it looks at it every *look* seconds."""

    def __init__(self, start: Millis, *, look: float = 1e9) -> None:
        self._start = start
        self._look = look

    def step(self, by: Millis) -> None:
        """Set the clock forward, or back."""
        self._start += by

    def now(self) -> Millis:
        return self._start + int(asyncio.get_running_loop().time() * 1000 + 1e-3)

    async def sleep_until(self, when: Millis) -> None:
        while (left := when - self.now()) > 0:
            await anyio.sleep(min(left / 1000, self._look))
