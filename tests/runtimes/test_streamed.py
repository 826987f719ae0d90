"""Who takes a streamed answer slowly, or not to its end, or more of it than there may be, holds nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from triggerhub.aws import errors
from triggerhub.hub.call import Answered
from triggerhub.hub.outflow import ROOM, Outflow
from triggerhub.model import Outcome, Raised, Returned, TimedOut
from triggerhub.runtime import Worker
from triggerhub.runtimes.streamed import Streamed

from .conftest import Bench, invocation

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed on this host")
ENDLESS = """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  for (let n = 0; n < event; n++) {
    if (!stream.write(Buffer.alloc(65536, 97))) await new Promise((done) => stream.once("drain", done));
    if (n % 10 === 0) console.log(`part ${n}`);
  }
  stream.end();
});
"""


class Sink:
    """Takes as many parts as it is told."""

    def __init__(self, wanted: int = 1 << 30) -> None:
        self.wanted = wanted
        self.type = ""
        self.got = bytearray()
        self.begun = False
        self.full = asyncio.Event()
        self.room: Callable[[], None]
        self.leave: Callable[[], None]

    def begin(self, content_type: str, room: Callable[[], None], leave: Callable[[], None]) -> None:
        assert not self.begun
        self.type, self.begun = content_type, True
        self.room, self.leave = room, leave

    def write(self, data: bytes) -> bool:
        self.got += data
        self.wanted -= 1
        if self.wanted <= 0:
            self.full.set()
        return self.wanted > 0


@needs_node
async def test_a_handler_waits_while_nobody_reads(bench: Bench) -> None:
    sink = Sink(wanted=5)
    async with bench.worker(bench.node(ENDLESS)) as worker:
        call = asyncio.create_task(worker.invoke(invocation(300, sink=sink)))
        await sink.full.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(call), 0.5)
        assert len(sink.got) < 2 << 20, "what came is what was read with the last part that was wanted"
        sink.wanted = 1 << 30
        sink.room()
        outcome = await call
        assert isinstance(outcome, Returned)
        assert (outcome.payload, len(sink.got)) == (b"", 300 * 65536)
        # The worker serves on, and gathers for who wants it whole.
        whole = await worker.invoke(invocation(2, request_id="r2"))
        assert whole.payload == b"a" * 131072


@needs_node
async def test_more_than_a_streamed_answer_may_have_ends_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "MAX_STREAM", 1 << 20)
    outcome = await bench.call(bench.node(ENDLESS), 100, sink=Sink())
    assert isinstance(outcome, Raised)
    assert outcome.fault.type == "Function.ResponseSizeTooLarge"
    assert "(1048576 bytes)" in outcome.fault.message
    gathered = await bench.call(bench.node(ENDLESS), 100)
    assert isinstance(gathered, Raised)
    assert str(errors.MAX_RESPONSE) in gathered.fault.message


@needs_node
async def test_a_timeout_ends_a_stream(bench: Bench) -> None:
    text = "export const handler = awslambda.streamifyResponse(async (event, s) => { s.write('a'); await new Promise(() => setInterval(() => 0, 1000)) })"
    sink = Sink()
    outcome = await bench.call(bench.node(text, timeout=1000), sink=sink)
    assert isinstance(outcome, TimedOut)
    assert bytes(sink.got) == b"a"


@needs_node
@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("s.write('a')", b"a"),  # nothing ends it: it ends with the handler
        ("setTimeout(() => s.end('b'), 50)", b"b"),  # the handler returns before it
        ("s.end()", b""),
        ("", b""),
        ("s.setContentType('text/x'); s.end(new Uint8Array([97]))", b"a"),
        ("s.write('é', 'latin1'); s.end('b', () => 0)", b"\xe9b"),
        ("s.end({a: 1})", b'{"a":1}'),
    ],
)
async def test_a_stream_ends_however_its_handler_does(bench: Bench, body: str, got: bytes) -> None:
    sink = Sink()
    text = f"export const handler = awslambda.streamifyResponse(async (event, s) => {{ {body} }})"
    outcome = await bench.call(bench.node(text, timeout=20_000), sink=sink)
    assert isinstance(outcome, Returned)
    assert bytes(sink.got) == got
    assert sink.begun
    assert sink.type == ("text/x" if "text/x" in body else "application/octet-stream")


@needs_node
@pytest.mark.parametrize(
    "body", ["throw new Error('no')", "s.destroy(new Error('no'))", "s.write('a'); throw new Error('no')"]
)
async def test_a_stream_that_fails_fails_the_call(bench: Bench, body: str) -> None:
    text = f"export const handler = awslambda.streamifyResponse(async (event, s) => {{ {body} }})"
    outcome = await bench.call(bench.node(text), sink=Sink())
    assert isinstance(outcome, Raised)
    assert outcome.fault.message == "no"


RUNTIME = """
#!{python}
import os, socket, http.client, json
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
def next():
    own = http.client.HTTPConnection(api)
    own.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = own.getresponse()
    answer.read()
    return answer.headers["Lambda-Runtime-Aws-Request-Id"]
