"""Hold what a stranger may take of the admin address before anybody knows who he is: headers, time, connections."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triggerhub.settings import KB
from triggerhub.web import http

HEAD = 64 * KB
"""Bytes of a request's line and headers; what one read brings may go beyond it."""
HEAD_TIME = 30.0
"""Seconds from the beginning of a connection, or of a request, to the end of its headers."""
BODY_TIME = 900.0
"""Seconds for all of a body."""
CONNECTIONS = 500
"""Clients at once."""


class Patient(HttpToolsProtocol):
    """uvicorn's side of a connection, which waits for ever and takes whatever comes, within bounds.

    *crowd* are the connections of this listener; None where all are of the hub's own user.
    """

    def __init__(self, crowd: set[Patient] | None, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._crowd is not None:
            if len(self._crowd) >= CONNECTIONS:
                self._refuse(503, "Too many connections")
                return
            self._crowd.add(self)
        self._wait(HEAD_TIME)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        if self._crowd is not None:
            self._crowd.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > HEAD and not self.transport.is_closing():
            self._refuse(431, "The request's header is too large")

    def on_message_begin(self) -> None:
        self._wait(HEAD_TIME)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        self._wait(BODY_TIME)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._wait(None)
        super().on_message_complete()

    def _wait(self, seconds: float | None) -> None:
        """Close the connection after so long, and not as it was said before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.close)

    def _refuse(self, status: int, text: str) -> None:
        self._wait(None)
        self.transport.write(http.encode(http.message(status, text), head=False, close=True))
        self.transport.close()
