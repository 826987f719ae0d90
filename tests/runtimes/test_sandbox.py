"""A handler sees its own sandbox and nothing else, whoever started the hub."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import anyio
import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Raised, Returned, TimedOut
from triggerhub.policy.sandbox.levels import Ability, Lack, Refusal
from triggerhub.runtimes import memory, probe
from triggerhub.runtimes.launch import BOOTSTRAP, Launcher
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.sandbox import Planner
from triggerhub.runtimes.uids import Uids
from triggerhub.settings import MB, Needs, Secret

from .conftest import Bench, invocation, living, until

ROOT = Path(__file__).parents[2]
GUARD = 60
LAUNCHER = ROOT / "triggerhub" / "runtimes" / "launcher" / "main.py"
REFUSED = Path(__file__).parent / "refused.py"


async def seen(bench: Bench, expression: str, **settings: object) -> object:
    """Return what a handler's expression comes to."""
    function = bench.python(f"import os\ndef handler(e, c): return {expression}", **settings)
    outcome = await bench.call(function)
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


async def test_it_is_nobody_and_can_become_nobody_else(bench: Bench) -> None:
    text = await seen(bench, "open('/proc/self/status').read()")
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1000"] * 4
    assert status["Groups"].split() in ([], ["1000"])
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


async def test_its_uid_on_the_host_is_never_roots(bench: Bench) -> None:
    async with bench.worker(bench.python("def handler(e, c): return e")) as worker:
        await worker.invoke(invocation())
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in memory.family(worker.pid)}
        lines = [Path(f"/proc/{pid}/status").read_text().split("Uid:\t")[1] for pid in memory.family(worker.pid)]
    real = {int(line.split()[0]) for line in lines}
    assert 0 not in real
    assert len(real) == 1
    assert real.pop() >= 400_000 or os.getuid() != 0
    assert owners


async def test_what_it_sees_of_the_host_is_named(bench: Bench) -> None:
    (bench.root / "secret").write_text("of the hub")
    found = await seen(
        bench,
        f"""[sorted(os.listdir("/")), os.path.exists({str(bench.root)!r}), os.path.exists("/etc/shadow"),
        [p for p in os.listdir("/proc") if p.isdigit()], os.listdir("/tmp"), os.listdir("/home") if os.path.exists("/home") else [],
        os.getcwd(), sorted(os.listdir("."))]""",
    )
    assert not {"home", "srv", "opt", "mnt", "sys", "boot", "run"} & set(found[0])
    assert found[1:6] == [False, False, ["2"], [name for name in found[4] if name in str(sys.prefix)], []]
    assert found[6:] == ["/var/task", ["app.py"]]


async def test_nothing_can_be_written_but_its_own_scratch(bench: Bench) -> None:
    refused = await seen(
        bench,
        """[type(error).__name__ for error in map(attempt, ["/x", "/var/task/x", "/usr/x", "/etc/x", "/dev/x", "/proc/sys/kernel/x"])]
def attempt(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error
open("/tmp/x", "w").write("x"); open("/dev/shm/x", "w").write("x"); open("/var/tmp/y", "w").write("y")""",
    )
    assert set(refused) <= {"OSError", "PermissionError", "FileNotFoundError"}
    assert len(refused) == 6


async def test_its_scratch_is_bounded_in_bytes_and_in_files(bench: Bench) -> None:
    function = bench.python(
        """
        def handler(event, context):
            if event == "bytes":
                with open("/tmp/big", "wb") as file:
                    for _ in range(64): file.write(bytes(1 << 20))
            for number in range(100_000): open(f"/tmp/{number}", "w").close()
        """,
        tmp=16 * MB,
    )
    for event in ("bytes", "files"):
        outcome = await bench.call(function, event)
        assert isinstance(outcome, Raised)
        assert "No space left on device" in outcome.fault.message


