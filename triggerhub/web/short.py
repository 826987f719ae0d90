"""Answer what a shortcut takes in the place of uvicorn's cycle of a request and its response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

log = structlog.get_logger("admin")

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""As they came, but for their names, which are in lower case."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    address: str
    """Empty where it has none, as on a unix socket."""
    secure: bool


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


class Short(RequestResponseCycle):
    """A request that goes by a shortcut: begun once it is there as a whole, and answered by one write."""

    def __init__(self, taken: Taken, **given: Any) -> None:
        super().__init__(**given)
        self._taken = taken

    async def run_asgi(self, app: object) -> None:
        """Answer. What fails here ends the connection."""
        try:
            data = await self._taken.answer(bytes(self.body), close=not self.keep_alive)
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
        except BaseException as error:
            if isinstance(error, Exception):
                log.exception("a request could not be answered")
            self.transport.close()
            raise
        self.response_complete = True
        if not self.disconnected:
            self.transport.write(data)
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
