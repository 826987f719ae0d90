"""Executables of any kind are functions: stdin is the event, stdout the answer."""

from __future__ import annotations

import json
import os
import sys
import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Interrupted, Raised, Returned, TimedOut
from triggerhub.policy.masking import mask
from triggerhub.runtimes.program import answer
from triggerhub.settings import MB, Secret

from .conftest import ARN, Bench, invocation, living, until


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (b"", b"null"),
        (b" \n", b"null"),
        (b'{"a": 1.10}\n', b'{"a": 1.10}'),
        (b"12345678901234567890123", b"12345678901234567890123"),
        (b"9" * 5000, b"9" * 5000),
        (b"hello\n", b'"hello"'),
        (b"two\nlines\n\n", b'"two\\nlines\\n"'),
        (b"NaN", b'"NaN"'),
        (b"{", b'"{"'),
        ("ü".encode(), '"ü"'.encode()),
        (b"a\xff", '"a\ufffd"'.encode()),
        (b"\x1b[0m", b'"\\u001b[0m"'),
    ],
)
def test_what_stdout_means(said: bytes, means: bytes) -> None:
    assert answer(said) == means


@given(st.binary())
def test_whatever_stdout_is_the_answer_is_json(said: bytes) -> None:
    json.loads(answer(said))


async def test_the_event_is_stdin_and_stdout_the_answer(bench: Bench) -> None:
    async with bench.worker(bench.program("#!/bin/sh\necho to the logs >&2\nexec cat\n")) as worker:
        for number in range(2):
            outcome = await worker.invoke(invocation({"n": number}, request_id=f"r{number}"))
            assert isinstance(outcome, Returned)
            assert json.loads(outcome.payload) == {"n": number}
            assert worker.pid is None
    assert bench.lines.all == [("r0", "stderr", "to the logs"), ("r1", "stderr", "to the logs")]


async def test_arguments_and_environment(bench: Bench) -> None:
    function = bench.program(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))\n",
        "a b",
        "$HOME;`x`",
        env={"MINE": "1"},
    )
    outcome = await bench.call(function, deadline=12345, attempt=2, trace="Root=1", client_context="{}")
    arguments, cwd, env = json.loads(outcome.payload)
    assert arguments == ["a b", "$HOME;`x`"]
    assert cwd == bench.task
    assert {name: env.get(name) for name in ("AWS_REQUEST_ID", "TRIGGERHUB_ATTEMPT", "TRIGGERHUB_DEADLINE_MS")} == {
        "AWS_REQUEST_ID": "r1",
        "TRIGGERHUB_ATTEMPT": "2",
        "TRIGGERHUB_DEADLINE_MS": "12345",
    }
    assert (env["_X_AMZN_TRACE_ID"], env["TRIGGERHUB_CLIENT_CONTEXT"], env["TRIGGERHUB_FUNCTION_ARN"], env["MINE"]) == (
        "Root=1",
        "{}",
        ARN,
        "1",
    )


@pytest.mark.parametrize(
    ("text", "outcome", "message"),
    [
        ("echo why >&2; exit 3", Raised, "Runtime exited with error: exit status 3\nwhy"),
        ("exit 127", Raised, "Runtime exited with error: exit status 127"),
        ("kill -SEGV $$", Crashed, "Runtime exited with error: signal: segmentation fault"),
        ("echo half an answer; exit 1", Raised, "Runtime exited with error: exit status 1"),
    ],
)
async def test_a_status_other_than_zero_fails(bench: Bench, text: str, outcome: type, message: str) -> None:
    got = await bench.call(bench.program(f"#!/bin/sh\n{text}\n"))
    assert type(got) is outcome
    assert json.loads(got.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: r1 Error: {message}",
    }


async def test_only_the_tail_of_stderr_is_in_the_message(bench: Bench) -> None:
    got = await bench.call(bench.program("#!/bin/sh\nseq 100000 >&2\nexit 1\n"))
    assert got.fault.message.startswith("RequestId: r1 Error: Runtime exited with error: exit status 1\n…")
    assert got.fault.message.endswith("\n99999\n100000")
    assert len(got.fault.message) < 3000
    assert bench.lines.of("r1")[-1].endswith("bytes of output dropped")


async def test_a_secret_that_the_tail_of_stderr_begins_in_is_dots(bench: Bench) -> None:
    masked = mask([Secret("hunter2-and-more")])
    assert masked is not None
    got = await bench.call(bench.program(f"#!/bin/sh\nprintf %s hunter2-and-more {'y' * 2040} >&2\nexit 1\n"))
    assert masked(got.fault.message).endswith(f"exit status 1\n…•••{'y' * 2040}")