async def test_paths_that_are_granted_are_seen_at_their_own_place(bench: Bench) -> None:
    read, write = bench.root / "in", bench.root / "out"
    read.mkdir()
    write.mkdir(mode=0o777)
    write.chmod(0o777)
    (read / "a").write_text("hello")
    for path in (*bench.root.parents, bench.root):
        if path.stat().st_uid or path.stat().st_mode & 0o005:
            continue
    function = bench.python(
        f"""
        def handler(event, context):
            text = open({str(read / "a")!r}).read()
            open({str(write / "b")!r}, "w").write(text)
            try:
                open({str(read / "c")!r}, "w")
            except OSError as error:
                return error.strerror
        """,
        read=(read,),
        write=(write,),
    )
    assert json.loads((await bench.call(function)).payload) == "Read-only file system"
    assert (write / "b").read_text() == "hello"
    with pytest.raises(StartFailed, match=f"there is no {bench.root}/nowhere"):
        await bench.call(bench.python("", read=(bench.root / "nowhere",)))


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_no_program_that_runs_as_its_owner_is_left_in_a_granted_folder(bench: Bench, level: str) -> None:
    code = """
        import os, shutil
        def handler(folder, context):
            made = os.path.join(folder, "sh")
            shutil.copy("/bin/true", made)
            os.chmod(made, 0o1755)
            try:
                os.chmod(made, 0o4755)
            except OSError as error:
                return str(error)
    """
    work = bench.root / "work"
    work.mkdir()
    work.chmod(0o777)
    granted = {} if level == "trusted" else {"write": (work,)}
    outcome = await bench.call(bench.python(code, level=level, **granted), str(work))
    assert isinstance(outcome, Returned), outcome
    mode = (work / "sh").stat().st_mode & 0o7777
    if level == "trusted":
        assert (outcome.payload, mode) == (b"null", 0o4755)
    else:
        assert json.loads(outcome.payload) == f"[Errno 1] Operation not permitted: '{work}/sh'"
        assert mode == 0o1755


async def test_the_hubs_data_is_not_seen_in_a_folder_that_is_shown(bench: Bench) -> None:
    data, packages = bench.root / "data", bench.root / "data" / "environments" / "x"
    packages.mkdir(parents=True)
    (packages / "brought.py").touch()
    (data / "hub.db").write_text("of the hub")
    (bench.root / "letter").write_text("hello")
    bench.root.chmod(0o755)
    function = bench.python(
        f"""
        import os
        def handler(event, context):
            assert open({str(bench.root / "letter")!r}).read() == "hello"
            try:
                open({str(data / "x")!r}, "w")
            except OSError as error:
                return [os.listdir({str(data)!r}), os.listdir({str(packages)!r}), error.strerror]
        """,
        shown=(bench.root,),
        needs=Needs(kind="python", folder=packages),
    )
    async with bench.runtime(data=data).start(function) as worker:
        outcome = await worker.invoke(invocation(function=function))
    assert isinstance(outcome, Returned), outcome
    assert json.loads(outcome.payload) == [["environments"], ["brought.py"], "Read-only file system"]