while True:
    id = next()
    host, _, port = api.partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall((f"POST /2018-06-01/runtime/invocation/{{id}}/response HTTP/1.1\\r\\nHost: x\\r\\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n").encode())
        try:
            while True:
                raw.sendall(b"1000\\r\\n" + b"x" * 4096 + b"\\r\\n")
        except OSError:
            print("nobody listens", flush=True)
"""


async def test_a_runtime_is_told_by_its_connection_that_nobody_takes_the_rest(bench: Bench) -> None:
    bench.file("bootstrap", RUNTIME.format(python=sys.executable), 0o755)
    function = bench.function("provided", command=(str(bench.code / "bootstrap"),))
    async with bench.worker(function) as worker:
        for request in ("r1", "r2"):
            sink = Sink(wanted=20)
            call = asyncio.create_task(worker.invoke(invocation(request_id=request, sink=sink)))
            await sink.full.wait()
            sink.leave()
            outcome = await call
            assert isinstance(outcome, Returned), outcome
            assert outcome.usage.duration_ms < function.timeout
        assert worker.alive


async def read_late(worker: Worker, payload: object, request: str) -> tuple[int, Outcome]:
    """Read a stream only once all of it may have come; returns how many bytes it had, and the outcome."""
    flow, read = Outflow(), 0
    over = asyncio.Event()

    async def call() -> Answered:
        outcome = await worker.invoke(invocation(payload, request_id=request, sink=flow))
        over.set()
        return Answered(request_id=request, outcome=outcome, version="", log=())

    assert await flow.calling(call()) is None
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), 0.5)
    while (data := await flow.next()) is not None:
        read += len(data)
    return read, flow.call.outcome


@needs_node
async def test_who_reads_late_leaves_the_worker_to_the_next_as_it_was(bench: Bench) -> None:
    text = "export const handler = awslambda.streamifyResponse(async (event, s) => s.end(Buffer.alloc(event, 97)))"
    async with bench.worker(bench.node(text)) as worker:
        for number in range(3):
            for size in (ROOM, ROOM + 40_000, 2 * ROOM):
                read, outcome = await read_late(worker, size, f"r{number}-{size}")
                assert isinstance(outcome, Returned), outcome
                assert read == size
        assert (await worker.invoke(invocation(1))).payload == b"a"


KEPT = """
#!{python}
import http.client, os
kept = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
kept.connect()
kept.auto_open = False
def over(method, path, body=None, **headers):
    kept.request(method, "/2018-06-01/runtime/" + path, body, headers, encode_chunked=True)
    answer = kept.getresponse()
    answer.read()
    return answer.headers["Lambda-Runtime-Aws-Request-Id"]
chunked = {{"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"}}
while True:
    id = over("GET", "invocation/next")
    over("POST", f"invocation/{{id}}/response", iter([b"x" * 300_000]), **chunked)
