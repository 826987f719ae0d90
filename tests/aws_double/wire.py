"""Answer HTTP with as little work as can be: an endpoint that is measured against must not be what is measured."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, cast

import httptools


@dataclass
class Request:
    """One request, whole. Header names are in lower case."""

    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Answer:
    """What to say, and whether the connection is cut before it or within it."""

    body: bytes
    status: int = 200
    cut: Literal["before", "within"] | None = None


Answering = Callable[[Request], Awaitable[Answer]]


@asynccontextmanager
async def serve(answering: Answering, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Answer on a port of loopback, a free one unless told; yields the address. Leaving cuts what is open."""
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answering, connections), "127.0.0.1", port, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for one in list(connections):
            one.close()
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One client's; its requests are answered one after the other."""

    def __init__(self, answering: Answering, all_of_them: set[_Connection]) -> None:
        self._answering = answering
        self._all = all_of_them
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of asyncio's
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._request.body += body

    def on_message_complete(self) -> None:
        request, self._request = self._request, Request()
        self._task = asyncio.get_running_loop().create_task(self._answer(request))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    async def _answer(self, request: Request) -> None:
        answer = await self._answering(request)
        if answer.cut == "before":
            self._transport.abort()
            return
        head = (
            f"HTTP/1.1 {answer.status} Told\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"Content-Length: {len(answer.body)}\r\n\r\n"
        ).encode()
        if answer.cut == "within":
            self._transport.write(head + answer.body[: len(answer.body) // 2])
            self._transport.close()
        else:
            self._transport.write(head + answer.body)
