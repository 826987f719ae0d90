"""Who takes no answer, or sends no body, does not hold a connection of the admin address for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from triggerhub.web import patience
from triggerhub.web.patience import Patient

GUARD = 20
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class NoShortcut:
    fails = False

    def takes(self, *_: Any) -> None:
        if self.fails:
            raise ValueError("no")


@asynccontextmanager
async def served(app: ASGIApp, kind: type[Patient] = Patient) -> AsyncGenerator[tuple[set[Patient], tuple[Any, ...]]]:
    """Serve strangers; yields those who are there, and what a client has of its connection."""
    config, crowd, state = Config(app, interface="asgi3", date_header=False), set[Patient](), ServerState()
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(crowd, NoShortcut(), config=config, server_state=state, app_state={}), "127.0.0.1"
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    async with asyncio.timeout(GUARD):
        yield crowd, (reader, writer)
    writer.close()
    server.close()


class Answering:
    """Answers with so many bytes, and knows whether it is through."""

    def __init__(self, size: int, *headers: tuple[bytes, bytes]) -> None:
        self._size, self._headers = size, headers
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", b"%d" % self._size)
        await send({"type": "http.response.start", "status": 200, "headers": [length, *self._headers]})
        await send({"type": "http.response.body", "body": bytes(self._size)})
        self.ended.set()


async def gone(crowd: set[Patient]) -> None:
    while crowd:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("again", [False, True])
async def test_who_takes_nothing_of_an_answer_is_cut_though_he_asks_again(
    monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr(patience, "TAKE_TIME", 0.1)
    app = Answering(32_000_000)
    async with served(app) as (crowd, (_, writer)):
        writer.write(GET)
        await app.ended.wait()
        if again:
            writer.write(GET)
        await gone(crowd)


async def test_who_was_answered_before_his_body_came_is_idle_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_TIME", "IDLE_TIME", "PIECE_TIME"):
        monkeypatch.setattr(patience, name, 0.5)
    async with served(Answering(3)) as (crowd, (reader, writer)):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        await reader.readuntil(bytes(3))
        writer.write(b"x")
        await gone(crowd)


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize("closes", [False, True])
async def test_who_takes_an_answer_slowly_gets_all_of_it(
    monkeypatch: pytest.MonkeyPatch, closes: bool, roomy: bool
) -> None:
    monkeypatch.setattr(patience, "TAKE_TIME", 0.5)
    monkeypatch.setattr(patience, "IDLE_TIME", 0.3)
    app = Answering(32_000_000, *([(b"connection", b"close")] if closes else []))
    async with served(app, Roomy if roomy else Patient) as (_, (reader, writer)):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(8):
            await reader.readexactly(4_000_000)
            await asyncio.sleep(0.1)
        assert await reader.read() == b""


class Roomy(Patient):
    """Never told to stop writing, as with an answer that is smaller than what makes a transport say so."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=100_000_000)
        super().connection_made(transport)


@pytest.mark.parametrize("closes", [False, True])
async def test_an_answer_that_nobody_takes_outlives_no_end(monkeypatch: pytest.MonkeyPatch, closes: bool) -> None:
    monkeypatch.setattr(patience, "TAKE_TIME", 0.1)
    monkeypatch.setattr(patience, "HEAD_TIME", 0.2)
    app = Answering(32_000_000, *([(b"connection", b"close")] if closes else []))
    async with served(app, Roomy) as (crowd, (_, writer)):
        writer.write(GET if closes else GET + b"GET")
        await app.ended.wait()
        await gone(crowd)


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class Reading:
    """Reads a body once it may, and tells how much there was."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"%d" % size})


@pytest.mark.parametrize("begun", [0, 900_000])
async def test_a_body_that_trickles_is_cut(monkeypatch: pytest.MonkeyPatch, begun: int) -> None:
    monkeypatch.setattr(patience, "PIECE_TIME", 0.1)
    async with served(Reading()) as (crowd, (_, writer)):
        writer.write(POST + bytes(begun))
        while not crowd:
            await asyncio.sleep(0)
        while crowd:
            writer.write(b"x")
            await asyncio.sleep(0.01)


async def test_a_body_that_comes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PIECE_TIME", 0.3)
    async with served(Reading()) as (_, (reader, writer)):
        writer.write(POST)
        for _ in range(5):
            writer.write(bytes(200_000))
            await asyncio.sleep(0.1)
        assert b"1000000" in await reader.read()


async def test_a_body_that_is_not_read_yet_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PIECE_TIME", 0.5)
    app = Reading()
    app.go.clear()
    async with served(app) as (_, (reader, writer)):
        writer.write(POST + bytes(500_000))
        await asyncio.sleep(1.2)
        app.go.set()
        writer.write(bytes(500_000))
        assert b"1000000" in await reader.read()


async def test_all_of_a_body_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PIECE_TIME", 0.05)
    monkeypatch.setattr(patience, "BODY_TIME", 0.2)
    app = Reading()
    app.go.clear()
    async with served(app) as (crowd, (_, writer)):
        writer.write(POST + bytes(500_000))
        while not crowd:
            await asyncio.sleep(0)
        await gone(crowd)
        app.go.set()


async def test_a_shortcut_that_fails_is_no_fault_of_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoShortcut, "fails", True)
    async with served(Reading()) as (_, (reader, writer)):
        writer.write(POST + bytes(1_000_000))
        assert b"1000000" in await reader.read()


async def test_an_answer_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than anything that a client is waited for."""
    for name in ("TAKE_TIME", "IDLE_TIME", "HEAD_TIME", "PIECE_TIME"):
        monkeypatch.setattr(patience, name, 0.05)
    app = Reading()
    app.go.clear()
    async with served(app) as (crowd, (reader, writer)):
        writer.write(POST + bytes(1_000_000))
        while not crowd:
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        app.go.set()
        assert b"1000000" in await reader.read()


