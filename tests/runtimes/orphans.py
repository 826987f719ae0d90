"""Kill the process that holds many busy sandboxes, and see how long anything of theirs lives on.

Every worker runs a handler with children that mean to stay. Run as ``python -m tests.runtimes.orphans``:
prints the time from the kill to the end of the last process at each level that this host gives, and exits
with 1 where one lived on for more than what is allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.runtimes.attacks.world import named
from tests.runtimes.conftest import Lines, invocation
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.settings import MB, Function

ALLOWED = 200
"""Milliseconds from the kill of the hub to the end of the last process of 50 busy workers."""
WORKERS = 50
HANDLER = """
import ctypes, os, time
def handler(event, context):
    name = lambda: ctypes.CDLL(None).prctl(15, event.encode(), 0, 0, 0)
    name()
    if os.fork() == 0:
        os.setsid()
        name()
        while True:
            time.sleep(3600)
    while True:
        time.sleep(3600)
"""
EACH = 2
"""Processes of one worker that bear the name."""


async def hold(folder: Path, level: str, workers: int, name: str) -> None:
    """Be the hub: keep so many workers busy until the end."""
    values = {"name": "busy", "runtime": "python", "handler": "app.handler", "code": folder / "code", "version": "1"}
    function = Function(**values, timeout=600_000, memory=128 * MB, level=level)  # type: ignore[arg-type]
    runtime = ProcessRuntime(Lines(), folder / "scratch")

    async def one() -> None:
        async with runtime.start(function) as worker:
            await worker.invoke(invocation(name, function=function))

    await asyncio.gather(*(one() for _ in range(workers)))


def ends(folder: Path, level: str, workers: int) -> tuple[float, int]:
    """Return the milliseconds from the kill to the end of the last process, and how many there were."""
    name = f"orphan-{secrets.token_hex(4)}"
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (code / "app.py").write_text(HANDLER)
    # In one word: it is not to be taken for one of them.
    command = [sys.executable, "-m", "tests.runtimes.orphans", f"--hold={name}", f"--folder={folder}"]
    hub = subprocess.Popen([*command, "--level", level, "--workers", str(workers)])
    try:
        end = time.monotonic() + 120
        while len(named(name)) < workers * EACH:
            if time.monotonic() > end or hub.poll() is not None:
                raise TimeoutError(f"{len(named(name))} of {workers * EACH} processes are there")
            time.sleep(0.05)
        # Process 1 of each sandbox is among their parents.
        watched = {os.pidfd_open(pid) for pid in {*named(name), *_parents(named(name))}}
        count = len(watched)
        began = time.perf_counter()
        hub.kill()
        poll = select.poll()
        for handle in watched:
            poll.register(handle, select.POLLIN)
        while watched and (ready := poll.poll(10_000)):
            for handle, _ in ready:
                poll.unregister(handle)
                watched.remove(handle)
                os.close(handle)
        took = (time.perf_counter() - began) * 1000
        return (took if not watched else float("inf")), count
    finally:
        hub.kill()
        hub.wait()
        for pid in named(name):
            os.kill(pid, signal.SIGKILL)


def _parents(pids: list[int]) -> set[int]:
    found = set()
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found.add(int(fields[1]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--level")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        asyncio.run(hold(arguments.folder, arguments.level, arguments.workers, arguments.hold))
        return 0
    late = False
    for level in [arguments.level] if arguments.level else ["isolated", "contained"]:
        with tempfile.TemporaryDirectory(prefix="orphans-") as folder:
            took = [ends(Path(folder) / "project", level, arguments.workers) for _ in range(arguments.times)]
        times = sorted(one for one, _ in took)
        late = late or times[len(times) // 2] > ALLOWED
        print(
            f"{level}: {arguments.workers} busy workers, {took[0][1]} processes, gone after "
            f"{times[0]:.0f} to {times[-1]:.0f} ms, p50 {times[len(times) // 2]:.0f} ms (asked: {ALLOWED})"
        )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
