"""Worker processes are well behaved: they keep within their limits, and end with all they started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest.mock import Mock

import anyio
import pytest
import uvloop

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Interrupted, Returned, TimedOut
from triggerhub.runtimes import memory
from triggerhub.settings import MB, Secret

from .conftest import Bench, invocation, living, until

pytestmark = pytest.mark.usefixtures("trusting")

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
ECHO = "def handler(event, context): return event\n"
RUNS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]


@RUNS
def test_the_life_of_a_worker_on_both_loops(bench: Bench, run: Run, open_files) -> None:
    async def life() -> None:
        async with bench.worker(bench.python(ECHO)) as worker:
            pid = worker.pid
            for number in range(50):
                assert (await worker.invoke(invocation(number, request_id=f"r{number}"))).payload == b"%d" % number
            assert (await worker.invoke(invocation("x" * 5_000_000))).payload == b'"' + b"x" * 5_000_000 + b'"'
            assert worker.alive
            assert living(pid)
        assert not living(pid)
        assert (worker.alive, worker.pid) == (False, None)
        slow = bench.python("import time\ndef handler(e, c): time.sleep(300)", timeout=200)
        assert isinstance(await bench.call(slow), TimedOut)
        assert (await bench.call(bench.program("#!/bin/sh\ncat\n"), 7)).payload == b"7"
        outcome = await bench.call(bench.program("#!/bin/sh\nsleep 300\n", timeout=200))
        assert isinstance(outcome, TimedOut)

    run(life())
    before = open_files()
    run(life())
    assert open_files() == before
    assert list(bench.scratch.iterdir()) == []


async def test_what_cannot_be_handed_over_holds_no_worker(bench: Bench) -> None:
    async with bench.worker(bench.python(ECHO)) as worker:
        text: Any = "no bytes"
        with pytest.raises(TypeError):
            await worker.invoke(replace(invocation(), payload=text))
        assert not worker.alive


async def test_a_timeout_kills_the_whole_group_and_says_so(bench: Bench) -> None:
    function = bench.python(
        """
        import json, os, subprocess, sys, time
        def handler(event, context):
            kids = [subprocess.Popen(["sleep", "300"]).pid]
            kids.append(subprocess.Popen(["sleep", "300"], process_group=0).pid)
            kids.append(int(subprocess.check_output(["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"])))
            print(json.dumps(kids))
            time.sleep(300)
        """,
        timeout=1000,
    )
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert not worker.alive
        assert worker.pid is None
    assert isinstance(outcome, TimedOut)
    assert json.loads(outcome.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: r1 Error: Task timed out after 1.00 seconds",
    }
    assert outcome.usage.duration_ms >= 1000
    kids = json.loads(bench.lines.of("r1")[0])
    assert len(kids) == 3
    until(lambda: not any(map(living, kids)), "the end of all children, of a group of their own and orphans too")


async def test_a_grandchild_that_holds_the_outputs_delays_neither_answer_nor_end(bench: Bench) -> None:
    function = bench.python("""
        import subprocess
        def handler(event, context):
            print("before")
            return subprocess.Popen(["sh", "-c", "while :; do echo flood; done"]).pid
    """)
    started = time.monotonic()
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        flooding = json.loads(outcome.payload)
        assert isinstance(await worker.invoke(invocation(request_id="r2")), Returned)
    assert time.monotonic() - started < 20
    assert bench.lines.of("r1")[0] == "before"
    until(lambda: not living(flooding), "the end of the grandchild")


async def test_a_fork_bomb_is_over_with_its_worker(bench: Bench) -> None:
    function = bench.python(
        """
        import os, time
        def handler(event, context):
            for depth in range(5):
                os.fork()
            time.sleep(300)
        """,
        timeout=1500,
    )
    async with bench.worker(function) as worker:
        pid = worker.pid
        outcome = await worker.invoke(invocation())
    assert isinstance(outcome, TimedOut)
    until(lambda: not memory.session(pid), "the end of all 32 processes")


@pytest.mark.parametrize("kind", ["python-busy", "python-idle", "node-busy", "node-idle", "executable"])
def test_no_worker_outlives_a_hub_that_was_killed(bench: Bench, kind: str) -> None:
    if kind.startswith("node") and shutil.which("node") is None:
        pytest.skip("node is not installed on this host")
    match kind.split("-"):
        case ["python", *_]:
            # The worst case: the interpreter's lock is held, so no thread of the worker's could act.
            function = bench.python("""
                import re, subprocess
                def handler(event, context):
                    print(subprocess.Popen(["sleep", "300"]).pid)
                    if event: re.match(r"(a+)+$", "a" * 60 + "b")
            """)
        case ["node", *_]:
            function = bench.node("""
                import { spawn } from "node:child_process"
                export const handler = async (event) => {
                  process.stdout.write(`${spawn("sleep", ["300"], { stdio: "ignore" }).pid}\\n`)
                  while (event);
                }
            """)
        case _:
            function = bench.program("#!/bin/sh\nsleep 300 &\necho $! >&2\nwhile :; do :; done\n")
    hub = bench.root / "hub.py"
    hub.write_text(
        dedent(f"""
        import asyncio, time
        from pathlib import Path
        from triggerhub.model import Invocation
        from triggerhub.runtimes.process import ProcessRuntime
        from triggerhub.settings import Function

        class Print:
            def write(self, function, request_id, stream, text):
                print("child", text, flush=True)

        async def main():
            function = Function(name="f", runtime={function.runtime!r}, handler="app.", code=Path({str(bench.code)!r}), level="trusted",
                                command={function.command!r}, timeout=120_000)
            async with ProcessRuntime(Print(), Path({str(bench.scratch)!r})).start(function) as worker:
                busy = {b"1" if not kind.endswith("idle") else b"0"!r}
                call = worker.invoke(Invocation(request_id="r", function="f", payload=busy, deadline=0, arn=""))
                task = asyncio.ensure_future(call)
                await asyncio.sleep(0)
                print("pid", worker.pid, flush=True)
                await task
                print("answered", flush=True)
                await asyncio.sleep(300)

        asyncio.run(main())
    """)
    )
    with subprocess.Popen(
        [sys.executable, hub], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": PYTHONPATH}
    ) as process:
        pids: dict[str, int] = {}
        wanted = {"pid", "child"} | ({"answered"} if kind.endswith("idle") else set())
        try:
            while wanted - set(pids):
                word, _, number = process.stdout.readline().strip().partition(" ")
                assert word, "the hub ended early"
                pids[word] = int(number or 0)
            assert living(pids["pid"])
            assert living(pids["child"])
        finally:
            process.kill()
    until(lambda: not living(pids["pid"]) and not living(pids["child"]), "the end of worker and child")


async def test_the_environment_is_clean(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SECRET", "x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    function = bench.python(
        "import os\ndef handler(e, c): return dict(os.environ)",
        env={"TOKEN": Secret("s3cret"), "LANG": "de_DE.UTF-8"},
        memory=512 * MB,
    )
    env = json.loads((await bench.call(function)).payload)
    # What a shell adds of itself is no leak.
    assert {name: value for name, value in env.items() if name not in {"PWD", "OLDPWD", "SHLVL", "_"}} == {
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "0123456789ab",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_LOG_STREAM_NAME": env["AWS_LAMBDA_LOG_STREAM_NAME"],
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "LAMBDA_TASK_ROOT": str(bench.code),
        "LAMBDA_RUNTIME_DIR": str(ROOT / "triggerhub/runtimes/bootstrap"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{bench.code}:{bench.code}/lib",
        "LANG": "de_DE.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "TZ": ":UTC",
        "TMPDIR": env["TMPDIR"],
        "TOKEN": "s3cret",
        "_HANDLER": "app.",
        "_X_AMZN_TRACE_ID": env["_X_AMZN_TRACE_ID"],
    }


async def test_descriptors_limits_and_session(bench: Bench) -> None:
    function = bench.python("""
        import os, resource, stat, tempfile
        def handler(event, context):
            old = os.umask(0)
            return {
                "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
                "in": os.readlink("/proc/self/fd/0"),
                "same": os.readlink("/proc/self/fd/1") == os.readlink("/proc/self/fd/2"),
                "umask": old,
                "core": resource.getrlimit(resource.RLIMIT_CORE),
                "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
                "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
                "tmp": [tempfile.gettempdir(), stat.S_IMODE(os.stat(tempfile.gettempdir()).st_mode)],
            }
    """)
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        got = json.loads((await bench.call(function)).payload)
    finally:
        os.close(held)
    folder, mode = got.pop("tmp")
    assert Path(folder).parent == bench.scratch
    assert (mode, Path(folder).exists()) == (0o700, False)
    assert got == {
        "fds": [0, 1, 2, 3, 4],
        "in": "/dev/null",
        "same": True,
        "umask": 0o077,
        "core": [0, 0],
        "nofile": [1024, 1024],
        "leads": True,
    }


async def test_the_temporary_folder_goes_with_the_worker_whatever_is_in_it(bench: Bench) -> None:
    function = bench.python("""
        import os, tempfile
        def handler(event, context):
            folder = tempfile.mkdtemp()
            open(folder + "/x", "w").close()
            os.chmod(folder, 0)
    """)
    async with bench.worker(function) as worker:
        await worker.invoke(invocation())
        assert len(list(bench.scratch.iterdir())) == 1
    assert list(bench.scratch.iterdir()) == []


def test_what_a_killed_hub_left_is_removed_at_the_next_start(bench: Bench) -> None:
    (bench.scratch / "worker-f-123" / "deep").mkdir(parents=True)
    (bench.scratch / "notes").mkdir()
    bench.runtime()
    assert [path.name for path in bench.scratch.iterdir()] == ["notes"]


async def test_loading_is_limited_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerhub.runtimes.held.INIT_LIMIT", 0.3)
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.python("import time\ntime.sleep(300)", timeout=200))
    assert (caught.value.type, caught.value.message) == ("Sandbox.Timedout", "Task timed out after 0.30 seconds")
    # A timeout that is longer than the limit is the limit.
    slow = bench.python("import time\ntime.sleep(0.6)\n" + ECHO, timeout=20_000)
    assert isinstance(await bench.call(slow), Returned)


async def test_a_cancelled_call_kills_the_worker(bench: Bench) -> None:
    function = bench.python("import time\ndef handler(e, c):\n    print('in it')\n    time.sleep(300)\n")
    async with bench.worker(function) as worker:
        pid = worker.pid
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.invoke, invocation())
            with anyio.fail_after(20):
                while not bench.lines.of("r1"):
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert not worker.alive
    assert not living(pid)


async def test_a_cancelled_start_leaves_nothing(bench: Bench) -> None:
    function = bench.python("import os, time\nprint(os.getpid())\ntime.sleep(300)\n")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.call, function)
        with anyio.fail_after(20):
            while not bench.lines.of(None):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert not living(int(bench.lines.of(None)[0]))
    assert list(bench.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("calls", "expected"), [(0, Crashed), (1, Interrupted)], ids=["before its first request", "while it was idle"]
)
async def test_a_worker_found_dead(bench: Bench, calls: int, expected: type) -> None:
    async with bench.worker(bench.python(ECHO)) as worker:
        for _ in range(calls):
            await worker.invoke(invocation())
        os.kill(worker.pid, signal.SIGKILL)
        with anyio.fail_after(20):
            while worker.alive:
                await anyio.sleep(0.01)
        assert isinstance(await worker.invoke(invocation()), expected)


async def test_a_call_ends_whatever_becomes_of_its_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    function = bench.python("def handler(event, context):\n    print('said', end='')\n    return 1\n")
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    monkeypatch.setattr(bench.lines, "write", Mock(side_effect=RuntimeError("no room for it")))
    with anyio.fail_after(30):
        outcome = await bench.call(function)
    assert isinstance(outcome, Returned)
    assert "no room for it" in told


async def test_one_invocation_at_a_time(bench: Bench) -> None:
    function = bench.python("import time\ndef handler(e, c): time.sleep(0.3)\n")
    async with bench.worker(function) as worker, anyio.create_task_group() as tasks:
        tasks.start_soon(worker.invoke, invocation())
        await anyio.sleep(0)
        await anyio.sleep(0)
        with pytest.raises(RuntimeError, match="one invocation at a time"):
            await worker.invoke(invocation())


async def test_many_workers_serve_at_once(bench: Bench) -> None:
    function = bench.python("import time\ndef handler(e, c):\n    time.sleep(0.2)\n    return e\n")
    answers: list[bytes] = []

    async def one(number: int) -> None:
        answers.append((await bench.call(function, number)).payload)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(one, number)
    assert sorted(answers) == [b"%d" % n for n in range(8)]


async def test_a_wall_clock_that_jumps_cuts_no_call(bench: Bench) -> None:
    function = bench.python("def handler(e, c): return c.get_remaining_time_in_millis()", timeout=10_000)
    outcome = await bench.call(function, deadline=1)
    assert 0 < json.loads(outcome.payload) <= 10_000
