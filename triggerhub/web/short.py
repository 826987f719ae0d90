"""Answer what a shortcut takes in the place of uvicorn's cycle of a request and its response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog
from uvicorn.protocols.http.flow_control import FlowControl

log = structlog.get_logger("admin")

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""As they came, but for their names, which are in lower case."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    address: str
    """Empty where it has none, as on a unix socket."""
    secure: bool
    here: bool
    """Whether that is this machine."""


class Taken(Protocol):
    """A request that goes by a shortcut."""

    async def answer(self, body: bytes, *, close: bool) -> bytes:
        """Return all of the answer as it is sent; *close* says that the connection ends with it."""
        ...


class Shortcut(Protocol):
    """A way past the framework for some kind of request."""

    def takes(self, url: bytes, headers: Headers, peer: Peer) -> Taken | None:
        """Return how a POST is answered that has a body of the length it says; None leaves it to the framework."""
        ...


class Short:
    """A request that goes by a shortcut: begun once it is there as a whole, and answered by one write.

    It has what uvicorn's protocol asks of a cycle and sets in it.
    """

    __slots__ = (
        "_done", "_flow", "_taken", "_transport", "body", "disconnected", "keep_alive", "message_event", "more_body",
        "response_complete",
    )  # fmt: skip

    def __init__(
        self, taken: Taken, transport: asyncio.Transport, flow: FlowControl, done: Callable[[], None], *, keep: bool
    ) -> None:
        """*done* is called after the answer; *keep* says that the connection goes on then."""
        self._taken, self._transport, self._flow, self._done = taken, transport, flow, done
        self.keep_alive = keep
        self.body = bytearray()
        self.message_event = UNHEARD
        self.more_body = True
        self.disconnected = self.response_complete = False

    async def answer(self) -> None:
        """Answer. What fails here ends the connection."""
        try:
            body, self.body = bytes(self.body), bytearray()
            data = await self._taken.answer(body, close=not self.keep_alive)
            if self._flow.write_paused and not self.disconnected:
                await self._flow.drain()
        except Exception:
            log.exception("a request could not be answered")
            self._transport.close()
        except BaseException:
            self._transport.close()
            raise
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        self.response_complete = True
        if not self.disconnected:
            self._transport.write(data)
            if not self.keep_alive:
                self._transport.close()
            self._done()


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        pass


UNHEARD = _Unheard()
