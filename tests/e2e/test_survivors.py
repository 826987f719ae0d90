"""Whoever is killed with -9, the hub or its launcher: no handler's process is left, and no delivery is lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.daemon import GUARD, Daemon, daemon, until
from tests.e2e.toml import webhook
from tests.runtimes.attacks.world import named

BUSY = 50
TOML = """
[functions.busy]
concurrency = 50
memory = "128MB"
sandbox = { level = "LEVEL", write = WRITE }
""" + webhook("hook", "busy", "retry = { attempts = 1 }")
HANDLER = """
import ctypes, os, pathlib, time

def handler(event, context):
    gate = pathlib.Path({gate!r})
    (gate / context.aws_request_id).touch()
    while not (gate / "open").exists():
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(15, {name!r}.encode(), 0, 0, 0)
                time.sleep(3600)
            os._exit(0)
        os.wait()
        while not (gate / "open").exists():
            time.sleep(0.05)
    return "done"
"""


class Busy:
    """A hub whose function waits at a gate, with a process that wants to stay."""

    def __init__(self, folder: Path, level: str) -> None:
        self.name = f"sur-{secrets.token_hex(5)}"
        self.gate = folder / "gate"
        self.gate.mkdir()
        self.gate.chmod(0o777)
        self.project = folder / "project"
        self.project.mkdir()
        write = "[]" if level == "trusted" else f'["{self.gate}"]'
        self.toml = TOML.replace("LEVEL", level).replace("WRITE", write)
        self.handlers = {"busy.py": HANDLER.format(gate=str(self.gate), name=self.name)}

    def begin(self, hub: Daemon, count: int) -> None:
        for _ in range(count):
            assert hub.post("/hook", b"1")[0] == 202
        until(lambda: len(named(self.name)) == count, f"{count} calls run")

    def began(self) -> int:
        return len(list(self.gate.iterdir()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # A worker has a user of its own, who must come to the gate.
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(place.stat().st_mode | 0o011)
    return tmp_path


def test_no_process_of_fifty_busy_workers_outlives_a_killed_hub(folder: Path) -> None:
    busy = Busy(folder, "isolated")
    with daemon(busy.project, busy.toml, busy.handlers) as hub:
        busy.begin(hub, BUSY)
        assert hub.process is not None
        handles = {os.pidfd_open(pid) for pid in named(busy.name)}
        began = time.monotonic()
        os.kill(hub.process.pid, signal.SIGKILL)
        left = set(handles)
        while left and time.monotonic() - began < GUARD:
            left -= set(select.select(left, [], [], GUARD)[0])
        took = time.monotonic() - began
        hub.process.wait()
        for handle in handles:
            os.close(handle)
        print(f"{BUSY} busy workers were gone {took * 1000:.0f} ms after their hub")
    assert len(handles) == BUSY
    assert not left
    assert not named(busy.name)


def launcher(hub: Daemon) -> int:
    """Return the launcher's process: the hub's child of that name."""
    assert hub.process is not None
    for pid in named("triggerhub-launcher"[:15]):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            if int(stat.read().rpartition(")")[2].split()[1]) == hub.process.pid:
                return pid
    return 0


def test_a_killed_launcher_is_replaced_and_its_calls_are_run_again_uncounted(folder: Path) -> None:
    busy = Busy(folder, "isolated")
    with daemon(busy.project, busy.toml, busy.handlers) as hub:
        busy.begin(hub, 4)
        first, before = launcher(hub), busy.began()
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        until(lambda: busy.began() > before or launcher(hub) not in (0, first), "a new launcher works")
        until(lambda: len(named(busy.name)) == 4 and launcher(hub) != first, "the calls run again")
        print(f"four calls ran again {time.monotonic() - began:.2f} s after their launcher was killed")
        (busy.gate / "open").touch()
        counts = hub.settled()
    assert counts["succeeded"] == 4
    assert counts["dead"] == 0
    # The hub itself was killed at the end.
    until(lambda: not named(busy.name), "nothing of its handlers is left")
