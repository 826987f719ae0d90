"""Carry a streamed answer from its worker to who asked for it.

Between the two lies a little of it, no more: a handler that writes faster than is read waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from triggerhub.hub.call import Answered
from triggerhub.model import Returned
from triggerhub.settings import KB

ROOM = 256 * KB
"""How much may lie here before the handler waits."""
LEAST = 64
"""What a part counts for at least: it is an object, however small."""


class Broken(Exception):
    """The answer ended before it was whole; ``call`` says how."""

    def __init__(self, call: Answered) -> None:
        super().__init__("the answer ended before it was whole")
        self.call = call


class Outflow:
    """A ``model.Sink`` whose other end is read: begin with :meth:`calling`."""

    def __init__(self) -> None:
        self.content_type = ""
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = self._left = False
        self._moved = asyncio.Event()
        self._room: Callable[[], None] = _nothing
        self._leave: Callable[[], None] = _nothing
        self._task: asyncio.Task[Answered]

    # for the worker

    @property
    def begun(self) -> bool:
        return self._begun

    def begin(self, content_type: str, room: Callable[[], None], leave: Callable[[], None]) -> None:
        self.content_type = content_type
        self._begun = True
        self._room, self._leave = room, leave
        self._moved.set()
        if self._left:
            leave()

    def write(self, data: bytes) -> bool:
        if self._left:
            return True
        self._parts.append(data)
        self._size += max(len(data), LEAST)
        self._moved.set()
        return self._size < ROOM

    # for who asked

    async def calling(self, call: Coroutine[Any, Any, Answered]) -> Answered | None:
        """Make a call that has this as its sink; return its answer if that is not streamed, None once it begins to be.

        Cancelled: so is the call.
        """
        task = self._task = asyncio.create_task(call)
        _UNDER_WAY.add(task)
        task.add_done_callback(self._over)
        try:
            while not self._begun and not task.done():
                self._moved.clear()
                await self._moved.wait()
        except asyncio.CancelledError:
            task.cancel()
            raise
        return None if self._begun else task.result()

    async def next(self) -> bytes | None:
        """Return what has come, or None when that is all. Raises Broken where there should have been more."""
        while not self._parts:
            if self._left:
                return None
            if self._task.done():
                call = self._task.result()
                if isinstance(call.outcome, Returned):
                    return None
                raise Broken(call)
            self._moved.clear()
            await self._moved.wait()
        data, self._parts, self._size = b"".join(self._parts), [], 0
        self._room()
        return data

    @property
    def left(self) -> bool:
        """Whether nobody takes the rest."""
        return self._left

    @property
    def call(self) -> Answered:
        """The call, once :meth:`next` returned None."""
        return self._task.result()

    def leave(self) -> None:
        """Take nothing more; the handler is told. Nothing happens where all was taken."""
        if self._left or self._task.done():
            return
        self._left = True
        self._parts, self._size = [], 0
        self._moved.set()
        self._leave()

    def _over(self, task: asyncio.Task[Answered]) -> None:
        _UNDER_WAY.discard(task)
        self._room = self._leave = _nothing
        self._moved.set()
        if not task.cancelled():
            task.exception()  # who asked may be gone: then nobody would look at it


_UNDER_WAY: set[asyncio.Task[Answered]] = set()
"""The loop alone would not keep them."""


def _nothing() -> None:
    pass
