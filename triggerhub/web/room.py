"""Bound what requests of the admin address hold of bodies together: they come before it is known whose they are."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

from triggerhub.errors import TriggerhubError
from triggerhub.web.limit import Limits


class Crowded(TriggerhubError):
    """Too much is being received: HTTP 503."""

    def __init__(self) -> None:
        super().__init__("too much is being received at once", hint="Ask again in a moment.")


class Room:
    """What is held, of how much."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.held = 0


class Place:
    """What one request holds, until it is left. Without a *room* it may hold what it wants."""

    def __init__(self, room: Room | None) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._room is not None:
            self._room.held -= self._size

    def counted(self, receive: Receive) -> Receive:
        """Return a *receive* for what keeps the body. It raises Crowded where there is no room."""
        room = self._room
        if room is None:
            return receive

        async def receiving() -> Message:
            message = await receive()
            if more := len(message.get("body", b"")):
                self._size += more
                room.held += more
                if room.limits.full(self._size, of_peer=0, of_all=room.held):
                    raise Crowded
            return message

        return receiving
