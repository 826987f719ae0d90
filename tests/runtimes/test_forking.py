"""With reuse = "fork" nothing of one event is left for the next, and what was imported is there for all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import anyio
import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Raised, Returned, TimedOut
from triggerhub.runtimes import memory
from triggerhub.settings import MB

from .conftest import Bench, invocation, living, until

FORK = {"reuse": "fork"}


@pytest.fixture(params=["isolated", "trusted"])
def any_bench(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    bench.level = request.param
    return bench


async def answers(bench: Bench, function, count: int = 3, event=None) -> list:
    async with bench.worker(function) as worker:
        outcomes = [await worker.invoke(invocation(event, request_id=f"r{n}", function=function)) for n in range(count)]
        assert worker.alive
    assert all(isinstance(outcome, Returned) for outcome in outcomes), outcomes
    return [json.loads(outcome.payload) for outcome in outcomes]


async def test_globals_do_not_leak_and_imports_are_paid_once(any_bench: Bench) -> None:
    function = any_bench.python(
        """
        import os, sys
        print("loaded")
        loader, seen = os.getpid(), []
        def handler(event, context):
            seen.append(1)
            fresh = "colorsys" not in sys.modules
            import colorsys
            os.environ["LEAK"] = os.environ.get("LEAK", "") + "x"
            return [len(seen), fresh, os.environ["LEAK"], os.getpid() != loader, os.getppid() == loader]
        """,
        **FORK,
    )
    assert await answers(any_bench, function) == [[1, True, "x", True, True]] * 3
    assert [text for _, _, text in any_bench.lines.all].count("loaded") == 1


async def test_random_numbers_differ_from_event_to_event(bench: Bench) -> None:
    function = bench.python(
        """
        import random, secrets, uuid, tempfile
        random.seed(1)
        def handler(event, context):
            return [random.random(), secrets.token_hex(8), str(uuid.uuid4()), tempfile.mktemp()]
        """,
        **FORK,
    )
    numbers = await answers(bench, function, 4)
    assert all(len(set(column)) == 4 for column in zip(*numbers, strict=True)), numbers


async def test_async_handlers_and_large_events_and_answers_pass(bench: Bench) -> None:
    function = bench.python(
        """
        import asyncio
        async def handler(event, context):
            await asyncio.sleep(0)
            return event
        """,
        **FORK,
    )
    large = "x" * 5_000_000
    assert await answers(bench, function, 2, large) == [large, large]


async def test_an_error_is_the_events_own(any_bench: Bench) -> None:
    function = any_bench.python("def handler(e, c):\n    raise ValueError('no')\n", **FORK)
    async with any_bench.worker(function) as worker:
        for number in range(2):
            outcome = await worker.invoke(invocation(request_id=f"r{number}"))
            assert isinstance(outcome, Raised)
            assert outcome.fault.type == "ValueError"
            trace = json.loads(outcome.payload)["stackTrace"]
            assert len(trace) == 1
            assert "app.py" in trace[0]
        assert worker.alive


@pytest.mark.parametrize(
    ("code", "says"),
    [
        pytest.param("os._exit(7)", "exit status 7", id="exit"),
        pytest.param("raise SystemExit(9)", "exit status 9", id="SystemExit"),
        pytest.param("os._exit(0)", "without providing a reason", id="exit 0"),
        pytest.param("os.kill(os.getpid(), 9)", "signal: killed", id="killed"),
        pytest.param("os.kill(os.getpid(), 11)", "signal: segmentation fault", id="crash"),
        pytest.param("os.closerange(3, 64)", "exit status 1", id="closed descriptors"),
        pytest.param("os.write(3, b'TH'); os._exit(0)", "without providing a reason", id="half a frame"),
        pytest.param(
            "subprocess.Popen(['sleep', '60'], close_fds=False, pass_fds=[3]); os._exit(5)", "exit status 5",
            id="the pipe is held",
        ),
    ],
)  # fmt: skip
async def test_the_death_of_one_event_is_nobody_elses(any_bench: Bench, code: str, says: str) -> None:
    function = any_bench.python(
        f"""
        import os, subprocess
        def handler(event, context):
            if event == "die":
                print("last words")
                {code}
            return "ok"
        """,
        **FORK,
    )
    async with any_bench.worker(function) as worker:
        outcome = await worker.invoke(invocation("die", request_id="r1"))
        assert isinstance(outcome, Crashed), outcome
        assert outcome.fault.type == "Runtime.ExitError"
        assert outcome.fault.message == f"RequestId: r1 Error: Runtime exited with{_rest(says)}"
        outcome = await worker.invoke(invocation("live", request_id="r2"))
        assert isinstance(outcome, Returned)
        assert worker.alive
    assert "last words" in any_bench.lines.of("r1")


def _rest(says: str) -> str:
    return says.removeprefix("with") if says.startswith("without") else f" error: {says}"


@pytest.mark.parametrize("detach", ["", "os.setsid(); os.fork() and os._exit(0)"])
async def test_what_an_event_left_running_is_gone_before_it_is_answered(any_bench: Bench, detach: str) -> None:
    function = any_bench.python(
        f"""
        import os, time
        def handler(event, context):
            found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            reading, writing = os.pipe()
            if not os.fork():
                {detach or "pass"}
                os.write(writing, b"%d" % os.getpid())
                time.sleep(600)
                os._exit(0)
            return [int(os.read(reading, 16)), found]
        """,
        **FORK,
    )
    async with any_bench.worker(function) as worker:
        left = []
        for number in range(3):
            outcome = await worker.invoke(invocation(request_id=f"r{number}"))
            assert isinstance(outcome, Returned)
            pid, found = json.loads(outcome.payload)
            assert not left or left[-1] not in found
            left.append(pid)
        assert worker.pid
        # Process 1 and the worker within a sandbox, the worker alone without one; who waits for an event goes soon.
        alone = 1 if any_bench.level == "trusted" else 2
        until(lambda: len(memory.family(worker.pid)) == alone, "nothing is left but the worker")


@pytest.mark.parametrize("size", [1, 100])
async def test_what_an_event_held_is_free_for_the_next(bench: Bench, size: int) -> None:
    function = bench.python(
        """
        import fcntl, socket
        def handler(event, context):
            global held
            listening, lock = socket.socket(), open("/tmp/lock", "w")
            listening.bind(("127.0.0.1", 8099))
            listening.listen()
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = listening, lock, b"x" * event
            return "free"
        """,
        reuse="fork",
        memory=512 * MB,
    )
    async with bench.worker(function) as worker:
        for _ in range(12):
            outcome = await worker.invoke(invocation(size * MB, function=function))
            assert isinstance(outcome, Returned), outcome


async def test_what_was_started_while_the_code_was_loaded_stays(bench: Bench) -> None:
    function = bench.python(
        """
        import os, subprocess
        helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        def handler(event, context):
            subprocess.Popen(["sleep", "60"])
            helper.stdin.write(b"hello\\n")
            return helper.stdout.readline().decode()
        """,
        **FORK,
    )
    assert await answers(bench, function) == ["hello\n"] * 3


async def test_a_child_reads_no_event_but_its_own(bench: Bench) -> None:
    function = bench.python(
        """
        import os, stat
        def handler(event, context):
            return [one for one in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + one)
                    and stat.S_ISSOCK(os.stat("/proc/self/fd/" + one).st_mode)]
        """,
        **FORK,
    )
    assert await answers(bench, function, 2) == [[], []]


async def test_a_timeout_leaves_no_process(any_bench: Bench) -> None:
    function = any_bench.python(
        """
        import os, subprocess, time
        def handler(event, context):
            subprocess.Popen(["sleep", "600"])
            print(os.getpid(), flush=True)
            time.sleep(600)
        """,
        timeout=1000,
        **FORK,
    )
    async with any_bench.worker(function) as worker:
        seen: list[int] = []
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                with anyio.fail_after(20):
                    while len(seen) < 3:
                        seen[:] = memory.family(worker.pid) if worker.pid else seen
                        await anyio.sleep(0.01)

            tasks.start_soon(look)
            outcome = await worker.invoke(invocation(function=function))
        assert isinstance(outcome, TimedOut), outcome
    until(lambda: not [pid for pid in seen if living(pid)], "every process is gone")


async def test_memory_is_that_of_the_event(bench: Bench) -> None:
    function = bench.python(
        """
        shared = bytearray(40 << 20)
        def handler(event, context):
            held = bytearray(event << 20)
            return len(held)
        """,
        memory=256 * MB,
        **FORK,
    )
    async with bench.worker(function) as worker:
        used = []
        for number, size in enumerate((100, 1)):
            outcome = await worker.invoke(invocation(size, request_id=f"r{number}"))
            assert outcome.usage.memory is not None
            used.append(outcome.usage.memory)
    assert 140 * MB < used[0] < 190 * MB
    assert 40 * MB < used[1] < 90 * MB


async def test_threads_at_import_are_refused_by_name(bench: Bench) -> None:
    function = bench.python(
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(600,), name="flusher", daemon=True).start()
        def handler(event, context): pass
        """,
        **FORK,
    )
    with pytest.raises(StartFailed) as caught:
        await bench.call(function)
    assert caught.value.type == "Runtime.ForkError"
    assert "(flusher)" in caught.value.message
    assert 'reuse = "warm"' in caught.value.message


