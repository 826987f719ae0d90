"""A worker that does not keep to the protocol is killed, whatever it says."""

from __future__ import annotations

import time

import anyio
import pytest

from triggerhub.model import Crashed

from .conftest import Bench, invocation


async def test_a_child_that_the_handler_forked_cannot_answer(bench: Bench) -> None:
    function = bench.python("""
        import os
        def handler(event, context):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            return "parent" if child else "child"
    """)
    async with bench.worker(function) as worker:
        for number in range(3):
            outcome = await worker.invoke(invocation(request_id=f"r{number}"))
            assert outcome.payload == b'"parent"'


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("os.write(3, b'nonsense, and more of it')", id="no frame"),
        pytest.param('os.write(3, frame(4, b\'{"id":"other"}\')); time.sleep(60)', id="another request's answer"),
        pytest.param("os.write(3, frame(2, b'{}')); time.sleep(60)", id="ready twice"),
        pytest.param("os.close(3); time.sleep(60)", id="closed socket"),
    ],
)
async def test_a_worker_that_breaks_the_protocol_is_killed(bench: Bench, code: str) -> None:
    function = bench.python(f"""
        import os, struct, time
        def frame(kind, header):
            return struct.pack(">2sBBII", b"TH", kind, 0, len(header), 0) + header
        def handler(event, context):
            {code}
    """)
    started = time.monotonic()
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert not worker.alive
    assert isinstance(outcome, Crashed)
    assert outcome.fault.type in {"Runtime.BrokenProtocol", "Runtime.ExitError"}
    assert time.monotonic() - started < 25


async def test_an_answer_that_nobody_asked_for_ends_the_worker(bench: Bench) -> None:
    function = bench.python("""
        import os, struct, threading
        def handler(event, context):
            def late():
                header = b'{"id":"r1"}'
                os.write(3, struct.pack(">2sBBII", b"TH", 4, 0, len(header), 4) + header + b"null")
            threading.Timer(0.05, late).start()
    """)
    async with bench.worker(function) as worker:
        await worker.invoke(invocation())
        with anyio.fail_after(20):
            while worker.alive:
                await anyio.sleep(0.01)
