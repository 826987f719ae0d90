"""Memory is limited for a worker with all of its children, and counted fairly."""

from __future__ import annotations

import asyncio
import os

import pytest

from triggerhub.model import Crashed, Interrupted, Returned
from triggerhub.runtimes import memory
from triggerhub.runtimes.groups import Groups, NoGroups
from triggerhub.settings import MB

from .conftest import Bench, invocation

trusting = pytest.mark.usefixtures("trusting")


@pytest.fixture
def contained(bench: Bench) -> Bench:
    """A bench whose functions are held by the kernel, where it does that here."""
    try:
        Groups.find()
    except (NoGroups, OSError) as error:
        pytest.skip(str(error))
    bench.level = "contained"
    return bench


@trusting
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("x = b'x' * (200 << 20)", id="itself"),
        pytest.param("os.fork() or hold(90)\n    hold(90)", id="with a child"),
        pytest.param(
            "f = os.memfd_create('x')\n    os.write(f, bytes(1 << 20)); m = mmap.mmap(-1, 200 << 20); m.write(b'x' * (200 << 20))",
            id="shared",
        ),
        pytest.param(
            "m = mmap.mmap(-1, 1 << 38, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)\n"
            "    sum(memoryview(m)[n] for n in range(0, 1 << 38, 1 << 21))",
            id="tables of pages",
        ),
    ],
)
async def test_a_worker_over_its_memory_is_killed(bench: Bench, code: str) -> None:
    function = bench.python(
        f"""
        import mmap, os, time
        def hold(mb):
            global kept
            kept = bytearray(os.urandom(1 << 20) * mb)
            time.sleep(300)
        def handler(event, context):
            {code.replace(chr(10), chr(10) + " " * 8)}
            time.sleep(300)
        """,
        memory=128 * MB,
    )
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert not worker.alive
    assert isinstance(outcome, Crashed), outcome
    assert outcome.fault.type == "Runtime.OutOfMemory"
    assert outcome.fault.message == "RequestId: r1 Error: Runtime exited with error: signal: killed"
    assert outcome.usage.memory == 128 * MB, "what was beyond that was never its own"


@trusting
async def test_pages_shared_by_children_and_files_count_once_or_not(bench: Bench) -> None:
    function = bench.python(
        """
        import mmap, os, time
        kept = bytearray(b"x" * (60 << 20))
        def handler(event, context):
            with open(os.environ["TMPDIR"] + "/big", "w+b") as file:
                file.truncate(150 << 20)
                mapped = mmap.mmap(file.fileno(), 150 << 20, mmap.MAP_PRIVATE, mmap.PROT_READ)
                sum(mapped[n] for n in range(0, len(mapped), 4096))
                kids = [os.fork() or time.sleep(300) for _ in range(4)]
                time.sleep(0.5)
            for kid in kids:
                os.kill(kid, 9)
            return "fine"
        """,
        memory=128 * MB,
    )
    outcome = await bench.call(function)
    assert isinstance(outcome, Returned), outcome


@trusting
async def test_a_worker_that_leaked_is_replaced_after_its_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
    monkeypatch.setattr("triggerhub.runtimes.watch.REST", 0)
    function = bench.python(
        "kept = []\ndef handler(e, c):\n    kept.append(bytearray(b'x' * (200 << 20)))\n    return 1\n", memory=128 * MB
    )
    async with bench.worker(function) as worker:
        assert (await worker.invoke(invocation())).payload == b"1"
        assert not worker.alive


GROWING = """
import os, threading, time
def grow():
    time.sleep(0.3)
    global kept
    kept = bytearray(b"x" * (70 << 20))
    time.sleep(300)
"""
"""What holds 70 MB when the call that left it running has long ended."""