async def test_threads_of_a_handler_end_with_its_event(bench: Bench) -> None:
    function = bench.python(
        """
        import threading, time
        def handler(event, context):
            threading.Thread(target=time.sleep, args=(600,)).start()
            return threading.active_count()
        """,
        **FORK,
    )
    assert await answers(bench, function) == [2, 2, 2]


HOOKS = """
    import os
    from snapshot_restore_py import register_before_snapshot, register_after_restore
    done = []
    register_before_snapshot(done.append, "before 1")
    @register_before_snapshot
    def second(): done.append("before 2")
    register_after_restore(done.append, "after 1")
    @register_after_restore
    def then(): done.append("after 2")
    def handler(event, context):
        return [done, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
"""


async def test_hooks_run_in_lambdas_order(bench: Bench) -> None:
    found = await answers(bench, bench.python(HOOKS, **FORK), 2)
    assert found == [[["before 2", "before 1", "after 1", "after 2"], "snap-start"]] * 2


async def test_hooks_that_the_function_brings_itself_are_found_first(bench: Bench) -> None:
    bench.file(
        "snapshot_restore_py.py",
        """
        before, after = [], []
        def register_before_snapshot(func, *args, **kwargs): before.append((func, args, kwargs))
        def register_after_restore(func, *args, **kwargs): after.append((func, args, kwargs))
        def get_before_snapshot(): return before
        def get_after_restore(): return after
        """,
    )
    function = bench.python(
        """
        import snapshot_restore_py as hooks
        done = []
        hooks.register_before_snapshot(done.append, "before")
        hooks.register_after_restore(done.append, "after")
        def handler(event, context): return [hooks.__file__, done]
        """,
        **FORK,
    )
    assert await answers(bench, function, 2) == [["/var/task/snapshot_restore_py.py", ["before", "after"]]] * 2


