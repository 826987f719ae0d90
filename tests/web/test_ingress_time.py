"""Clients that are slow, silent, deaf or many."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct

import pytest

from tests.web.rig import GUARD, Echo, connected, on_each_loop, post, route, serving
from triggerhub.source import Request, Response
from triggerhub.web.connection import Connection, Crowd
from triggerhub.web.ingress import Ingress
from triggerhub.web.limit import Limits
from triggerhub.web.parser import Shared
from triggerhub.web.proxy import Proxies
from triggerhub.web.routing import Table

H = b"POST /a HTTP/1.1\r\nHost: hub\r\n"


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        pytest.param(Limits(head_time=0.2), b"POST /a HT", id="a request line"),
        pytest.param(Limits(head_time=0.2), H, id="a header"),
        pytest.param(Limits(head_time=0.2), post() + H, id="the header of a second request"),
        pytest.param(Limits(body_pause=0.2), H + b"Content-Length: 9\r\n\r\nab", id="a body"),
        pytest.param(Limits(body_pause=0.2), H + b"Transfer-Encoding: chunked\r\n\r\n3\r\na", id="a chunk"),
    ],
)
@on_each_loop
async def test_what_does_not_come_to_its_end_is_408(limits, sent):
    async with serving(route(Echo()), limits=limits) as port, connected(port) as client:
        await client.send(sent)
        if sent.startswith(post()):
            assert (await client.answer()).status == 200
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (408, "close")
        client.writer.write_eof()
        assert await client.ended()


@pytest.mark.parametrize(
    ("limits", "start"),
    [
        pytest.param(Limits(head_time=0.3), H + b"X: ", id="a header"),
        pytest.param(Limits(body_time=0.3), H + b"Content-Length: 900\r\n\r\n", id="a body"),
    ],
)
@on_each_loop
async def test_dripping_does_not_keep_a_request_alive(limits, start):
    async with serving(route(Echo()), limits=limits) as port, connected(port) as client:
        await client.send(start)
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send(b"a")
            await asyncio.sleep(0.02)
        assert (await answer).status == 408


@pytest.mark.parametrize("first", [pytest.param(b"", id="new"), pytest.param(post(), id="after a request")])
@on_each_loop
async def test_a_silent_connection_is_closed_without_a_word(first):
    async with serving(route(Echo()), limits=Limits(idle=0.2)) as port, connected(port) as client:
        if first:
            await client.send(first)
            assert (await client.answer()).status == 200
        assert await client.ended()


@on_each_loop
async def test_a_slow_endpoint_is_no_slow_client():
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.6)
        return Response(status=200)

    limits = Limits(head_time=0.1, body_pause=0.1, body_time=0.1, idle=0.3, write_pause=0.1)
    async with serving(route(slow), limits=limits) as port, connected(port) as client:
        await client.send(post())
        assert (await client.answer()).status == 200


@on_each_loop
async def test_a_client_that_does_not_read_is_cut_off():
    served = 0

    async def large(request: Request) -> Response:
        nonlocal served
        served += 1
        return Response(status=200, body=b"z" * 4_000_000)

    ingress = Ingress(Limits(write_pause=0.3))
    async with (
        ingress.serve(route(large)),
        ingress.listen("127.0.0.1", 0) as port,
        connected(port, limit=1024) as client,
    ):
        await client.send(post() * 50)
        async with asyncio.timeout(GUARD):
            while ingress.connections:
                await asyncio.sleep(0.02)
    # The second answer was not even made before the first had left, give or take what the kernel's buffers hold.
    assert served < 10


class Unread(asyncio.Transport):
    """Holds what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.aborted, self.reader = 0, False, None

    def write(self, data):
        self.left += len(data)
        self.reader.pause_writing()

    def get_write_buffer_size(self):
        return self.left

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


@pytest.mark.parametrize(
    ("taken", "ends"),
    [
        pytest.param([(29, 0), (31, 0)], True, id="nothing"),
        pytest.param([(10, 1000), (20, 1000), (31, 1000)], True, id="a little again and again"),
        pytest.param([(10, 40_000), (20, 40_000), (31, 0), (49, 0)], False, id="enough"),
        pytest.param([(10, 40_000), (20, 40_000), (51, 0)], True, id="enough, and then nothing"),
    ],
)
async def test_a_client_takes_so_much_of_its_answer_in_a_time_or_is_cut_off(taken, ends):
    async def large(request: Request) -> Response:
        return Response(status=200, body=b"z" * 4_000_000)

    table, loop, transport = Table(), asyncio.get_running_loop(), Unread()
    table.add([route(large)])
    connection = Connection(
        Shared(table=table, proxies=Proxies(()), limits=Limits(), secure=False, loop=loop), Crowd()
    )  # fmt: skip
    transport.reader = connection
    connection.connection_made(transport)
    connection.data_received(post())
    async with asyncio.timeout(GUARD):
        while not transport.left:
            await asyncio.sleep(0)
    began = loop.time()
    for second, size in taken:
        assert not transport.aborted
        transport.left -= size
        connection.check(began + second)
    assert transport.aborted is ends
    connection.connection_lost(None)