@pytest.mark.parametrize("level", ["contained", "isolated", "trusted"])
@pytest.mark.parametrize(
    ("code", "called"),
    [
        pytest.param("def handler(e, c):\n    os.fork() or grow()\n    os.fork() or grow()\n", True, id="a call's"),
        pytest.param(
            "os.fork() or grow()\nthreading.Thread(target=grow).start()\nhandler = print\n", False, id="code's"
        ),
    ],
)
async def test_a_worker_that_grows_between_calls_is_replaced_and_no_call_is_charged(
    bench: Bench, level: str, code: str, called: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if level == "contained":
        request.getfixturevalue("contained")
    bench.level = level
    monkeypatch.setattr("triggerhub.runtimes.watch.IDLE", 0.05)
    async with bench.worker(bench.python(GROWING + code, memory=128 * MB)) as worker:
        if called:
            assert isinstance(await worker.invoke(invocation()), Returned)
        async with asyncio.timeout(20):
            while worker.alive:
                await asyncio.sleep(0.01)
        assert bench.lines.of(None) == ["ended a worker between calls: it held more than its memory of 128MB"]
        if called:
            assert isinstance(await worker.invoke(invocation()), Interrupted)


@trusting
async def test_a_look_between_two_calls_says_nothing_of_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def handler(e, c):\n    x = b'x' * (e << 20)\n    del x\n"
    monkeypatch.setattr("triggerhub.runtimes.watch.IDLE", 0.01)
    async with bench.worker(bench.python(code)) as worker:
        assert isinstance(await worker.invoke(invocation(0)), Returned)
        await asyncio.sleep(0.15)
        monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
        outcome = await worker.invoke(invocation(50))
    assert isinstance(outcome, Returned), outcome
    assert 50 * MB < outcome.usage.memory < 128 * MB


@pytest.mark.parametrize("level", ["isolated", "confined"])
async def test_the_memory_of_a_program_that_is_gone_before_anybody_looked_is_reported(
    bench: Bench, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
    monkeypatch.setattr("triggerhub.runtimes.watch.SOON", 60)
    bench.level = level
    small = await bench.call(bench.program("#!/bin/sh\necho 1\n"))
    assert isinstance(small, Returned), small
    assert 0 < small.usage.memory < 50 * MB
    large = await bench.call(bench.program("#!/usr/bin/env python3\nx = b'x' * (50 << 20)\nx = None\nprint(1)\n"))
    assert isinstance(large, Returned), large
    assert 50 * MB < large.usage.memory < 128 * MB


@trusting
async def test_the_memory_of_a_program_that_soon_ends_is_seen_where_nobody_tells_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
    outcome = await bench.call(bench.program("#!/bin/sh\nsleep 0.3\necho 1\n"))
    assert isinstance(outcome, Returned), outcome
    assert outcome.usage.memory


@pytest.mark.parametrize("level", ["isolated", "confined", "trusted"])
async def test_the_memory_of_a_call_that_ends_its_worker_is_reported(
    bench: Bench, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.REST", 0)
    bench.level = level
    function = bench.python("import os\ndef handler(event, context):\n    event and os._exit(1)\n")
    async with bench.worker(function) as worker:
        assert isinstance(await worker.invoke(invocation(0)), Returned)
        outcome = await worker.invoke(invocation(1))
    assert isinstance(outcome, Crashed), outcome
    assert outcome.usage.memory


@trusting
async def test_the_memory_that_was_seen_is_reported(bench: Bench) -> None:
    function = bench.python("import time\ndef handler(e, c):\n    x = b'x' * (50 << 20)\n    time.sleep(0.4)\n")
    outcome = await bench.call(function)
    assert 50 * MB < outcome.usage.memory < 128 * MB


@trusting
async def test_memory_that_was_let_go_before_anybody_looked_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
    monkeypatch.setattr("triggerhub.runtimes.watch.REST", 0)
    outcome = await bench.call(bench.python("def handler(e, c):\n    x = b'x' * (50 << 20)\n    del x\n"))
    assert 50 * MB < outcome.usage.memory < 128 * MB


@pytest.mark.parametrize("level", ["contained", "trusted"])
async def test_the_same_call_is_told_the_same_whether_it_was_looked_at_or_not(
    bench: Bench, level: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if level == "contained":
        request.getfixturevalue("contained")
    bench.level = level
    told = []
    async with bench.worker(bench.python("import json, decimal\ndef handler(e, c):\n    return e\n")) as worker:
        for rest in (60, 0, 60, 0, 0, 60):
            monkeypatch.setattr("triggerhub.runtimes.watch.REST", rest)
            outcome = await worker.invoke(invocation(1))
            assert isinstance(outcome, Returned), outcome
            told.append(outcome.usage.memory)
    assert max(told) - min(told) < 3 * MB, told


async def test_what_was_let_go_before_anybody_looked_is_counted_by_what_is_held_to_the_limit(
    contained: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.watch.PERIOD", 60)
    monkeypatch.setattr("triggerhub.runtimes.watch.REST", 0)
    code = "def handler(e, c):\n    x = b'x' * (e << 20)\n    del x\n"
    async with contained.worker(contained.python(code)) as worker:
        little = await worker.invoke(invocation(1))
        much = await worker.invoke(invocation(51))
    assert 45 * MB < much.usage.memory - little.usage.memory < 55 * MB, (little, much)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("kept = b'x' * (200 << 20)", id="heap"),
        pytest.param("os.fork()\n    kept = b'x' * (100 << 20)", id="a tree's"),
        pytest.param("kept = os.memfd_create('x'); os.ftruncate(kept, 200 << 20)\n"
                     "    mmap.mmap(kept, 200 << 20).write(b'x' * (200 << 20))", id="in no process"),
    ],
)  # fmt: skip
async def test_room_for_files_in_memory_is_no_room_for_more_memory(contained: Bench, code: str) -> None:
    function = contained.python(
        f"import mmap, os, time\ndef handler(e, c):\n    {code}\n    time.sleep(300)\n", memory=128 * MB, tmp=512 * MB
    )
    outcome = await contained.call(function)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.fault.type == "Runtime.OutOfMemory"
    assert 64 * MB < outcome.usage.memory <= 128 * MB


async def test_files_in_its_temporary_folder_are_none_of_its_memory(contained: Bench) -> None:
    function = contained.python(
        """
        import time
        def handler(event, context):
            with open("/tmp/big", "wb") as file:
                for _ in range(300):
                    file.write(bytes(1 << 20))
            time.sleep(0.5)
            return "kept"
        """,
        memory=128 * MB,
        tmp=512 * MB,
    )
    outcome = await contained.call(function)
    assert isinstance(outcome, Returned), outcome
    assert outcome.usage.memory < 64 * MB


def test_what_is_told_of_anothers_process_is_no_less_than_what_it_has_to_itself() -> None:
    kept = bytearray(32 * MB)
    for place in range(0, len(kept), 4096):
        kept[place] = 1
    own = memory._own(os.getpid())
    assert own >= len(kept)
    assert own <= memory.resident([os.getpid()])[0] * 1.1