async def test_a_few_requests_may_wait_on_a_connection_and_no_more() -> None:
    async with served(Answering(3)) as (crowd, (reader, writer)):
        writer.write(GET * 10)
        for _ in range(10):
            await reader.readuntil(bytes(3))
        writer.write(GET * 5000)
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).count(b"HTTP/1.1 ") < 20
        await gone(crowd)


async def test_what_waits_is_answered_before_more_is_read() -> None:
    first = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await first.wait()
        await Answering(3)(scope, receive, send)

    async with served(app) as (crowd, (reader, writer)):
        (one,) = crowd
        writer.write(GET * 11)
        while len(one.pipeline) < 10:
            await asyncio.sleep(0.01)
        writer.write(GET * 11)
        await writer.drain()
        first.set()
        for _ in range(22):
            await reader.readuntil(bytes(3))


@pytest.mark.parametrize("piece", [b"ab:cd\r\n", b"x" * 1000])
async def test_trailers_without_an_end_are_refused(piece: bytes) -> None:
    async with served(Answering(3)) as (crowd, (_, writer)):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while crowd:
                writer.write(piece * 100)
                sent += len(piece) * 100
                await writer.drain()
                await asyncio.sleep(0)
        await gone(crowd)
        assert sent < 4_000_000


async def test_a_body_of_small_chunks_and_a_trailer_is_one() -> None:
    seen: list[tuple[bytes, list[bytes]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        seen.append((body, [name for name, _ in scope["headers"]]))
        await Answering(3)(scope, receive, send)

    async with served(app) as (_, (reader, writer)):
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000)
        writer.write(b"0\r\nChecksum: 1\r\n\r\n")
        await reader.readuntil(bytes(3))
        assert seen == [(b"x" * 100_000, [b"transfer-encoding"])]


async def test_more_fields_than_a_request_has_are_refused() -> None:
    async with served(Answering(3)) as (crowd, (reader, writer)):
        writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (patience.FIELDS + 2))
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"more than 200 header fields" in answer
        await gone(crowd)


async def test_who_rests_makes_room_for_who_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "CONNECTIONS", 2)
    held = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await held.wait()
        await Answering(3)(scope, receive, send)

    async with served(app) as (crowd, (reader, writer)):
        there = writer.get_extra_info("peername")
        writer.write(GET)
        await reader.readuntil(bytes(3))
        slow, asking = await asyncio.open_connection(*there)
        asking.write(GET.replace(b" / ", b" /slow "))
        third, coming = await asyncio.open_connection(*there)
        coming.write(GET)
        await third.readuntil(bytes(3))
        assert await reader.read() == b"", "the one that had its answer was closed"
        coming.write(GET.replace(b" / ", b" /slow "))
        while sum(one.rests for one in crowd):
            await asyncio.sleep(0.01)
        fourth, late = await asyncio.open_connection(*there)
        assert (await fourth.read()).startswith(b"HTTP/1.1 503 ")
        held.set()
        await slow.readuntil(bytes(3))
        await third.readuntil(bytes(3))
        for one in (asking, coming, late):
            one.close()
