"""Measure a cold start: from the wish for a worker to user code that is imported and waits for its first event.

``python bench/cold.py`` starts workers of an isolated function one after the other, then many at once, at the
strongest level that the host gives and at the one below; ``--starts`` says how many. Then it asks the hub's pool for
workers, one after the other and each beside those before it, as calls do that overlap more and more: what the path of a
request sees where a spare is started ahead, and where none is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from triggerhub.hub.clock import SystemClock
from triggerhub.hub.pool import Pool
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes import memory, probe
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.runtimes.sandbox import Planner
from triggerhub.settings import Function

PYTHON = "import json\n\ndef handler(event, context):\n    return event\n"
NODE = "export const handler = async (event) => event\n"
AT_ONCE = 100
OVERLAPPING = 20
"""How many calls overlap in the end, at most."""
APART = 0.3
"""Seconds from one of them to the next: a start fits in."""


class Quiet:
    def write(self, function: object, request_id: str | None, stream: str, text: str) -> None: ...


def part(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@asynccontextmanager
async def runtime(scratch: Path, *, soft: bool) -> AsyncIterator[ProcessRuntime]:
    launcher = Launcher()
    async with launcher.held(start=True):
        launcher.findings = await probe.look(launcher, Planner())
        if soft:
            launcher.findings = Findings(lacks={Ability.GROUPS: Lack(found="not wanted", remedy="")})
        yield ProcessRuntime(Quiet(), scratch, launcher=launcher)


async def one_by_one(made: ProcessRuntime, function: Function, starts: int) -> tuple[list[float], list[float], int]:
    """Return how long starts and ends took, in ms, and what an idle worker holds in bytes."""
    began, ended, held = [], [], 0
    for number in range(starts + 1):
        start = time.perf_counter()
        async with made.start(function) as worker:
            there = time.perf_counter()
            assert worker.pid is not None
            held = memory.held(memory.family(worker.pid))
            left = time.perf_counter()
        # The first has the machine load what all others find loaded.
        if number:
            began.append((there - start) * 1000)
            ended.append((time.perf_counter() - left) * 1000)
    return began, ended, held


async def at_once(made: ProcessRuntime, function: Function) -> float:
    """Return how long it takes, in ms, until all of many workers are there."""
    there = asyncio.Event()
    ready = 0

    async def one() -> None:
        nonlocal ready
        async with made.start(function):
            ready += 1
            if ready == AT_ONCE:
                there.set()
            await there.wait()

    tasks = [asyncio.ensure_future(one()) for _ in range(AT_ONCE)]
    start = time.perf_counter()
    await there.wait()
    took = (time.perf_counter() - start) * 1000
    await asyncio.gather(*tasks)
    return took


async def overlapping(made: ProcessRuntime, function: Function, calls: int, *, ahead: bool) -> list[float]:
    """Return how long each of so many calls waits for its worker, in ms, all of them lent to the end."""
    waits = []
    pool = Pool(made, SystemClock())
    async with pool.open():
        pool.serve(function, prepare=ahead)
        # A first call and a second, so that there is a worker and, where it is started ahead, a spare.
        for _ in range(2):
            if slot := pool.lend(function) or await pool.acquire(function):
                pool.release(slot)
        for _ in range(calls):
            await asyncio.sleep(APART)
            start = time.perf_counter()
            pool.lend(function) or await pool.acquire(function)
            waits.append((time.perf_counter() - start) * 1000)
    return waits


async def main(starts: int) -> None:
    load = os.getloadavg()[0]
    print(
        f"{platform.release()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, uid {os.getuid()}"
    )
    print(
        f"{'level':<10} {'runtime':<8} {'start p50':>10} {'p95':>8} {'end p50':>8} {'idle':>8} {f'{AT_ONCE} at once':>12}   ms, MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder)
        code.chmod(0o755)
        (code / "app.py").write_text(PYTHON)
        (code / "app.mjs").write_text(NODE)
        for soft in (False, True):
            async with runtime(code / "scratch", soft=soft) as made:
                for kind in ("python", "node") if shutil.which("node") else ("python",):
                    function = Function(name="cold", runtime=kind, handler="app.", code=code)
                    level = made.level(function)
                    if not isinstance(level, str) or (not soft and level != "contained"):
                        continue
                    began, ended, held = await one_by_one(made, function, starts)
                    many = f"{await at_once(made, function):,.0f}" if kind == "python" else ""
                    print(
                        f"{level:<10} {kind:<8} {part(began, 0.5):>10.1f} {part(began, 0.95):>8.1f} {part(ended, 0.5):>8.1f} "
                        f"{held / (1 << 20):>8.1f} {many:>12}"
                    )
                    for ahead in (False, True):
                        calls = min(starts, OVERLAPPING)
                        wide = replace(function, concurrency=calls + 1)
                        waits = await overlapping(made, wide, calls, ahead=ahead)
                        print(
                            f"{'':<10} {'with' if ahead else 'without'} a spare, a call waits {part(waits, 0.5):.3f} ms (p50), "
                            f"{part(waits, 0.95):.3f} ms (p95), {max(waits):.3f} ms (most)"
                        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=50)
    asyncio.run(main(parser.parse_args().starts))
