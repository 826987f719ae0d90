"""Connections that are kept: used again, replaced when they went, and never trusted with half an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from triggerhub import awswire
from triggerhub.awswire import NoAnswer, Place, Wire

ASK = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def wired(
    *answers: bytes, most: int = 10, patience: float = 20, hold: asyncio.Event | None = None
) -> AsyncGenerator[tuple[Wire, list[int]]]:
    """A wire to who gives these answers, one to a request, and then the last for ever; each tells of its connection.

    An answer of nothing cuts the connection; *hold* is waited for before an answer.
    """
    made: list[int] = []
    left = list(answers)
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        number = count
        try:
            while await reader.readexactly(len(ASK)):
                made.append(number)
                if hold is not None:
                    await hold.wait()
                answer = left.pop(0) if len(left) > 1 else left[0]
                writer.write(answer)
                if not answer or b"close" in answer or b"half" in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(Place(host="127.0.0.1", port=port, tls=None, connect=20, answer=patience), most)
    try:
        yield wire, made
    finally:
        wire.close()
        if hold is not None:
            hold.set()
        server.close()
        await server.wait_closed()


async def test_a_connection_is_used_again() -> None:
    async with wired(OK) as (wire, made):
        assert [await wire.ask(ASK) for _ in range(3)] == [(200, b"{}")] * 3
        assert made == [1, 1, 1]


async def test_requests_side_by_side_have_a_connection_each_up_to_the_most() -> None:
    async with wired(OK, most=2) as (wire, made):
        answers = await asyncio.gather(*(wire.ask(ASK) for _ in range(6)))
        assert answers == [(200, b"{}")] * 6
        assert set(made) == {1, 2}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", id="in chunks"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, id="after a word of patience"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", id="the last one"),
    ],
)
async def test_an_answer_is_read_whole(answer: bytes) -> None:
    async with wired(answer, OK) as (wire, made):
        assert await wire.ask(ASK) == (200, b"{}")
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == ([1, 2] if b"close" in answer else [1, 1])


async def test_other_answers_are_given_with_their_status() -> None:
    async with wired(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as (wire, _):
        assert await wire.ask(ASK) == (503, b"")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", id="half of one"),
        pytest.param(b"SSH-2.0-half\r\n", id="no HTTP"),
    ],
)
async def test_half_an_answer_is_none_and_the_next_request_has_a_new_connection(answer: bytes) -> None:
    async with wired(answer, OK) as (wire, made):
        with pytest.raises(NoAnswer):
            await wire.ask(ASK)
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == [1, 2]


async def test_who_says_more_than_was_asked_is_not_asked_again_over_that_connection() -> None:
    async with wired(OK + OK, OK) as (wire, made):
        assert await wire.ask(ASK) == (200, b"{}")
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == [1, 2]


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async with wired(OK) as (wire, made):
        await wire.ask(ASK)
        (kept,) = wire._all
        kept._transport.abort()
        while wire._all:
            await asyncio.sleep(0)
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == [1, 2]


async def test_a_connection_that_is_about_to_be_lost_is_not_used() -> None:
    async with wired(OK) as (wire, made):
        await wire.ask(ASK)
        (kept,) = wire._all
        kept.eof_received()
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == [1, 2]


async def test_a_connection_that_was_idle_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(OK) as (wire, made):
        await wire.ask(ASK)
        monkeypatch.setattr(awswire, "IDLE", -1.0)
        await wire.ask(ASK)
        assert made == [1, 2]


async def test_silence_is_no_answer_and_its_connection_is_not_used_again() -> None:
    hold = asyncio.Event()
    async with wired(OK, patience=0.05, hold=hold) as (wire, made):
        with pytest.raises(NoAnswer, match="in time"):
            await wire.ask(ASK)
        assert made == [1]
        while wire._all:
            await asyncio.sleep(0)


@asynccontextmanager
async def unanswered() -> AsyncGenerator[tuple[Wire, list[int], asyncio.Task[tuple[int, bytes]], asyncio.Event]]:
    """A wire as ``wired``, a request of it that has come and is answered once the event is set, and that event."""
    hold = asyncio.Event()
    async with wired(OK, hold=hold) as (wire, made):
        asking = asyncio.create_task(wire.ask(ASK))
        while not made:
            await asyncio.sleep(0.01)
        yield wire, made, asking, hold


async def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    async with unanswered() as (wire, made, asking, hold):
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        hold.set()
        assert await wire.ask(ASK) == (200, b"{}")
        assert made == [1, 2]


async def test_closing_leaves_nobody_waiting() -> None:
    async with unanswered() as (wire, _, asking, _):
        wire.close()
        with pytest.raises(NoAnswer):
            await asking


async def test_where_nobody_listens_there_is_no_answer() -> None:
    async with wired(OK) as (wire, _):
        pass
    with pytest.raises(NoAnswer, match="no connection"):
        await wire.ask(ASK)
