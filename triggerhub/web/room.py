"""Bound what requests of the admin address hold of bodies together: they come before it is known whose they are."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

from triggerhub.errors import TriggerhubError
from triggerhub.settings import MB
from triggerhub.web.limit import Limits


class Crowded(TriggerhubError):
    """Too much is being received: HTTP 503."""

    def __init__(self, bound: str) -> None:
        super().__init__(f"too much is being received at once: {bound}", hint="Ask again in a moment.")


class Room:
    """What is held, of how much."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.held = 0
        self.by: Counter[str] = Counter()
        """Of it by whose it is."""

    def took(self, whose: str | None, size: int) -> None:
        """Count what came."""
        self.held += size
        if whose is not None:
            self.by[whose] += size

    def refusal(self, whose: str | None, size: int) -> str | None:
        """Return why a body of *whose*, which has come to *size* bytes, is one too many; None where it is not."""
        limits, of_one = self.limits, 0 if whose is None else self.by[whose]
        if not limits.full(size, of_peer=of_one, of_all=self.held):
            return None
        part = f"{limits.part // MB} MB"
        if limits.full(size, of_peer=0, of_all=self.held):
            return f"the bodies of all have {limits.buffered // MB} MB together, and small ones {part} more"
        return f"the bodies of {whose} have {part} together, or one that is larger"

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
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._room is not None:
            self._room.left(self._whose, self._size)
        self._size = 0

    def given(self, whose: str | None) -> None:
        """Say whose it is, which may be known only once the request was looked at, before anything is counted."""
        assert not self._begun, "what is counted is somebody's already"
        self._whose = whose

    def counted(self, receive: Receive) -> Receive:
        """Return a *receive* for what keeps the body. It raises Crowded where there is no room.

        A refused body is not held: what came of it leaves its room to the others at once, or those who send together
        would all be refused for one another's sake; what comes after that is read only so that the refusal is heard.
        """
        room, self._begun = self._room, True
        if room is None:
            return receive
        refused = False

        async def receiving() -> Message:
            nonlocal refused
            message = await receive()
            if not refused and (more := len(message.get("body", b""))):
                self._size += more
                room.took(self._whose, more)
                if why := room.refusal(self._whose, self._size):
                    refused = True
                    self._leave()
                    # Not an error that this frame has, too: they would hold each other, and all of the body's pieces.
                    raise Crowded(why)
            return message

        return receiving
