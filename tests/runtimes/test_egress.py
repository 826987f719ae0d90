"""A worker's way out, with real servers: what is listed is reached, and everything else is told why not."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvloop

from triggerhub.runtimes import egress
from triggerhub.runtimes.launcher import forward

WAIT = 20.0


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = f"{self.path} {self.headers['Host']} {self.headers.get('Proxy-Authorization')} ".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def echoing() -> Iterator[int]:
    """A server that tells what it is asked; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http.server_port
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with echoing() as port:
        yield port


class Way:
    """One proxy, and what it told of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(os.path.relpath(self.path))

    async def ask(self, request: bytes) -> bytes:
        """Send one request and return all that comes."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), WAIT)
        finally:
            writer.close()


@asynccontextmanager
async def proxy(
    folder: Path, *entries: str, room: egress.Room | None = None, function: str = "f", **names: str
) -> AsyncIterator[Way]:
    async def resolve(host: str, port: int) -> list[egress.Address]:
        return [ipaddress.ip_address(address) for name, address in names.items() if name == host.partition(".")[0]]

    way = Way(folder / "egress.sock")
    with (room or egress.Room()).share(function) as share:
        async with egress.serve(way.path, entries, way.told.append, share, resolve=resolve):
            yield way


def post(target: str, body: bytes = b"hello") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: p\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_a_listed_server_is_reached_by_a_tunnel_and_by_a_plain_request(tmp_path: Path, server: int) -> None:
    async with proxy(tmp_path, f"127.0.0.1:{server}") as way:
        answer = await way.ask(post(f"http://127.0.0.1:{server}/a?b"))
        assert answer.endswith(f"\r\n\r\n/a?b 127.0.0.1:{server} None hello".encode())
        tunnel = f"CONNECT 127.0.0.1:{server} HTTP/1.1\r\n\r\n".encode()
        answer = await way.ask(tunnel + post("/t").replace(b"\r\nHost", b"\r\nConnection: close\r\nHost"))
        assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"/t x p hello")
    assert way.told == []
    assert not way.path.exists()


async def test_what_is_not_listed_is_refused_by_the_name_of_the_setting(tmp_path: Path, server: int) -> None:
    async with proxy(tmp_path, f"127.0.0.1:{server}", inside="10.0.0.5") as way:
        why = f'127.0.0.2:{server} is not in sandbox.network; add "127.0.0.2:{server}" to it to allow it'
        for request in (f"CONNECT 127.0.0.2:{server} HTTP/1.1\r\n\r\n".encode(), post(f"http://127.0.0.2:{server}/")):
            head, _, body = (await way.ask(request)).partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 403 {why}\r\n".encode())
            assert body.decode() == why + "\n"
    assert way.told == [f"refused a connection: {why}"]


async def test_a_listed_name_that_leads_inside_is_refused(tmp_path: Path, server: int) -> None:
    async with proxy(tmp_path, f"api.example:{server}", api="127.0.0.1") as way:
        answer = await way.ask(f"CONNECT api.example:{server} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 403 api.example:{server} resolves to 127.0.0.1, which is not".encode())
    async with proxy(tmp_path, f"api.example:{server}", f"127.0.0.1:{server}", api="127.0.0.1") as way:
        answer = await way.ask(post(f"http://api.example:{server}/"))
        assert answer.endswith(f"/ api.example:{server} None hello".encode())


