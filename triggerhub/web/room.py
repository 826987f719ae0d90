"""Bound what requests of the admin address hold of bodies together: they come before it is known whose they are."""

from __future__ import annotations

from collections import Counter
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
        self.by: Counter[str] = Counter()
        """Of it by whose it is."""

    def took(self, whose: str | None, size: int) -> int:
        """Count what came, and return what there is of the one *whose* it is."""
        self.held += size
        if whose is None:
            return 0
        self.by[whose] += size
        return self.by[whose]

    def left(self, whose: str | None, size: int) -> None:
        """Count what went."""
        self.held -= size
        if whose is None:
            return
        self.by[whose] -= size
        if not self.by[whose]:
            del self.by[whose]


class Place:
    """What one request holds, until it is left. Without a *room* it may hold what it wants.

    All that is *whose* has a part of the room, so that others have one. None is for whoever has no such bound.
    """

    def __init__(self, room: Room | None, whose: str | None) -> None:
        self._room = room
        self._whose = whose
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._room is not None:
            self._room.left(self._whose, self._size)

    def given(self, whose: str) -> None:
        """Say whose it is, which may be known only once the request was looked at, before anything is held."""
        assert not self._size, "what is held is somebody's already"
        self._whose = whose

    def counted(self, receive: Receive) -> Receive:
        """Return a *receive* for what keeps the body. It raises Crowded where there is no room.

        What comes after that is not counted: it is read to be thrown away, so that the refusal is heard.
        """
        room, whose = self._room, self._whose
        if room is None:
            return receive
        refused = False

        async def receiving() -> Message:
            nonlocal refused
            message = await receive()
            if not refused and (more := len(message.get("body", b""))):
                self._size += more
                if room.limits.full(self._size, of_peer=room.took(whose, more), of_all=room.held):
                    refused = True
                    raise Crowded
            return message

        return receiving
