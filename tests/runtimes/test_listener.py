"""The server of the Runtime API takes whatever bytes arrive, answers requests in turn, and raises nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws.errors import MAX_RESPONSE
from triggerhub.runtimes.bounds import SMALL, Bounds
from triggerhub.runtimes.listener import AHEAD, MAX_HEAD, TURN, Connection, Request


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.said = b""
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.said += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connected(*, answering: bool = True, trusted: bool = True) -> tuple[Connection, Wire, list[Request]]:
    wire, taken = Wire(), list[Request]()

    def take(connection: Connection, request: Request) -> None:
        taken.append(request)
        if answering:
            connection.answer(200, b"{}")

    bounds = Bounds(large=lambda request: request.target == "/a", crowded=lambda: None)
    connection = Connection(take, lambda connection: None, lambda transport: trusted, bounds)
    connection.connection_made(wire)  # type: ignore[arg-type]
    return connection, wire, taken


GET = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-End: y\r\n\r\n"
# As Java's client begins.
ASKING = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
GET_2, POST_2 = (one.replace(b"Host: x\r\n", ASKING) for one in (GET, POST))
ALL = [GET, POST, CHUNKED, GET_2, POST_2]


@given(st.lists(st.sampled_from(ALL), min_size=1, max_size=5), st.lists(st.integers(1, 40)))
def test_requests_are_the_same_however_their_bytes_arrive(requests: list[bytes], cuts: list[int]) -> None:
    connection, wire, taken = connected()
    data = b"".join(requests)
    for cut in cuts:
        connection.data_received(data[:cut])
        data = data[cut:]
    connection.data_received(data)
    assert wire.said.count(b"HTTP/1.1 200 OK\r\n") == len(requests)
    for request, sent in zip(taken, requests, strict=True):
        assert bytes(request.body) == (b"" if sent in (GET, GET_2) else b"abc")
        assert request.trailers == ({"x-end": "y"} if sent is CHUNKED else {})


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(ALL)), max_size=8))
def test_whatever_arrives_raises_nothing(pieces: list[bytes]) -> None:
    connection, wire, taken = connected()
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    assert wire.said.count(b"HTTP/1.1 200 OK\r\n") == len(taken)


def test_a_client_that_is_not_trusted_is_not_listened_to() -> None:
    connection, wire, taken = connected(trusted=False)
    connection.data_received(GET)
    assert (wire.closed, wire.said, taken) == (True, b"", [])


def test_a_request_in_front_of_an_answer_ends_the_connection() -> None:
    connection, wire, taken = connected(answering=False)
    connection.data_received(GET + GET)
    assert wire.said.startswith(b"HTTP/1.1 400 ")
    assert wire.closed
    assert len(taken) == 1
    connection.answer(200, b"late")
    assert b"late" not in wire.said


@pytest.mark.parametrize(("target", "most"), [(b"/a", MAX_RESPONSE), (b"/b", SMALL)], ids=["answer", "other"])
async def test_a_body_over_the_limit_is_dropped_and_told(target: bytes, most: int) -> None:
    connection, wire, taken = connected()
    size = most + 1
    connection.data_received(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (target, size))
    for _ in range(0, size, 65536):
        connection.data_received(b"x" * min(65536, size))
        size -= 65536
        while not wire.reading:
            await asyncio.sleep(0)
    assert (taken[0].oversize, bytes(taken[0].body)) == (True, b"")


@pytest.mark.parametrize("where", ["headers", "trailers"])
def test_headers_without_an_end_are_refused(where: str) -> None:
    connection, wire, taken = connected()
    start = GET[:-2] if where == "headers" else CHUNKED[: CHUNKED.index(b"X-End")]
    connection.data_received(start)
    for number in range(MAX_HEAD // 100 + 10):
        connection.data_received(b"X-%d: %s\r\n" % (number, b"y" * 100))
    assert wire.said.startswith(b"HTTP/1.1 400 ")
    assert taken == []


@pytest.mark.parametrize("start", [b"GET /", GET[:-2] + b"X: ", CHUNKED[: CHUNKED.index(b"X-End")] + b"X: "])
def test_one_header_without_an_end_is_refused(start: bytes) -> None:
    connection, wire, taken = connected()
    connection.data_received(start)
    for _ in range(MAX_HEAD // 1000 + 2):
        if not wire.closed:
            connection.data_received(b"y" * 1000)
    assert wire.said.startswith(b"HTTP/1.1 400 ")
    assert taken == []


@pytest.mark.parametrize("one", [GET, POST_2], ids=["plain", "upgrade"])
async def test_requests_without_end_take_no_more_than_their_turn(one: bytes) -> None:
    connection, wire, taken = connected()
    connection.data_received(one * 5000)
    assert len(taken) == wire.said.count(b"HTTP/1.1 200 OK\r\n") == AHEAD
    assert wire.said.endswith(b"more than 8 requests came at once\n")
    assert wire.closed


async def test_what_came_at_once_is_read_in_turns() -> None:
    connection, wire, taken = connected()
    pieces = b"1\r\nx\r\n" * 10_000
    connection.data_received(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
    turns = 0
    while not taken:
        assert not wire.reading
        await asyncio.sleep(0)
        turns += 1
    assert turns == 60_000 // TURN > 0
    assert (wire.reading, bytes(taken[0].body)) == (True, b"x" * 10_000)


def test_who_expects_a_word_before_the_body_gets_it() -> None:
    connection, wire, _ = connected()
    connection.data_received(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert wire.said == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"x")
    assert wire.said.endswith(b"{}")


def test_what_was_lost_holds_no_memory_until_a_collection() -> None:
    connection, _, _ = connected()
    connection.data_received(b"GET /next HTTP/1.1\r\nX: " + b"x" * 60_000)
    there = weakref.ref(connection)
    gc.disable()
    try:
        connection.connection_lost(None)
        del connection
        assert there() is None
    finally:
        gc.enable()
