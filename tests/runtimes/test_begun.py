"""A sandbox is begun before anybody knows for whom: it is whoever's comes next, and it is as if it were not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from triggerhub.model import Returned
from triggerhub.runtimes import memory
from triggerhub.runtimes.launch import Launcher
from triggerhub.settings import Function

from .conftest import Bench, invocation, living, until

WHO = """
    import os, socket
    def handler(event, context):
        return [socket.gethostname(), sorted(os.listdir("/var/task")), os.listdir("/proc/self/fd")]
"""


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose launcher is nobody else's, and new."""
    (tmp_path / "code").mkdir()
    launcher = Launcher()
    async with launcher.held(start=True):
        await Bench(tmp_path, launcher).runtime().levels.findings()
        yield Bench(tmp_path, launcher)


@pytest.fixture(scope="module")
def own() -> Iterator[Launcher]:
    launcher = Launcher()
    launcher.open()
    yield launcher
    launcher.close()


@pytest.fixture
async def grown(own: Launcher, tmp_path: Path) -> Bench:
    """A bench whose launcher is no other module's, and has all that it ever imports."""
    (tmp_path / "code").mkdir()
    bench = Bench(tmp_path, own)
    await _grown(bench)
    return bench


async def _grown(bench: Bench) -> None:
    text = "import sys\nloaded = set(sys.modules)\ndef handler(event, context): return 'asyncio' in loaded"
    with anyio.fail_after(60):
        while not await call(bench, text):
            await anyio.sleep(0.1)


def waiting(launcher: Launcher) -> list[int]:
    """Return the launcher's children that are not there for a function."""
    assert launcher.pid is not None
    return [pid for pid in memory.family(launcher.pid) if _parent(pid) == launcher.pid]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


async def begun(launcher: Launcher, *others: int) -> int:
    """Wait until one waits, with its worker; return its process 1. *others* are there already."""
    with anyio.fail_after(20):
        while True:
            there = [pid for pid in waiting(launcher) if pid not in others]
            if len(there) == 1 and len(memory.family(there[0])) == 2:
                return there[0]
            await anyio.sleep(0.01)


async def call(bench: Bench, text: str = WHO, **settings: object) -> object:
    outcome = await bench.call(bench.python(text, **settings))
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


async def test_none_is_there_before_anything_is_called(alone: Bench) -> None:
    assert waiting(alone.launcher) == []
    await call(alone)
    await begun(alone.launcher)


async def test_the_next_worker_is_what_was_begun_and_another_is(grown: Bench) -> None:
    first = await call(grown, name="one")
    before = await begun(grown.launcher)
    function = grown.python(WHO, name="another")
    async with grown.worker(function) as worker:
        assert worker.pid == before
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Returned), outcome
        after = await begun(grown.launcher, before)
    # Nothing of how it came to be is to be seen, and its name is its own.
    assert [first[0], json.loads(outcome.payload)] == ["one", ["another", *first[1:]]]
    assert not living(before)
    assert living(after)


@pytest.mark.parametrize("reuse", ["warm", "fork", "fresh"])
async def test_it_is_any_function_s(grown: Bench, reuse: str) -> None:
    await call(grown)
    for _ in range(3):
        before = await begun(grown.launcher)
        assert await worker_of(grown, grown.python(WHO, reuse=reuse)) == before


async def test_it_is_node_s_and_a_program_s_as_well(grown: Bench) -> None:
    await call(grown)
    before = await begun(grown.launcher)
    assert await worker_of(grown, grown.node("export const handler = async () => 1")) == before
    before = await begun(grown.launcher)
    outcome = await grown.call(grown.program("#!/bin/sh\nreadlink /proc/self/ns/pid | sed 's/.*/\"&\"/'\n"))
    assert isinstance(outcome, Returned), outcome
    assert json.loads(outcome.payload) != os.readlink("/proc/self/ns/pid")
    assert not living(before)


async def worker_of(bench: Bench, function: Function) -> int | None:
    """Return the process 1 of the worker that answers a call."""
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation(function=function))
        assert isinstance(outcome, Returned), outcome
        pid: int | None = worker.pid
    return pid


async def test_one_that_is_stopped_ends_with_what_it_does_not_see(grown: Bench) -> None:
    await call(grown)
    pid = await begun(grown.launcher)
    os.kill(pid, signal.SIGSTOP)
    assert grown.launcher.pid is not None
    os.kill(grown.launcher.pid, signal.SIGKILL)
    with anyio.fail_after(20):
        while living(pid):
            await anyio.sleep(0.01)


async def test_one_that_was_killed_is_missed_by_nobody(grown: Bench) -> None:
    await call(grown)
    for _ in range(3):
        pid = await begun(grown.launcher)
        os.kill(pid, signal.SIGKILL)
        # Whether the launcher has heard of it already or not.
        until(lambda pid=pid: not living(pid), "it is gone")
        assert (await call(grown))[0] == "f"


async def test_one_whose_worker_was_killed_tells_of_it(grown: Bench) -> None:
    await call(grown)
    pid = await begun(grown.launcher)
    (worker,) = set(memory.family(pid)) - {pid}
    os.kill(worker, signal.SIGKILL)
    with anyio.fail_after(20):
        while living(pid):
            await anyio.sleep(0.01)
    assert (await call(grown))[0] == "f"


async def test_it_ends_with_the_launcher(grown: Bench) -> None:
    await call(grown)
    pid = await begun(grown.launcher)
    family = memory.family(pid)
    assert grown.launcher.pid is not None
    os.kill(grown.launcher.pid, signal.SIGKILL)
    with anyio.fail_after(20):
        while any(map(living, family)):
            await anyio.sleep(0.01)
    # And the next launcher knows that functions are called.
    await call(grown)
    await begun(grown.launcher)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
async def test_what_is_mounted_meanwhile_is_seen(grown: Bench) -> None:
    disk = grown.root / "disk"
    disk.mkdir()
    await call(grown)
    before = await begun(grown.launcher)
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    try:
        (disk / "file").write_text("here")
        text = f"def handler(event, context): return open({str(disk / 'file')!r}).read()"
        assert await call(grown, text, read=(disk,)) == "here"
        assert not living(before), "it would not have seen it"
        await begun(grown.launcher)
    finally:
        subprocess.run(["umount", disk], check=True)
    with anyio.fail_after(20):
        # It would keep the disk busy.
        while waiting(grown.launcher):
            await anyio.sleep(0.01)
    assert (await call(grown))[0] == "f"


async def test_one_that_knows_less_than_the_launcher_goes(alone: Bench) -> None:
    await call(alone)
    pid = await begun(alone.launcher)
    with anyio.fail_after(60):
        while living(pid):
            await anyio.sleep(0.1)
    await _grown(alone)
