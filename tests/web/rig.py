"""Speak to the ingress as a client does, byte by byte."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from triggerhub.source import Request, Response, Route
from triggerhub.web.ingress import Ingress
from triggerhub.web.limit import Limits

GUARD = 20
Endpoint = Callable[[Request], Awaitable[Response]]


LOOPS = [pytest.param(uvloop.new_event_loop, id="uvloop"), pytest.param(asyncio.new_event_loop, id="asyncio")]


def on_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the loop of production and on asyncio's own: their transports differ."""

    def run(loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**given))

    own = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = own.replace(parameters=[loop, *own.parameters.values()])  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return pytest.mark.parametrize("loop", LOOPS)(run)


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head: bool = False) -> Answer:
        async with asyncio.timeout(GUARD):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = [(k.lower(), v) for k, _, v in (line.partition(": ") for line in lines if line)]
            answer = Answer(int(first.split()[1]), headers, b"")
            length = answer.header("content-length")
            if length and not head:
                answer.body = await self.reader.readexactly(int(length))
            return answer

    async def answer_if_open(self, data: bytes) -> Answer:
        """Send *data* and return the answer; 503 where the server closed before it was read."""
        try:
            await self.send(data)
            return await self.answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            return Answer(503, [], b"")

    async def ended(self) -> bool:
        """Wait until the server has closed its side; False if it says something instead."""
        async with asyncio.timeout(GUARD):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncGenerator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@dataclass
class Echo:
    """Remembers requests and answers with their path and body."""

    seen: list[Request] = field(default_factory=list)

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        await asyncio.sleep(0)
        return Response(status=200, body=request.path.encode() + b" " + request.body)


def route(endpoint: Endpoint, path: str = "/a", methods: tuple[str, ...] = ("POST", "GET"), limit: int = 1000) -> Route:
    return Route(path=path, methods=methods, body_limit=limit, endpoint=endpoint, owner="triggers.test")


@asynccontextmanager
async def serving(*routes: Route, limits: Limits | None = None, **options: Any) -> AsyncGenerator[int]:
    ingress = Ingress(limits)
    async with ingress.serve(*routes), ingress.listen("127.0.0.1", 0, **options) as port:
        yield port


def post(path: str = "/a", body: bytes = b"x", *headers: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: hub", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