async def test_its_network_is_its_own(bench: Bench) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
            import socket
            def handler(event, context):
                own = socket.create_server(("127.0.0.1", 0))
                socket.create_connection(own.getsockname()).close()
                try:
                    socket.create_connection(("127.0.0.1", {port}), 2).close()
                    return "reached"
                except OSError as error:
                    return error.strerror
        """
        assert json.loads((await bench.call(bench.python(code))).payload) == "Connection refused"
        assert json.loads((await bench.call(bench.python(code, network="host"))).payload) == "reached"


async def test_a_timeout_ends_all_that_it_started_however_it_hid(bench: Bench) -> None:
    function = bench.python(
        """
        import os, time
        def handler(event, context):
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork():
                        os._exit(0)
                    time.sleep(300)
            time.sleep(300)
        """,
        timeout=700,
    )
    async with bench.worker(function) as worker:
        async with anyio.create_task_group() as tasks:
            outcomes = []

            async def call() -> None:
                outcomes.append(await worker.invoke(invocation()))

            tasks.start_soon(call)
            with anyio.fail_after(20):
                while len(family := memory.family(worker.pid)) < 7:
                    await anyio.sleep(0.01)
        assert isinstance(outcomes[0], TimedOut)
    assert not any(map(living, family))


@pytest.mark.parametrize("runtime", ["python", "node", "executable"])
async def test_the_environment_is_clean(bench: Bench, monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    monkeypatch.setenv("HUB_SECRET", "x")
    match runtime:
        case "python":
            function = bench.python("import os\ndef handler(e, c): return dict(os.environ)", env={"TOKEN": Secret("t")})
        case "node":
            function = bench.node("export const handler = async () => process.env", env={"TOKEN": Secret("t")})
        case _:
            code = f"#!{sys.executable} -I\nimport json, os\nprint(json.dumps(dict(os.environ)))\n"
            function = bench.program(code, env={"TOKEN": Secret("t")})
    env = json.loads((await bench.call(function)).payload)
    assert "HUB_SECRET" not in env
    assert env["TOKEN"] == "t"
    assert (env["LAMBDA_TASK_ROOT"], env["LAMBDA_RUNTIME_DIR"], env["TMPDIR"]) == ("/var/task", "/var/runtime", "/tmp")


async def test_no_secret_of_another_function_is_in_its_memory(bench: Bench) -> None:
    mark = "of-another-function-" + os.urandom(8).hex()
    await bench.call(bench.python("def handler(e, c): return e", env={"TOKEN": Secret(mark)}), mark)
    half = len(mark) // 2
    function = bench.python(
        f"""
        def handler(event, context):
            wanted, found = ({mark[:half]!r} + {mark[half:]!r}).encode(), 0
            with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
                for line in maps:
                    span, rights = line.split()[:2]
                    if "r" not in rights or "[v" in line: continue
                    start, end = (int(one, 16) for one in span.split("-"))
                    memory.seek(start)
                    try:
                        content = memory.read(end - start)
                    except OSError:
                        continue
                    found += content.count(wanted)
            return found
        """
    )
    # What is found is its own: the joined text and copies of it.
    plain = json.loads((await bench.call(function)).payload)
    assert plain <= 4


async def test_the_memory_of_the_tree_is_bounded(bench: Bench) -> None:
    function = bench.python(
        """
        import os, time
        def handler(event, context):
            for _ in range(3):
                if os.fork() == 0: break
            kept = bytearray(os.urandom(1 << 20) * 90)
            time.sleep(300)
        """,
        memory=128 * MB,
    )
    outcome = await bench.call(function)
    assert isinstance(outcome, Crashed)
    assert outcome.fault.type == "Runtime.OutOfMemory"


def test_a_launcher_whose_hub_is_killed_ends_without_a_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-I", "-B", str(LAUNCHER), str(theirs.fileno()), str(BOOTSTRAP)]
    with theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE) as process:
        theirs.close()
        with ours:
            ours.settimeout(GUARD)
            ours.recv(1, socket.MSG_PEEK)  # what it tells is left unread, as a killed hub leaves it
        assert process.communicate(timeout=GUARD) == (None, b"")
    assert process.returncode == 0


async def test_a_launcher_that_is_killed_takes_its_sandboxes_along_and_is_replaced(bench: Bench) -> None:
    launcher = Launcher()
    function = bench.python("import time\ndef handler(e, c):\n    if e: time.sleep(300)\n    return 'there'\n")
    async with launcher.held(), bench.runtime(launcher=launcher).start(function) as worker:
        family, first = memory.family(worker.pid), launcher.pid
        assert len(family) == 2
        async with anyio.create_task_group() as tasks:
            outcomes = []

            async def call() -> None:
                outcomes.append(await worker.invoke(invocation(1)))

            tasks.start_soon(call)
            await anyio.sleep(0.05)
            os.kill(first, signal.SIGKILL)
        assert isinstance(outcomes[0], Crashed)
        assert "launcher" in outcomes[0].fault.message
        assert not any(map(living, family))
        started = time.monotonic()
        async with bench.runtime(launcher=launcher).start(function) as another:
            assert (await another.invoke(invocation(0))).payload == b'"there"'
        assert launcher.pid != first
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("runtime", ["python", "executable"])
def test_no_sandbox_outlives_a_hub_that_was_killed(bench: Bench, runtime: str) -> None:
    if runtime == "python":
        # The worst case: the interpreter's lock is held, so no thread of the worker's could act.
        function = bench.python("""
            import os, re, time
            def handler(event, context):
                if os.fork() == 0:
                    os.setsid(); time.sleep(300)
                print("in it", flush=True)
                re.match(r"(a+)+$", "a" * 60 + "b")
        """)
    else:
        function = bench.program("#!/bin/sh\nsetsid sleep 300 &\necho in it >&2\nwhile :; do :; done\n")
    hub = bench.root / "hub.py"
    hub.write_text(
        dedent(f"""
        import asyncio
        from pathlib import Path
        from triggerhub.model import Invocation
        from triggerhub.runtimes.process import ProcessRuntime
        from triggerhub.settings import Function

        class Print:
            def write(self, function, request_id, stream, text):
                print(worker.pid, flush=True)

        async def main():
            global worker
            function = Function(name="f", runtime={function.runtime!r}, handler="app.", code=Path({str(bench.code)!r}),
                                command={function.command!r}, timeout=120_000)
            async with ProcessRuntime(Print(), Path({str(bench.scratch)!r})).start(function) as worker:
                await worker.invoke(Invocation(request_id="r", function="f", payload=b"1", deadline=0, arn=""))

        asyncio.run(main())
    """)
    )
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, hub], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        try:
            pid = int(process.stdout.readline())
            family = until(lambda: len(found := memory.family(pid)) >= 3 and found, "all its processes")
        finally:
            process.kill()
    until(lambda: not any(map(living, family)), "the end of them all")


async def test_all_who_wait_for_what_the_host_gives_hear_of_it(bench: Bench) -> None:
    launcher = Launcher()
    async with launcher.held():
        runtime = bench.runtime(launcher=launcher)
        function = bench.python("def handler(e, c): return e")
        answers = []

        async def one() -> None:
            async with runtime.start(function) as worker:
                answers.append((await worker.invoke(invocation(1))).payload)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
    assert answers == [b"1"] * 3


async def test_a_level_that_the_host_cannot_give_is_not_run_and_says_what_to_do(bench: Bench) -> None:
    launcher = Launcher()
    lack = Lack(found="no control groups", remedy="systemd-run --user --scope -p Delegate=yes triggerhub run")
    async with launcher.held():
        launcher.findings = Findings(lacks={Ability.GROUPS: lack})
        runtime = bench.runtime(launcher=launcher)
        held = bench.python("def handler(e, c): return e", level="contained")
        with pytest.raises(
            StartFailed, match='cannot give the level "contained": no control groups; systemd-run'
        ) as caught:
            async with runtime.start(held):
                pass
        assert caught.value.type == "Sandbox.Failure"
        assert isinstance(runtime.level(held), Refusal)
        soft = bench.python("def handler(e, c): return e")
        async with runtime.start(soft) as worker:
            assert (await worker.invoke(invocation(1))).payload == b"1"
        assert runtime.level(soft) == "isolated"


async def test_a_host_that_lacks_something_is_looked_at_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerhub.runtimes.levels.AGAIN", 0.01)
    lack = Lack(found="no namespaces", remedy="allow them")
    found = [Findings(lacks={Ability.SANDBOX: lack}), Findings(lacks={Ability.SANDBOX: lack}), Findings()]
    seen: list[object] = []

    async def look(launcher: Launcher, planner: object) -> Findings:
        return found.pop(0)

    monkeypatch.setattr("triggerhub.runtimes.probe.look", look)
    function = bench.python("def handler(e, c): return e")
    runtime = bench.runtime(launcher=Launcher(), found=lambda: seen.append(runtime.level(function)))
    async with runtime.levels.looked_at(lambda: [function]):
        with anyio.fail_after(20):
            while len(seen) < 3:
                await anyio.sleep(0.01)
        await anyio.sleep(0.05)
    assert [isinstance(level, Refusal) for level in seen] == [True, True, False]
    assert not found


async def test_where_no_sandbox_can_be_made_it_is_said_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a host does whose users may make no namespaces: the filter is the launcher's own, before it starts.
    monkeypatch.setattr("triggerhub.runtimes.launch._MAIN", REFUSED)
    launcher = Launcher()
    async with launcher.held():
        found = await probe.look(launcher, Planner())
        assert "clone: Operation not permitted" in found.lacks[Ability.SANDBOX].found
        with pytest.raises(StartFailed, match=r'choose the level ("confined" or )?"trusted"'):
            async with bench.runtime(launcher=launcher).start(bench.python("")):
                pass


async def test_what_a_host_can_give_does_not_depend_on_the_file_of_uids(bench: Bench) -> None:
    path = bench.root / "uids"
    planner = Planner(uids=Uids(path))
    path.mkdir()  # which takes no line, whoever writes it
    launcher = Launcher()
    async with launcher.held():
        found = await probe.look(launcher, planner)
    assert "uids" not in str(found.lacks)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user makes the user namespace first")
async def test_a_worker_that_gets_no_user_namespace_says_so_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.launch._MAIN", REFUSED.with_name("refused_later.py"))
    # What waits for a word that never comes is killed after the time to start, and says nothing.
    monkeypatch.setattr("triggerhub.runtimes.held.INIT_LIMIT", 600.0)
    launcher = Launcher()
    with anyio.fail_after(60):
        async with launcher.held():
            found = await probe.look(launcher, Planner())
    assert "No space left on device" in found.lacks[Ability.SANDBOX].found


async def test_many_sandboxes_at_once_keep_their_descriptors_apart(bench: Bench) -> None:
    function = bench.python("def handler(e, c): return e")
    answers: list[bytes] = []
    ready, full = 0, anyio.Event()

    async def one(number: int) -> None:
        nonlocal ready
        async with bench.worker(function) as worker:
            ready += 1
            if ready == 45:
                full.set()
            await full.wait()
            answers.append((await worker.invoke(invocation(number))).payload)

    async with anyio.create_task_group() as tasks:
        for number in range(45):
            tasks.start_soon(one, number)
    assert sorted(answers, key=int) == [b"%d" % number for number in range(45)]
