"""Let one handler after the other run into its timeout, each with children that mean to stay.

What was there before must be what is there afterwards: processes, descriptors, folders, memory. Run as
``python -m tests.runtimes.timeouts --timeouts 1000``: exits with 1 when something stayed or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.runtimes.attacks.world import named, settle
from tests.runtimes.conftest import Lines, invocation
from triggerhub.model import TimedOut
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.settings import MB, Function

TIMEOUT = 100
"""Milliseconds; the least that leaves a child the time to begin."""
AT_ONCE = 4
GROWTH = 8 * MB
"""What the hub's memory may differ by at the end from what it was after the first tenth."""
HANDLER = """
import ctypes, os, time
def handler(event, context):
    for deaf in range(2):
        if os.fork() == 0:
            os.setsid()
            ctypes.CDLL(None).prctl(15, event.encode(), 0, 0, 0)
            while os.fork() == 0 and deaf:
                os.setsid()
                break
            time.sleep(3600)
            os._exit(0)
    time.sleep(3600)
"""


@dataclass
class Report:
    level: str
    timeouts: int = 0
    survivors: int = 0
    descriptors: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    overruns: list[float] = field(default_factory=list)
    """Milliseconds between the timeout and the outcome."""
    left: list[str] = field(default_factory=list)
    """Folders of workers that are gone."""

    def broken(self) -> list[str]:
        found = []
        if self.survivors:
            found.append(f"{self.survivors} processes lived on")
        if self.descriptors[-1] > self.descriptors[0]:
            found.append(f"descriptors grew from {self.descriptors[0]} to {self.descriptors[-1]}")
        if self.resident[-1] - self.resident[0] > GROWTH:
            found.append(f"memory grew from {self.resident[0] // MB} to {self.resident[-1] // MB} MB")
        return found + self.left

    def __str__(self) -> str:
        at = sorted(self.overruns)
        return (
            f"{self.level}: {self.timeouts} timeouts, {self.survivors} survivors, "
            f"descriptors {self.descriptors[0]} → {self.descriptors[-1]}, "
            f"memory {self.resident[0] / MB:.1f} → {self.resident[-1] / MB:.1f} MB, "
            f"overrun p50 {at[len(at) // 2]:.0f}, p99 {at[len(at) * 99 // 100]:.0f}, most {at[-1]:.0f} ms"
        )


async def run(folder: Path, level: str, timeouts: int) -> Report:
    code = folder / "code"
    code.mkdir(parents=True)
    folder.chmod(0o755)
    (code / "app.py").write_text(HANDLER)
    name = f"out-{secrets.token_hex(5)}"
    values = {"name": "late", "runtime": "python", "handler": "app.handler", "code": code, "version": "1"}
    function = Function(**values, timeout=TIMEOUT, memory=128 * MB, level=level)  # type: ignore[arg-type]
    runtime = ProcessRuntime(Lines(), folder / "scratch")
    report = Report(level)

    async def one() -> None:
        async with runtime.start(function) as worker:
            began = time.perf_counter()
            outcome = await worker.invoke(invocation(name, function=function))
            assert isinstance(outcome, TimedOut), outcome
            report.overruns.append((time.perf_counter() - began) * 1000 - TIMEOUT)
        report.timeouts += 1

    def measure() -> None:
        report.descriptors.append(len(os.listdir("/proc/self/fd")))
        with open("/proc/self/statm") as statm:
            report.resident.append(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    warm_up = max(timeouts // 10, 1)
    # One worker stays, so that what workers share is there all the time.
    async with runtime.start(function):
        for count in (warm_up, timeouts - warm_up):
            room = asyncio.Semaphore(AT_ONCE)

            async def within(room: asyncio.Semaphore) -> None:
                async with room:
                    await one()

            await asyncio.gather(*(within(room) for _ in range(count)))
            measure()
    await settle(lambda: not named(name), 1.0)
    survivors = named(name)
    report.survivors = len(survivors)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    report.left = [f"{path} was left" for path in (folder / "scratch").glob("worker-*")]
    return report


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeouts", type=int, default=1000)
    parser.add_argument("--level", default="isolated")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="timeouts-") as folder:
        report = asyncio.run(run(Path(folder) / "project", arguments.level, arguments.timeouts))
    print(report)
    print("\n".join(report.broken()))
    return 1 if report.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