@pytest.mark.parametrize("reuse", ["warm", "fresh"])
async def test_hooks_do_not_run_without_a_snapshot(bench: Bench, reuse: str) -> None:
    assert await answers(bench, bench.python(HOOKS, reuse=reuse), 2) == [[[], "on-demand"]] * 2


async def test_a_hook_before_the_snapshot_that_fails_is_named(bench: Bench) -> None:
    function = bench.python(
        """
        from snapshot_restore_py import register_before_snapshot
        @register_before_snapshot
        def prime(): raise OSError("nobody there")
        def handler(event, context): pass
        """,
        **FORK,
    )
    with pytest.raises(StartFailed) as caught:
        await bench.call(function)
    assert caught.value.type == "Runtime.BeforeSnapshotError"
    assert caught.value.message == "the before-snapshot hook prime failed: OSError: nobody there"
    assert "app.py" in json.loads(caught.value.payload)["stackTrace"][0]


async def test_a_hook_after_the_restore_that_fails_is_the_events_error(bench: Bench) -> None:
    function = bench.python(
        """
        from snapshot_restore_py import register_after_restore
        @register_after_restore
        def connect(): raise SystemExit(3)
        def handler(event, context): pass
        """,
        **FORK,
    )
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Raised), outcome
        assert outcome.fault.type == "Runtime.AfterRestoreError"
        assert outcome.fault.message == "the after-restore hook connect failed: SystemExit: 3"
        assert worker.alive


async def test_the_code_may_do_with_its_children_what_it_likes(bench: Bench) -> None:
    function = bench.python(
        """
        import os, signal, subprocess
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        def handler(event, context):
            return [signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN, os.getpgid(0) > 0]
        """,
        **FORK,
    )
    assert await answers(bench, function) == [[True, True]] * 3


