"""What a worker's processes open and send at the Runtime API costs the hub no more than a worker may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from triggerhub.model import Returned
from triggerhub.runtimes.bounds import MOST, Bounds
from triggerhub.runtimes.listener import Connection, Request
from triggerhub.settings import MB

from .conftest import Bench, invocation
from .test_listener import GET, Wire
from .test_provided import provided

FLOOD = """
import socket
address = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
kept = []
def dial(head=b"", body=b""):
    one = socket.create_connection(address, timeout=10)
    kept.append(one)
    try:
        one.sendall(head)
        one.sendall(body)
    except OSError:
        pass
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_connections_that_are_kept_leave_the_hub_its_descriptors(
    bench: Bench, open_files: Callable[[], int]
) -> None:
    text = f"""{FLOOD}
while True:
    id, _, event = next()
    for _ in range(event):
        dial()
    post(id, "response", str(len(kept)))
"""
    async with bench.worker(provided(bench, text)) as worker:
        before = open_files()
        for number, so_far in ((1, b"200"), (2, b"400")):
            outcome = await worker.invoke(invocation(200, request_id=f"r{number}"))
            assert outcome.payload == so_far
        await until(lambda: open_files() <= before + MOST)
    assert bench.lines.all == []


async def test_where_a_request_waits_on_each_one_more_is_refused_and_told(
    bench: Bench, open_files: Callable[[], int]
) -> None:
    text = f"""{FLOOD}
id, _, _ = next()
for _ in range(100):
    dial(f"POST {{BASE}}init/error HTTP/1.1\\r\\nContent-Length: 10\\r\\n\\r\\n".encode(), b"x")
    ask("GET", "nothing")
post(id, "response")
next()
"""
    async with bench.worker(provided(bench, text)) as worker:
        before = open_files()
        assert isinstance(await worker.invoke(invocation()), Returned)
        await until(lambda: open_files() <= before + MOST)
    told = "refused a connection to the Runtime API: 32 are open, and a request waits on each"
    assert bench.lines.all == [(None, "hub", told)]


async def test_bodies_without_an_end_fill_no_memory_of_the_hub_s(bench: Bench) -> None:
    text = f"""{FLOOD}
id, _, _ = next()
for number in range(60):
    path = ("init/error", "invocation/x/response", f"invocation/{{id}}/response", f"invocation/{{id}}/error")[number % 4]
    dial(f"POST {{BASE}}{{path}} HTTP/1.1\\r\\nContent-Length: 6000000\\r\\n\\r\\n".encode(), bytes(5900000))
post(id, "response", b'"all"')
next()
"""
    async with bench.worker(provided(bench, text, memory=512 * MB)) as worker:
        before = resident()
        assert (await worker.invoke(invocation())).payload == b'"all"'
        grown = (resident() - before) // MB
        assert grown < 50


async def test_a_client_may_keep_several_connections_and_take_turns(bench: Bench) -> None:
    text = """
import http.client
kept = [http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=20) for _ in range(2)]
for one in kept:
    one.connect()
    one.auto_open = False
def over(one, method, path, body=None):
    one.request(method, BASE + path, body)
    answer = one.getresponse()
    answer.read()
    return answer.headers["Lambda-Runtime-Aws-Request-Id"]
while True:
    id = over(kept[0], "GET", "invocation/next")
    over(kept[1], "POST", f"invocation/{id}/response", b"1")
    kept.reverse()
"""
    async with bench.worker(provided(bench, text)) as worker:
        for number in range(5):
            outcome = await worker.invoke(invocation(request_id=f"r{number}"))
            assert outcome.payload == b"1", outcome


class Slow(Wire):
    """A transport to a client that reads little."""

    def __init__(self, unsent: int = 0) -> None:
        super().__init__()
        self.unsent = unsent

    def get_write_buffer_size(self) -> int:
        return self.unsent


def connect(bounds: Bounds, wire: Wire, *, answering: bool = True) -> Connection:
    def take(connection: Connection, request: Request) -> None:
        if answering:
            connection.answer(200, b"{}")

    connection = Connection(take, lambda connection: None, lambda transport: True, bounds)
    connection.connection_made(wire)  # type: ignore[arg-type]
    return connection


def bounded() -> tuple[Bounds, list[str]]:
    said: list[str] = []
    return Bounds(large=lambda request: True, crowded=lambda: said.append("crowded")), said


def test_the_one_that_nobody_used_for_longest_makes_room() -> None:
    bounds, said = bounded()
    wires = [Slow() for _ in range(MOST + 2)]
    first, second, *_ = [connect(bounds, wire) for wire in wires[:MOST]]
    first.data_received(GET)
    second.data_received(GET[:10])
    for wire in wires[MOST:]:
        connect(bounds, wire)
    assert [number for number, wire in enumerate(wires) if wire.closed] == [2, 3]
    assert said == []


def test_the_one_by_which_the_event_went_out_is_in_use() -> None:
    bounds, _ = bounded()
    wires = [Slow() for _ in range(MOST + 1)]
    first, *_ = [connect(bounds, wire) for wire in wires[:MOST]]
    bounds.hands(first)
    connect(bounds, wires[MOST])
    assert [number for number, wire in enumerate(wires) if wire.closed] == [1]


def test_one_that_waits_for_its_answer_is_in_use() -> None:
    bounds, said = bounded()
    for _ in range(MOST):
        connect(bounds, Slow(), answering=False).data_received(GET)
    late = Slow()
    connect(bounds, late)
    assert (late.closed, said) == (True, ["crowded"])


def test_who_leaves_answers_unread_is_not_read_from() -> None:
    bounds, _ = bounded()
    wire = Slow()
    connection = connect(bounds, wire)
    connection.pause_writing()
    connection.resume()
    assert not wire.reading
    connection.resume_writing()
    assert wire.reading


def test_who_has_not_read_the_event_before_the_last_is_left() -> None:
    bounds, _ = bounded()
    wires = [Slow(unsent=1000), Slow(unsent=0), Slow(unsent=0)]
    for wire in wires:
        bounds.hands(connect(bounds, wire))
    assert [wire.closed for wire in wires] == [True, False, False]


POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


def test_who_begins_an_answer_anew_ends_the_one_that_was_not_whole() -> None:
    bounds, _ = bounded()
    wires = [Slow() for _ in range(3)]
    whole, half, last = (connect(bounds, wire) for wire in wires)
    whole.data_received(POST + b"abc")
    half.data_received(POST + b"a")
    last.data_received(POST)
    assert [wire.closed for wire in wires] == [False, True, False]
