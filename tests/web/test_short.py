"""What a shortcut takes is answered on the connection that uvicorn goes on to serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from uvicorn import Config
from uvicorn.server import ServerState

from triggerhub.web import patience
from triggerhub.web.patience import Patient
from triggerhub.web.short import Headers, Peer

GUARD = 20
CALL = b"POST /short HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
LONG = b"POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Echo:
    """A shortcut for one path; what it has taken waits for *go*, and fails where it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.begun = 0
        self.fails = False

    def takes(self, url: bytes, headers: Headers, peer: Peer) -> Echo | None:
        return self if url == b"/short" else None

    async def answer(self, body: bytes, *, close: bool) -> bytes:
        self.begun += 1
        await self.go.wait()
        if self.fails:
            raise ValueError("no")
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Echo, asyncio.StreamReader, asyncio.StreamWriter]]:
    config, echo, state = Config(PlainTextResponse("long"), interface="asgi3", date_header=False), Echo(), ServerState()
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: Patient(set(), echo, config=config, server_state=state, app_state={}), "127.0.0.1"
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    async with asyncio.timeout(GUARD):
        yield echo, reader, writer
    writer.close()
    server.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(int(length.partition(b":")[2]))


async def test_short_and_long_take_turns_on_a_connection() -> None:
    async with served() as (echo, reader, writer):
        echo.go.clear()
        writer.write(CALL + LONG + CALL + LONG)
        while not echo.begun:
            await asyncio.sleep(0)
        echo.go.set()
        first, *rest = [await answer(reader) for _ in range(4)]
        assert first == b"{}"
        assert rest == [b"long"] * 3  # what comes while another is under way goes the way of all


async def test_the_next_one_after_an_answer_is_taken_again() -> None:
    async with served() as (echo, reader, writer):
        for number in range(1, 4):
            writer.write(CALL)
            assert await answer(reader) == b"{}"
            assert echo.begun == number


async def test_who_asks_nothing_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "IDLE_TIME", 0.05)
    monkeypatch.setattr(patience, "HEAD_TIME", 0.05)
    async with served() as (_, reader, writer):
        writer.write(CALL)
        assert await answer(reader) == b"{}"
        assert await reader.read() == b""


async def test_a_failure_ends_the_connection() -> None:
    async with served() as (echo, reader, writer):
        echo.fails = True
        writer.write(CALL)
        assert await reader.read() == b""
