"""The folders of control groups: a hub has its own, and they go with it, however it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from triggerhub.model import Returned
from triggerhub.policy.sandbox import shares
from triggerhub.runtimes import groups, memory
from triggerhub.runtimes.groups import Group, Groups, NoGroups
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.launcher import groups as launchers
from triggerhub.settings import MB

from .conftest import Bench, invocation

LIMIT = shares.limit(128 * MB, 0, 64)


@pytest.fixture
def held() -> Iterator[Groups]:
    try:
        found = Groups.find()
    except (NoGroups, OSError) as error:
        pytest.skip(str(error))
    if not groups.own():
        pytest.skip("control groups are of version 2 here, and their folder is who gave them's")
    yield found
    groups.leave()


def gone() -> int:
    """Return the number of a process that is no more."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def test_what_a_hub_left_that_is_gone_is_removed_at_the_next_start(held: Groups) -> None:
    pid = gone()
    stale = [folder.with_name(f"triggerhub-0-{pid}") for folder in groups.own()]
    living = [folder.with_name(f"triggerhub-0-{os.getppid()}") for folder in groups.own()]
    for folder in (*stale, *living):
        (folder / f"worker-{pid}-1").mkdir(parents=True)
    try:
        Groups.find()
        assert not any(folder.exists() for folder in stale)
        assert all(folder.exists() for folder in living), "another hub that runs keeps its own"
    finally:
        launchers.clear(map(str, (*stale, *living)), 1)
    assert not any(folder.exists() for folder in living)


def test_what_is_in_use_stays_and_what_went_is_made_again(held: Groups) -> None:
    group = held.make(LIMIT)
    groups.leave()
    assert all(folder.is_dir() for folder in group.folders)
    group.remove()
    groups.leave()
    assert not groups.own()
    again = held.make(LIMIT)
    assert all(folder.is_dir() for folder in again.folders)
    again.remove()


async def test_they_go_with_the_launcher(held: Groups, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    launcher = Launcher()
    bench = Bench(tmp_path, launcher, level="contained")
    async with launcher.held():
        assert isinstance(await bench.call(bench.python("def handler(e, c): return 1")), Returned)
        assert groups.own()
    assert not groups.own()


async def test_a_worker_and_what_it_starts_are_in_them(held: Groups, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    launcher = Launcher()
    bench = Bench(tmp_path, launcher, level="contained")
    function = bench.python("""
        import subprocess
        kept = []
        def handler(event, context):
            kept.append(subprocess.Popen(["sleep", "60"]))
    """)
    async with launcher.held(), bench.worker(function) as worker:
        assert isinstance(await worker.invoke(invocation(function=function)), Returned)
        assert worker.pid is not None
        first, *others = memory.family(worker.pid)
        assert len(others) == 2
        (group,) = [folder for parent in groups.own()[:1] for folder in parent.glob("worker-*")]
        there = set(map(int, (group / "cgroup.procs").read_text().split()))
        assert there == set(others)
        assert first not in there


def test_who_ends_has_haste_and_its_usual_share_again(tmp_path: Path) -> None:
    share = tmp_path / "cpu.shares"
    share.write_text("1024")
    usual = launchers.hasten([str(tmp_path), str(tmp_path / "none")])
    assert share.read_text() == "262144"
    launchers.restore(usual)
    assert share.read_text().startswith("1024")


def test_a_group_that_is_never_empty_is_given_up(held: Groups) -> None:
    group: Group = held.make(LIMIT)
    process = subprocess.Popen(["sleep", "60"])
    try:
        for folder in group.folders:
            (folder / "cgroup.procs").write_text(str(process.pid))
        launchers.clear([str(folder.parent) for folder in group.folders], 0)
        assert all(folder.is_dir() for folder in group.folders)
    finally:
        process.kill()
        process.wait()
        launchers.clear([str(folder.parent) for folder in group.folders], 5)
    assert not groups.own()
