"""What is held of requests is let go of when they are answered, and nobody can take all of what may be held."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.web.rig import Echo, connected, on_each_loop, post, route, serving
from triggerhub.settings import KB, MB
from triggerhub.source import Request, Response, Route
from triggerhub.web.limit import SMALL, Limits
from triggerhub.web.parser import Peer, RequestParser, Shared
from triggerhub.web.proxy import Proxies
from triggerhub.web.routing import Table

LARGE = 100 * KB


@pytest.fixture
def parsers() -> Iterator[Callable[[], list[RequestParser]]]:
    """Returns those that are there, without help from the cyclic collector, which in a hub comes by too seldom."""
    gc.collect()
    gc.disable()
    before = [one for one in gc.get_objects() if isinstance(one, RequestParser)]
    others = frozenset(map(id, before))
    yield lambda: [one for one in gc.get_objects() if isinstance(one, RequestParser) and id(one) not in others]
    gc.enable()


async def gone(parsers: Callable[[], list[RequestParser]]) -> None:
    """Wait until no connection has a parser any more."""
    async with asyncio.timeout(20):
        while parsers():
            await asyncio.sleep(0.01)


@on_each_loop
async def test_nothing_is_left_of_a_connection_that_is_gone(parsers: Callable[[], list[RequestParser]]) -> None:
    async with serving(route(Echo(), limit=2 * LARGE)) as port:
        for data, status in (
            (post(body=b"x" * LARGE), 200),
            (post("/nowhere", b"x" * LARGE), 404),
            (post(body=b"x" * 3 * LARGE), 413),
            (b"nonsense\r\n\r\n", 400),
            (post(body=b"x" * LARGE)[:-1], None),
        ):
            async with connected(port) as client:
                await client.send(data)
                if status is not None:
                    assert (await client.answer()).status == status
        await gone(parsers)


@on_each_loop
async def test_a_connection_that_waits_holds_no_body(parsers: Callable[[], list[RequestParser]]) -> None:
    async with serving(route(_empty, limit=LARGE)) as port, connected(port) as client:
        await client.send(post(body=b"x" * LARGE))
        assert (await client.answer()).status == 200
        (parser,) = parsers()
        assert not [one for one in vars(parser).values() if isinstance(one, list) and any(map(_is_long, one))]
        del parser
    await gone(parsers)


async def _empty(request: Request) -> Response:
    return Response(status=200)


def _is_long(one: object) -> bool:
    return isinstance(one, bytes) and len(one) > KB


@pytest.mark.parametrize(
    ("size", "of_peer", "of_all", "full"),
    [
        pytest.param(SMALL, 10 * MB, 100 * MB, False, id="a small one where there is room"),
        pytest.param(SMALL, 90 * MB, 120 * MB, False, id="a small one where large ones have none"),
        pytest.param(SMALL, SMALL, 126 * MB, True, id="a small one where there is none at all"),
        pytest.param(5 * MB, 5 * MB, 99 * MB, False, id="a large one"),
        pytest.param(5 * MB, 5 * MB, 101 * MB, True, id="a large one too many"),
        pytest.param(5 * MB, 26 * MB, 50 * MB, True, id="another one of who has a quarter"),
        pytest.param(30 * MB, 30 * MB, 50 * MB, False, id="the only one, larger than a quarter"),
    ],
)
def test_who_sends_much_leaves_room(size: int, of_peer: int, of_all: int, full: bool) -> None:
    assert Limits(buffered=100 * MB).full(size, of_peer=of_peer, of_all=of_all) is full


@pytest.mark.parametrize(
    ("peer", "same", "stranger"),
    [("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")],
    ids=["IPv4", "IPv6"],
)
async def test_of_one_peer_a_quarter_is_held_until_it_is_answered(peer: str, same: str, stranger: str) -> None:
    shared = shared_by(Limits(buffered=4 * MB))
    far, too, other = (Peer(one, bounded=True) for one in (peer, same, stranger))
    first, second, third, fourth = (RequestParser(shared, one) for one in (far, too, other, Peer("127.0.0.1")))
    first.feed(post(body=b"a" * MB)[:-1])
    second.feed(post(body=b"b" * SMALL))
    assert second.queue[0][0].body == b"b" * SMALL  # type: ignore[union-attr]
    second.feed(post(body=b"b" * 2 * SMALL))
    assert second.queue[1][0].status == 503  # type: ignore[union-attr]
    for one in (third, fourth):
        one.feed(post(body=b"c" * 2 * SMALL))
        assert isinstance(one.queue[0][0], Request)
    for one in (first, second, third, fourth):
        one.end()
    assert (shared.buffered, +shared.by_peer) == (0, {})


async def test_a_body_that_nobody_heeds_is_not_held() -> None:
    seen = Echo()
    one = Route(path="/a", methods=("POST",), body_limit=MB, endpoint=seen, heeds=lambda raw_path: raw_path != "/a")
    shared = shared_by(Limits(), one)
    parser = RequestParser(shared, Peer("192.0.2.1", bounded=True))
    parser.feed(post(body=b"a" * MB))
    assert (parser.queue[0][0].body, shared.buffered) == (b"", 0)  # type: ignore[union-attr]
    parser.feed(post(body=b"a" * (MB + 1)))
    assert parser.queue[1][0].status == 413  # type: ignore[union-attr]


async def test_what_is_not_held_of_one_is_not_given_back_of_another() -> None:
    other = Route(path="/b", methods=("POST",), body_limit=MB, endpoint=Echo(), heeds=lambda raw_path: False)
    shared = shared_by(Limits(), route(Echo(), limit=MB), other)
    parser = RequestParser(shared, Peer("127.0.0.1"))
    parser.feed(post("/b", b"a" * KB) + post(body=b"b" * KB))
    (first, _, size, *_), (second, _, held, *_) = parser.queue
    parser.release(size)
    assert (isinstance(first, Request) and first.heeded, shared.buffered) == (False, KB)
    parser.release(held)
    assert (isinstance(second, Request) and second.body, shared.buffered) == (b"b" * KB, 0)


async def test_a_body_in_very_small_chunks_takes_what_is_counted() -> None:
    parser = RequestParser(shared_by(Limits()), Peer("127.0.0.1"))
    parser.feed(b"POST /a HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")
    pieces = b"2\r\nab\r\n" * 500
    tracemalloc.start()
    for _ in range(100):
        parser.feed(pieces)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parser.feed(b"0\r\n\r\n")
    assert parser.queue[0][0].body == b"ab" * 50_000  # type: ignore[union-attr]
    assert taken < 2 * 100_000


async def test_no_long_name_of_a_header_is_kept_for_ever() -> None:
    shared = shared_by(Limits())
    tracemalloc.start()
    for number in range(20):
        parser = RequestParser(shared, Peer("127.0.0.1"))
        parser.feed(b"GET /a HTTP/1.1\r\nHost: hub\r\nx%d%b: 1\r\n\r\n" % (number, b"n" * 16_000))
        assert isinstance(parser.queue[0][0], Request)
        parser.end()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 160_000


def shared_by(limits: Limits, *routes: Route) -> Shared:
    table = Table()
    table.add(routes or [route(Echo(), limit=4 * MB)])
    given: dict[str, Any] = {"proxies": Proxies(()), "secure": False}
    return Shared(table=table, limits=limits, loop=asyncio.get_running_loop(), **given)