@pytest.mark.parametrize("request_", [b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A: " * 40_000])
async def test_what_is_no_request_is_answered_400(tmp_path: Path, request_: bytes) -> None:
    async with proxy(tmp_path, "127.0.0.1:1") as way:
        assert (await way.ask(request_)).startswith(b"HTTP/1.1 400 ")


async def test_a_server_that_is_not_there_is_answered_502(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with proxy(tmp_path, f"127.0.0.1:{port}") as way:
        answer = await way.ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 502 127.0.0.1:{port} cannot be reached\r\n".encode())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_worker_s_end_cuts_what_is_open_and_leaks_no_descriptor(tmp_path: Path, run: Callable[..., None]) -> None:
    run(cut(tmp_path))


async def cut(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as held:
        port = held.sockets[0].getsockname()[1]
        before = set(os.listdir("/proc/self/fd"))
        async with proxy(tmp_path, f"127.0.0.1:{port}") as way:
            reader, writer = await way.connect()
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            idle = await way.connect()
        await asyncio.wait_for(reader.read(), WAIT)
        await asyncio.wait_for(idle[0].read(), WAIT)
        await asyncio.wait_for(gone.wait(), WAIT)
        for one in (writer, idle[1]):
            one.close()
            await one.wait_closed()
        assert set(os.listdir("/proc/self/fd")) <= before


async def test_workers_share_a_room_and_wait_for_one_another(tmp_path: Path, server: int) -> None:
    room = egress.Room(1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    entry = f"127.0.0.1:{server}"
    async with proxy(tmp_path / "a", entry, room=room) as one, proxy(tmp_path / "b", entry, room=room) as other:
        _, writer = await one.connect()
        waiting = asyncio.create_task(other.ask(post(f"http://{entry}/")))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        writer.close()
        assert (await asyncio.wait_for(waiting, WAIT)).endswith(b"hello")
    assert room.left == 1
    assert other.told[0].startswith("a connection waits for another one to end: the workers of all functions")


async def test_a_function_whose_workers_keep_tunnels_open_leaves_room_to_the_others(
    tmp_path: Path, server: int
) -> None:
    room, entry = egress.Room(40), f"127.0.0.1:{server}"
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    async with (
        proxy(tmp_path / "a", entry, room=room, function="hog") as one,
        proxy(tmp_path / "b", entry, room=room, function="hog") as two,
        proxy(tmp_path / "c", entry, room=room, function="other") as other,
    ):
        held = [await way.connect() for _ in range(20) for way in (one, two)]
        for _, writer in held:
            writer.write(f"CONNECT {entry} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(WAIT):
            while not (one.told and two.told):
                await asyncio.sleep(0.01)
        share = "the workers of this function have 11 open, which is its share of the hub's descriptors"
        assert one.told == two.told == [f"a connection waits for another one to end: {share}"]
        assert room.left == 29
        assert (await other.ask(post(f"http://{entry}/"))).endswith(b"hello")
        for _, writer in held:
            writer.close()
        # Those that waited take the places of those that ended.
        assert (await one.ask(post(f"http://{entry}/"))).endswith(b"hello")
    assert room.left == 40


def test_each_function_is_left_something() -> None:
    room, names = egress.Room(64), [f"f{number}" for number in range(12)]
    with ExitStack() as stack:
        shares = [stack.enter_context(room.share(name)) for name in names]
        for share in shares:
            while not share.lack():
                share.take()
        assert [share.taken for share in shares] == [17, 12, 9, 7, 5, 4, 3, 2, 2, 1, 1, 1]


async def test_a_path_may_be_longer_than_the_address_of_a_socket(tmp_path: Path, server: int) -> None:
    folder = tmp_path / ("f" * 120)
    folder.mkdir()
    async with proxy(folder, f"127.0.0.1:{server}") as way:
        assert way.path.is_socket()


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


async def test_a_client_that_heeds_the_variables_goes_through_the_forwarder(tmp_path: Path, server: int) -> None:
    async with proxy(tmp_path, f"localhost:{server}") as way:
        with carried(free(), way.path) as port:
            assert await asyncio.to_thread(fetch, port, f"http://localhost:{server}/x", b"y" * 3_000_000) == 200
            with pytest.raises(urllib.error.HTTPError, match=r"is not in sandbox\.network") as caught:
                await asyncio.to_thread(fetch, port, "http://other.example/", b"")
            caught.value.close()


@contextmanager
def carried(port: int, path: Path) -> Iterator[int]:
    """Carry from *port* to the socket at *path*, in a thread."""
    carrier = forward.Forwarder({port: os.path.relpath(path)})
    stop = threading.Event()
    thread = threading.Thread(target=lambda: [carrier.step(0.05) for _ in iter(stop.is_set, True)])
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join()
        carrier.close()


async def test_a_refusal_reaches_a_client_that_is_still_sending(tmp_path: Path) -> None:
    async with proxy(tmp_path, "127.0.0.1:1") as way:
        with carried(free(), way.path) as port:
            for _ in range(20):
                with pytest.raises(urllib.error.HTTPError, match=r"is not in sandbox\.network") as caught:
                    await asyncio.to_thread(fetch, port, "http://other.example/", b"y" * 300_000)
                caught.value.close()


def fetch(port: int, url: str, body: bytes) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{port}"}))
    with opener.open(urllib.request.Request(url, body), timeout=WAIT) as answer:
        assert answer.read().endswith(body)
        return answer.status


def test_the_forwarder_carries_more_than_it_holds_and_half_a_close(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as target:
        target.bind(os.path.relpath(path))
        target.listen()
        with carried(free(), path) as port, socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
            server, _ = target.accept()
            with server:
                sender = threading.Thread(
                    target=lambda: (client.sendall(b"a" * 4_000_000), client.shutdown(socket.SHUT_WR))
                )
                sender.start()
                server.settimeout(WAIT)
                got = 0
                while data := server.recv(65536):
                    got += len(data)
                sender.join()
                assert got == 4_000_000
                server.sendall(b"back")
                server.shutdown(socket.SHUT_WR)
                assert client.recv(10) == b"back"
                assert client.recv(10) == b""


async def test_a_lookup_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends() -> None:
    room, asked, known = egress.Room(64), list[str](), asyncio.Event()

    async def resolve(host: str, port: int) -> list[egress.Address]:
        asked.append(host)
        await known.wait()
        return [ipaddress.ip_address("192.0.2.1")]

    async def look_up(share: egress.Share, host: str) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await share.look_up(resolve, host, 443)

    with room.share("f") as share:
        for number in range(egress.LOOKUPS + 1):
            await look_up(share, f"dead-{number}")
    # Another worker of the same function, when the first has ended, and another function.
    with room.share("f") as share, room.share("other") as other:
        await look_up(share, "dead-again")
        await look_up(other, "of-another")
        assert asked == [*(f"dead-{number}" for number in range(egress.LOOKUPS)), "of-another"]
        known.set()
        assert [str(one) for one in await share.look_up(resolve, "at-last", 443)] == ["192.0.2.1"]