"""


async def test_a_runtime_that_keeps_its_connection_is_heard_after_a_late_reader(bench: Bench) -> None:
    bench.file("bootstrap", KEPT.format(python=sys.executable), 0o755)
    async with bench.worker(bench.function("provided", command=(str(bench.code / "bootstrap"),))) as worker:
        for request in ("r1", "r2", "r3"):
            read, outcome = await read_late(worker, 1, request)
            assert isinstance(outcome, Returned), outcome
            assert read == 300_000


TWO = """
#!{python}
import http.client, os, socket
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
def ask(method, path, body=None, **headers):
    own = http.client.HTTPConnection(api)
    own.request(method, "/2018-06-01/runtime/" + path, body, headers)
    answer = own.getresponse()
    return answer.status, answer.read(), answer.headers["Lambda-Runtime-Aws-Request-Id"]
while True:
    id = ask("GET", "invocation/next")[2]
    mode = "Lambda-Runtime-Function-Response-Mode"
    {then}
"""
BEGUN = """host, _, port = api.partition(":")
    raw = socket.create_connection((host, int(port)))
    raw.sendall(f"POST /2018-06-01/runtime/invocation/{{id}}/response HTTP/1.1\\r\\nHost: x\\r\\n{{mode}}: streaming\\r\\n"
        "Transfer-Encoding: chunked\\r\\n\\r\\n4\\r\\nhalf\\r\\n".encode())
    """


def two(bench: Bench, then: str) -> Any:
    bench.file("bootstrap", TWO.replace("{then}", then).format(python=sys.executable), 0o755)
    return bench.function("provided", command=(str(bench.code / "bootstrap"),))


async def test_a_second_answer_does_not_make_half_a_stream_whole(bench: Bench) -> None:
    then = """status, text, _ = ask("POST", f"invocation/{{id}}/response", b"all")
    print(status, text.decode(), flush=True)
    raw.sendall(b"0\\r\\n\\r\\n")
    raw.recv(1000)"""
    sink = Sink()
    outcome = await bench.call(two(bench, BEGUN + then), sink=sink)
    assert isinstance(outcome, Returned)
    assert bytes(sink.got) == b"half"
    (told,) = [text for _, stream, text in bench.lines.all if stream == "stdout"]
    assert told.startswith('403 {"errorType":"InvalidStateTransition"')


async def test_a_stream_whose_connection_is_lost_has_failed(bench: Bench) -> None:
    async with bench.worker(two(bench, BEGUN + "raw.close()")) as worker:
        for request in ("r1", "r2"):
            sink = Sink()
            outcome = await worker.invoke(invocation(request_id=request, sink=sink))
            assert isinstance(outcome, Raised), outcome
            assert outcome.fault.type == "Runtime.TruncatedResponse"
            assert bytes(sink.got) == b"half"


async def test_a_runtime_that_ends_within_its_stream_is_told_by_its_end(bench: Bench) -> None:
    outcome = await bench.call(two(bench, BEGUN + "os._exit(3)"), sink=Sink())
    assert outcome.fault.type == "Runtime.ExitError"


async def test_a_mode_that_there_is_not_fails_the_call(bench: Bench) -> None:
    then = """print(*ask("POST", f"invocation/{{id}}/response", b"1", **{{mode: "streamed"}})[:2], flush=True)"""
    outcome = await bench.call(two(bench, then))
    assert isinstance(outcome, Raised)
    assert outcome.fault.type == "Runtime.InvalidResponseModeHeader"
    assert "'streamed'" in outcome.fault.message


def test_parts_of_a_byte_and_of_none_fill_no_memory() -> None:
    flow = Outflow()
    taken = 0
    while flow.write(b"x"):
        taken += 1
    assert taken < ROOM // 60
    streamed = Streamed(Endless(), "", room=lambda: None, leave=lambda: None)
    assert all(streamed.take(b"") for _ in range(1000))


class Endless(Sink):
    def write(self, data: bytes) -> bool:
        raise AssertionError("nothing is no part")