async def test_a_program_that_reads_nothing_is_no_failure(bench: Bench) -> None:
    event = json.dumps("x" * 3_000_000).encode()
    assert (await bench.call(bench.program("#!/bin/sh\nexec <&-\necho 1\n"), event)).payload == b"1"


@pytest.mark.usefixtures("trusting")
async def test_a_grandchild_that_holds_stdout_delays_nothing_and_dies(bench: Bench) -> None:
    pid_file = bench.root / "pid"
    function = bench.program(f"#!/bin/sh\nsleep 300 & echo $! > {pid_file}\necho 1\n", timeout=60_000)
    started = time.monotonic()
    assert (await bench.call(function)).payload == b"1"
    assert time.monotonic() - started < 30
    until(lambda: not living(int(pid_file.read_text())), "the end of the grandchild")


async def test_an_answer_over_the_limit_is_refused(bench: Bench) -> None:
    function = bench.program("#!/bin/sh\nhead -c $(cat) /dev/zero | tr '\\0' 1\n")
    async with bench.worker(function) as worker:
        assert len((await worker.invoke(invocation(6291556))).payload) == 6291556
        outcome = await worker.invoke(invocation(6291557))
        assert isinstance(outcome, Raised)
        assert outcome.fault.type == "Function.ResponseSizeTooLarge"
        flood = await worker.invoke(invocation(100_000_000))
        assert flood.fault == outcome.fault
        assert (await worker.invoke(invocation(3))).payload == b"111"


@pytest.mark.usefixtures("trusting")
async def test_a_program_over_its_time_is_killed_with_its_children(bench: Bench) -> None:
    pid_file = bench.root / "pid"
    function = bench.program(f"#!/bin/sh\nsleep 300 & echo $! > {pid_file}\nsleep 300\n", timeout=300)
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, TimedOut)
        assert json.loads(outcome.payload) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "RequestId: r1 Error: Task timed out after 0.30 seconds",
        }
        assert outcome.usage.duration_ms >= 300
        until(lambda: not living(int(pid_file.read_text())), "the end of the child")
        assert worker.alive


async def test_a_program_over_its_memory_is_killed(bench: Bench) -> None:
    function = bench.program(
        f"#!{sys.executable}\nimport time\nx = b'x' * (200 << 20)\ntime.sleep(60)\n", memory=128 * MB
    )
    outcome = await bench.call(function)
    assert isinstance(outcome, Crashed)
    assert outcome.fault.type == "Runtime.OutOfMemory"
    assert outcome.usage.memory is not None
    assert outcome.usage.memory == 128 * MB


@pytest.mark.usefixtures("trusting")
async def test_a_cancelled_call_kills_its_program(bench: Bench) -> None:
    pid_file = bench.root / "pid"
    function = bench.program(f"#!/bin/sh\nsleep 300 & echo $! > {pid_file}.x; mv {pid_file}.x {pid_file}\nwait\n")
    async with bench.worker(function) as worker:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.invoke, invocation())
            while not pid_file.exists():
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert not worker.alive
    until(lambda: not living(int(pid_file.read_text())), "the end of the child")


async def test_a_closed_worker_interrupts(bench: Bench) -> None:
    async with bench.worker(bench.program("#!/bin/sh\n")) as worker:
        pass
    assert worker.alive is False
    assert await worker.invoke(invocation()) == Interrupted()


@pytest.mark.parametrize("command", [(), ("/nowhere/x",), ("no-such-program",)])
async def test_a_command_that_is_not_there_fails_the_start(bench: Bench, command: tuple[str, ...]) -> None:
    with pytest.raises(StartFailed, match="is no executable file") as caught:
        await bench.call(bench.function("executable", command=command))
    assert caught.value.type == "Runtime.InvalidEntrypoint"


async def test_a_command_that_is_not_there_is_told_by_the_place_that_the_function_knows(bench: Bench) -> None:
    bench.file("bootstrap", "#!/bin/sh\n")  # and it may not be executed
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.function("executable", command=(str(bench.code / "bootstrap"),)))
    assert "the command '/var/task/bootstrap' is no executable file" in caught.value.payload.decode()
    assert str(bench.code) not in caught.value.payload.decode()


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_a_program_sees_only_its_own_descriptors(bench: Bench, level: str, open_files) -> None:
    bench.level = level
    await bench.call(bench.program("#!/bin/sh\n"))  # the launcher stays
    before = open_files()
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    for fd in held:
        os.set_inheritable(fd, True)
    function = bench.program("#!/bin/sh\nls /proc/$$/fd\n")
    try:
        outcome = await bench.call(function)
    finally:
        for fd in held:
            os.close(fd)
    seen = json.loads(outcome.payload).split()
    # Standard input, output and error, the shell's own script, and outside of a sandbox the tether.
    assert {"0", "1", "2"} < set(seen)
    assert len(seen) == (5 if level == "trusted" else 4)
    assert open_files() == before