async def test_a_fork_that_is_refused_is_the_events_error(bench: Bench) -> None:
    function = bench.python(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        def handler(event, context): pass
        """,
        **FORK,
    )
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Raised), outcome
        assert outcome.fault.type == "Runtime.ForkError"
        assert worker.alive


async def test_other_pythons_fork_as_well(bench: Bench) -> None:
    bench.file("wrapper", '#!/bin/sh\nexec "$@"\n', 0o755)
    function = bench.python(
        "import os\nseen = []\ndef handler(e, c):\n    seen.append(1)\n    return seen\n",
        env={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"},
        **FORK,
    )
    assert await answers(bench, function) == [[1]] * 3


@pytest.mark.parametrize("runtime", ["node", "provided"])
async def test_what_is_not_python_is_not_forked(bench: Bench, runtime: str) -> None:
    function = bench.function(runtime, command=("/var/task/bootstrap",), handler="app.", **FORK)
    with pytest.raises(StartFailed) as caught:
        await bench.call(function)
    assert 'reuse = "fork" is for Python' in caught.value.message


async def test_descriptors_do_not_leak(bench: Bench) -> None:
    function = bench.python("import os\ndef handler(e, c):\n    return len(os.listdir('/proc/self/fd'))\n", **FORK)
    counts = await answers(bench, function, 50)
    assert len(set(counts)) == 1, counts


async def test_an_idle_worker_that_forks_holds_little_more(bench: Bench) -> None:
    held = {}
    for reuse in ("warm", "fork"):
        async with bench.worker(bench.python("def handler(e, c): pass\n", reuse=reuse)) as worker:
            for number in range(3):
                await worker.invoke(invocation(request_id=f"r{number}"))
            assert worker.pid
            # Who waits for an event is let go of first.
            until(lambda: len(memory.family(worker.pid)) == 2, "nothing is left but the worker")
            held[reuse] = memory.held(memory.family(worker.pid))
    assert held["fork"] < held["warm"] + 2 * MB


async def test_a_call_that_is_killed_over_its_memory_is_called_so(bench: Bench) -> None:
    bench.level = "contained"
    findings = await bench.runtime().levels.findings()
    if findings.groups is None:
        pytest.skip("this host has no control groups to give")
    function = bench.python(
        "def handler(event, context):\n    return len(bytearray(event << 20))\n", memory=128 * MB, tmp=MB, **FORK
    )
    async with bench.worker(function) as worker:
        assert isinstance(await worker.invoke(invocation(1, request_id="r1")), Returned)
        outcome = await worker.invoke(invocation(600, request_id="r2"))
        assert isinstance(outcome, Crashed), outcome
        assert outcome.fault.type == "Runtime.OutOfMemory"
        assert not worker.alive


async def test_an_answer_that_is_none_ends_the_worker(bench: Bench) -> None:
    function = bench.python("import os\ndef handler(e, c):\n    os.write(3, b'nonsense, and more of it')\n", **FORK)
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Crashed), outcome
        assert "Runtime broke its protocol" in outcome.fault.message
        assert not worker.alive


async def test_a_warm_worker_cannot_say_that_a_fork_of_it_ended(bench: Bench) -> None:
    function = bench.python("""
        import os, struct
        def handler(event, context):
            header = b'{"id":"r1","status":"3"}'
            os.write(3, struct.pack(">2sBBII", b"TH", 6, 0, len(header), 0) + header)
    """)
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Crashed), outcome
        assert "expected an answer, got a EXITED frame" in outcome.fault.message


@pytest.mark.parametrize(
    "header", ['{"id":"r1"}', '{"id":"r1","status":"x"}', '{"id":"r1","status":"1e3"}', '{"id":"r1","status":"-"}']
)
async def test_an_exit_status_that_is_none_ends_the_worker(bench: Bench, header: str) -> None:
    function = bench.python(
        f"""
        import os, struct
        def handler(event, context):
            header = {header!r}.encode()
            os.write(3, struct.pack(">2sBBII", b"TH", 6, 0, len(header), 0) + header)
            os._exit(0)
        """,
        **FORK,
    )
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Crashed), outcome
        assert "expected an exit status, got" in outcome.fault.message


PID = "import os\ndef handler(event, context): return os.getpid()\n"


async def ahead(bench: Bench, worker) -> int:
    """Have one event answered, and return who waits for the next."""
    assert isinstance(await worker.invoke(invocation(request_id="first")), Returned)
    alone = 1 if bench.level == "trusted" else 2
    waiting: list[int] = until(
        lambda: [pid for pid in memory.family(worker.pid)[alone:] if sleeps(pid)], "somebody waits"
    )
    assert len(waiting) == 1
    return waiting[0]


def sleeps(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return False


async def test_who_waits_for_an_event_is_its_process(bench: Bench) -> None:
    bench.level = "trusted"
    function = bench.python(PID, **FORK)
    async with bench.worker(function) as worker:
        waits = await ahead(bench, worker)
        outcome = await worker.invoke(invocation(request_id="second"))
        assert isinstance(outcome, Returned)
        assert json.loads(outcome.payload) == waits


async def test_who_waits_is_let_go_when_no_event_comes(any_bench: Bench) -> None:
    async with any_bench.worker(any_bench.python(PID, **FORK)) as worker:
        waits = await ahead(any_bench, worker)
        until(lambda: not os.path.exists(f"/proc/{waits}"), "it is gone")
        assert isinstance(await worker.invoke(invocation(request_id="second")), Returned)


@pytest.mark.parametrize("action", ["SIG_DFL", "SIG_IGN"])
async def test_another_takes_the_place_of_who_waited_and_died(any_bench: Bench, action: str) -> None:
    function = any_bench.python(
        f"""
        import signal
        signal.signal(signal.SIGPIPE, signal.{action})
        def handler(event, context):
            return signal.getsignal(signal.SIGPIPE) == signal.{action}
        """,
        **FORK,
    )
    async with any_bench.worker(function) as worker:
        waits = await ahead(any_bench, worker)
        os.kill(waits, signal.SIGKILL)
        until(lambda: not living(waits), "it is dead")
        outcome = await worker.invoke(invocation(request_id="second"))
        assert isinstance(outcome, Returned), outcome
        assert outcome.payload == b"true"
        assert worker.alive


async def test_nobody_waits_who_an_event_could_reach(any_bench: Bench) -> None:
    function = any_bench.python(
        """
        import os, signal, time
        def state(pid):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    return file.read().rpartition(")")[2].split()[0]
            except OSError:
                return "X"
        def handler(event, context):
            end, found = time.monotonic() + 0.05, set()
            while time.monotonic() < end:
                with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as file:
                    found |= {pid for pid in map(int, file.read().split()) if pid != os.getpid()}
            found = [pid for pid in found if state(pid) not in "ZX"]
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            return found
        """,
        **FORK,
    )
    assert await answers(any_bench, function, 10) == [[]] * 10


async def test_a_worker_that_ends_takes_along_who_waits(any_bench: Bench) -> None:
    async with any_bench.worker(any_bench.python(PID, **FORK)) as worker:
        await ahead(any_bench, worker)
        family = memory.family(worker.pid)
    until(lambda: not [pid for pid in family if living(pid)], "every process is gone")


async def test_events_of_any_size_are_taken_in_any_order(any_bench: Bench) -> None:
    sizes = [10, 60_000, 10, 200_000, 300_000, 1_000_000, 10, 5_000_000, 10]
    function = any_bench.python("def handler(event, context): return [len(event), context.aws_request_id]\n", **FORK)
    async with any_bench.worker(function) as worker:
        for number, size in enumerate(sizes):
            outcome = await worker.invoke(invocation("x" * size, request_id=f"r{number}"))
            assert isinstance(outcome, Returned), outcome
            assert json.loads(outcome.payload) == [size, f"r{number}"]


async def test_a_hook_after_the_restore_is_run_once_the_event_is_there(bench: Bench) -> None:
    function = bench.python(
        """
        import os
        from snapshot_restore_py import register_after_restore
        traces = []
        @register_after_restore
        def trace(): traces.append(os.environ["_X_AMZN_TRACE_ID"])
        def handler(event, context): return traces == [os.environ["_X_AMZN_TRACE_ID"]] and traces[0]
        """,
        **FORK,
    )
    found = await answers(bench, function, 3)
    assert len(set(found)) == 3
    assert all(found)


async def test_the_timeout_of_an_event_that_was_waited_for_leaves_no_process(any_bench: Bench) -> None:
    function = any_bench.python(
        "import time\ndef handler(event, context): time.sleep(event or 0)\n", timeout=1000, **FORK
    )
    async with any_bench.worker(function) as worker:
        await ahead(any_bench, worker)
        family = memory.family(worker.pid)
        assert isinstance(await worker.invoke(invocation(600, function=function)), TimedOut)
    until(lambda: not [pid for pid in family if living(pid)], "every process is gone")


async def test_what_a_thread_of_an_event_started_is_gone_before_it_is_answered(any_bench: Bench) -> None:
    function = any_bench.python(
        """
        import os, subprocess, threading, time
        def handler(event, context):
            left = [name for name in os.listdir("/proc") if name.isdigit() and reads(name) == b"sleep\\0006007\\0"]
            started = threading.Event()
            def start():
                subprocess.Popen(["sleep", "6007"])
                started.set()
                time.sleep(600)
            threading.Thread(target=start, daemon=True).start()
            started.wait()
            return left
        def reads(name):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    return file.read()
            except OSError:
                return b""
        """,
        **FORK,
    )
    assert await answers(any_bench, function, 5) == [[]] * 5
