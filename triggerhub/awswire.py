"""Ask one endpoint over HTTP/1.1 with as little work as can be: a connection has one request at a time, and is kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

IDLE = 12.0
"""Seconds after which a connection is not used any more: the other side may be about to close it."""


class NoAnswer(OSError):
    """A request was not answered, or not as a whole; it may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the endpoint is, and how long it may take."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect: float
    """Seconds for a connection."""
    answer: float
    """Seconds in which nothing comes."""


@dataclass(slots=True)
class Wire:
    """The connections to one endpoint; *most* requests are on their way at once, others wait."""

    place: Place
    most: int
    _idle: list[_Connection] = field(default_factory=list, init=False)
    _all: set[_Connection] = field(default_factory=set, init=False)
    _room: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.most)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body. Raises NoAnswer. Cancelled: it may be carried out."""
        async with self._room:
            connection = self._kept() or await self._made()
            answer = await connection.ask(request, self.place.answer)
            if connection.kept:
                self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Cut all connections; a request that waits for its answer gets none."""
        for one in list(self._all):
            one.cut()

    def _kept(self) -> _Connection | None:
        """Return the connection that was used last, and do without those that were not for long."""
        too_long = asyncio.get_running_loop().time() - IDLE
        while self._idle and self._idle[0].used < too_long:
            self._idle.pop(0).cut()
        while self._idle:
            if (one := self._idle.pop()).kept:
                return one
        return None

    async def _made(self) -> _Connection:
        place, loop = self.place, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(place.connect):
                _, made = await loop.create_connection(
                    lambda: _Connection(self._lost),
                    place.host,
                    place.port,
                    ssl=place.tls,
                    server_hostname=place.host if place.tls else None,
                )
        except (OSError, ValueError) as error:
            raise NoAnswer(f"no connection: {error!r}") from error
        self._all.add(made)
        return made

    def _lost(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection, made by a :class:`Wire`."""

    def __init__(self, lost: Callable[[_Connection], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._parts: list[bytes] = []
        self.used = 0.0
        """When something was sent or came last, by the loop's clock."""
        self.kept = True
        """Whether another request may be sent."""

    async def ask(self, request: bytes, patience: float) -> tuple[int, bytes]:
        if not self.kept:
            raise NoAnswer("the connection was closed")
        self._parts, self.used = [], self._loop.time()
        self._waiting = self._loop.create_future()
        self._watch = self._loop.call_later(patience, self._look, patience)
        self._transport.write(request)
        try:
            return await self._waiting
        except BaseException:
            self.cut()
            raise
        finally:
            self._watch.cancel()
            self._waiting = None

    def cut(self) -> None:
        self.kept = False
        self._transport.abort()

    def _look(self, patience: float) -> None:
        """Give up where nothing has come for so long."""
        left = self.used + patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look, patience)
        else:
            self._fail("no answer in time")

    def _fail(self, why: str) -> None:
        self.kept = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswer(why))

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.cut()  # nobody asked for it
            return
        self.used = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"it is no HTTP: {error}")

    def eof_received(self) -> None:
        self.kept = False  # it closes, and is lost in a moment

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was closed within the answer" if self._parts else "the connection was closed")
        self._lost(self)

    # httptools

    def on_message_begin(self) -> None:
        if self._waiting is None or self._waiting.done():
            self.kept = False  # more than was asked for

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:
            return  # the answer proper comes after it
        self.kept = self.kept and self._parser.should_keep_alive()
        if not self.kept:
            self._transport.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, b"".join(self._parts)))