@on_each_loop
async def test_a_client_that_reads_slowly_gets_all_of_its_answer():
    async def large(request: Request) -> Response:
        return Response(status=200, body=b"z" * 8_000_000)

    limits = Limits(write_pause=0.5)
    async with serving(route(large), limits=limits) as port, connected(port, limit=1024) as client:
        await client.send(post())
        got = 0
        while got < 8_000_000:
            async with asyncio.timeout(GUARD):
                piece = await client.reader.read(200_000)
            assert piece
            got += len(piece)
            await asyncio.sleep(0.01)


@on_each_loop
async def test_a_client_that_goes_on_sending_after_a_refusal_is_cut_off():
    ingress = Ingress(Limits(linger=0.2))
    async with ingress.serve(route(Echo())), ingress.listen("127.0.0.1", 0) as port, connected(port) as client:
        await client.send(H + b"Content-Length: 9999999\r\n\r\n")
        assert (await client.answer()).status == 413
        async with asyncio.timeout(GUARD):
            while ingress.connections:
                try:
                    await client.send(b"z" * 1000)
                except ConnectionError:
                    break
                await asyncio.sleep(0.01)
            while ingress.connections:
                await asyncio.sleep(0.01)


@on_each_loop
async def test_three_hundred_slow_clients_delay_nobody():
    ingress = Ingress()
    slow = []
    async with ingress.serve(route(Echo())), ingress.listen("127.0.0.1", 0) as port:
        for number in range(300):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((H, H + b"Content-Length: 9\r\n\r\na", b"")[number % 3])
            slow.append((reader, writer))
        async with connected(port) as client:
            for _ in range(50):
                await client.send(post())
                assert (await client.answer()).status == 200
        assert ingress.connections >= 300
        for _, writer in slow:
            writer.close()


@on_each_loop
async def test_connections_over_the_limit_are_503_while_all_have_something_to_do():
    started, release = asyncio.Event(), asyncio.Event()

    async def held(request: Request) -> Response:
        started.set()
        await release.wait()
        return Response(status=200)

    async with (
        serving(route(held), limits=Limits(connections=2)) as port,
        connected(port) as asking,
        connected(port) as sending,
    ):
        await asking.send(post())
        await started.wait()
        await sending.send(H + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert (await sending.answer()).status == 100
        async with connected(port) as third:
            answer = await third.answer()
            assert (answer.status, answer.header("connection")) == (503, "close")
            assert await third.ended()
        release.set()
        assert (await asking.answer()).status == 200
        await sending.send(b"x")
        assert (await sending.answer()).status == 200
        async with asyncio.timeout(GUARD):
            status = 503
            while status != 200:
                async with connected(port) as later:
                    status = (await later.answer_if_open(post())).status


@on_each_loop
async def test_where_there_are_too_many_the_one_goes_that_has_rested_longest():
    async with (
        serving(route(Echo()), limits=Limits(connections=3)) as port,
        connected(port) as silent,
        connected(port) as first,
        connected(port) as second,
    ):
        for client in (first, second, first):
            await asyncio.sleep(0.003)  # the clock of a loop has steps of a millisecond
            await client.send(post())
            assert (await client.answer()).status == 200
        async with connected(port) as third, connected(port) as fourth:
            for client in (third, fourth, first):
                await client.send(post())
                assert (await client.answer()).status == 200
            assert await silent.ended()
            assert await second.ended()


async def test_the_connection_limit_follows_the_descriptors(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert Limits().connections == 512
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert Limits().connections == 10_000


@on_each_loop
async def test_a_client_that_goes_away_does_not_stop_its_request():
    started, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(request: Request) -> Response:
        started.set()
        await release.wait()
        finished.set()
        return Response(status=200)

    ingress = Ingress()
    async with ingress.serve(route(held)), ingress.listen("127.0.0.1", 0) as port:
        async with connected(port) as client:
            await client.send(post())
            await started.wait()
            reset = struct.pack("ii", 1, 0)
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.writer.transport.abort()
        async with asyncio.timeout(GUARD):
            while ingress.connections:
                await asyncio.sleep(0.01)
            release.set()
            await finished.wait()
