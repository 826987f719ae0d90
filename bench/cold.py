"""Measure workers: how long they take to start, to answer and to end, beside what is asked of each.

- starts: from the wish for a worker to user code that is imported and waits for its first event, one after the
  other and many at once, at the strongest level that the host gives and at the one below; ``--starts`` says how many.
  Beside it, what Node takes by itself.
- spare: workers asked of the hub's pool, one after the other and each beside those before it, as calls do that overlap
  more and more: what the path of a request sees where a spare is started ahead, and where none is.
- calls: round trips through the sandbox, warm, in a fork and by the Runtime API, beside a bare socketpair.
- memory: what one of ten idle workers takes.
- timeouts: how late a call is ended that ran into its timeout.
- killed: how long anything of fifty busy workers lives on after the hub.
- peer: the first call of a function by boto3, here and by ministack, which isolates nothing.

A figure is of a machine that does nothing else: on another, ``chrt -r 10 python bench/cold.py`` comes close. At level
contained that cannot be, since processes of that class are let into no control group that has no share of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.lambda_api import archive, client, ministack
from bench.latency import Figure, resident
from tests.e2e.daemon import daemon
from tests.runtimes import orphans, timeouts
from tests.runtimes.conftest import invocation
from triggerhub.hub.clock import SystemClock
from triggerhub.hub.pool import Pool
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes import memory, probe
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.runtimes.sandbox import Planner
from triggerhub.settings import MB, Function

PYTHON = "import json\n\ndef handler(event, context):\n    return event\n"
NODE = "export const handler = async (event) => event\n"
AT_ONCE = 100
OVERLAPPING = 20
"""How many calls overlap in the end, at most."""
APART = 0.3
"""Seconds from one of them to the next: a start fits in."""
CALLS = 2000
EVENT = {"x": "y" * 1000}
IDLE = 10
TIMEOUTS = 200
TIMES = 5
NEW = 8
"""Functions that are called for the first time, on each side."""
BOOTSTRAP = f"#!/bin/sh\nexec {sys.executable} -m awslambdaric app.handler\n"


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


async def one_by_one(made: ProcessRuntime, function: Function, starts: int) -> list[float]:
    """Return how long starts took, in ms."""
    began = []
    for _ in range(starts + 1):
        start = time.perf_counter()
        async with made.start(function):
            began.append((time.perf_counter() - start) * 1000)
    # The first has the machine load what all others find loaded.
    return began[1:]


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


async def round_trips(made: ProcessRuntime, function: Function, calls: int) -> float:
    """Return how long a call of a worker that is there takes, median in ms."""
    took = []
    async with made.start(function) as worker:
        for number in range(calls):
            call = invocation(EVENT, request_id=f"r{number}", function=function)
            start = time.perf_counter()
            await worker.invoke(call)
            took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def bare(calls: int) -> float:
    """Return how long a bare socketpair takes to and from a process that says the same, median in ms."""
    payload = json.dumps(EVENT).encode()
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while data := theirs.recv(65536):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    took = []
    with ours:
        for _ in range(calls):
            start = time.perf_counter()
            ours.send(payload)
            ours.recv(65536)
            took.append((time.perf_counter() - start) * 1000)
    os.wait()
    return statistics.median(took)


def bare_node(starts: int) -> float:
    """Return how long Node itself takes from start to end, without code and variables, median in ms."""
    took = []
    for _ in range(starts + 1):
        start = time.perf_counter()
        subprocess.run([str(shutil.which("node")), "-e", "0"], env={}, check=True)
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took[1:])


def functions(code: Path) -> dict[str, Function]:
    (code / "app.py").write_text(PYTHON)
    (code / "app.mjs").write_text(NODE)
    (code / "bootstrap").write_text(BOOTSTRAP)
    (code / "bootstrap").chmod(0o755)
    python = Function(name="cold", runtime="python", handler="app.", code=code)
    api = replace(python, runtime="provided", command=(str(code / "bootstrap"),), handler="bootstrap", memory=512 * MB)
    return {"python": python, "node": replace(python, runtime="node"), "api": api}


async def starts(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    figures = []
    for kind in ("python", "node") if shutil.which("node") else ("python",):
        function = functions(code)[kind]
        took = await one_by_one(made, function, count)
        p50, p95 = (15, 40) if kind == "python" else (80, None)
        figures.append(Figure(f"{level}: a cold start, {kind}, p50", part(took, 0.5), "ms", p50))
        figures.append(Figure(f"{level}: a cold start, {kind}, p95", part(took, 0.95), "ms", p95))
        if kind == "node":
            figures.append(Figure("node -e 0, from start to end", await asyncio.to_thread(bare_node, count), "ms"))
        if kind == "python":
            many = await at_once(made, function) / 1000
            figures.append(Figure(f"{level}: {AT_ONCE} cold starts at once, until all are there", many, "s", 1.5))
    return figures


async def spare(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    figures = []
    calls = min(count, OVERLAPPING)
    for kind in ("python", "node") if shutil.which("node") else ("python",):
        wide = replace(functions(code)[kind], concurrency=calls + 1)
        for ahead in (False, True):
            waits = await overlapping(made, wide, calls, ahead=ahead)
            what = f"{level}: a call waits for a worker, {kind}, {'with a' if ahead else 'no'} spare"
            figures.append(Figure(f"{what}, p50", part(waits, 0.5), "ms", 2 if ahead else None))
            figures.append(Figure(f"{what}, p95", part(waits, 0.95), "ms", 2 if ahead else None))
    return figures


async def calls(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    python, api = functions(code)["python"], functions(code)["api"]
    floor = bare(CALLS)
    warm = await round_trips(made, python, CALLS)
    fork = await round_trips(made, replace(python, reuse="fork"), CALLS // 4)
    fresh = await one_by_one(made, python, count)
    return [
        Figure("a bare socketpair, there and back", floor * 1000, "µs"),
        Figure(f"{level}: a warm call, over the bare socketpair", (warm - floor) * 1000, "µs", 150),
        Figure(f"{level}: a call in a fork, over a warm one", fork - warm, "ms", 3),
        Figure(
            f"{level}: a call by the Runtime API (awslambdaric)",
            await round_trips(made, api, CALLS // 4) * 1000,
            "µs",
            600,
        ),
        Figure(f"{level}: a call in a fresh worker that nobody started ahead", statistics.median(fresh) + warm, "ms"),
    ]


async def memory_of(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    figures = []
    for reuse in ("warm", "fork"):
        async with AsyncExitStack() as stack:
            function = replace(functions(code)["python"], reuse=reuse)
            workers = [await stack.enter_async_context(made.start(function)) for _ in range(IDLE)]
            pids = [pid for worker in workers if worker.pid for pid in memory.family(worker.pid)]
            each = resident(pids) / IDLE
        figures.append(Figure(f"{level}: one of {IDLE} idle workers, {reuse} (PSS)", each, "MB", 8))
    return figures


async def late(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    report = await timeouts.run(code / "late" / level, level, TIMEOUTS)
    over = report.overruns
    return [
        Figure(f"{level}: a timeout's overrun, p50", part(over, 0.5), "ms"),
        Figure(f"{level}: a timeout's overrun, p99 of {len(over)}", part(over, 0.99), "ms", 50),
        Figure(f"{level}: processes that lived on", report.survivors, "", 0),
    ]


async def killed(made: ProcessRuntime, code: Path, count: int, level: str) -> list[Figure]:
    where = code / "killed" / level
    took = [(await asyncio.to_thread(orphans.ends, where, level, orphans.WORKERS))[0] for _ in range(TIMES)]
    what = f"{level}: from the hub's death to that of {orphans.WORKERS} busy workers"
    return [
        Figure(f"{what}, p50 of {TIMES}", statistics.median(took), "ms", orphans.ALLOWED),
        Figure(f"{what}, most", max(took), "ms"),
    ]


def first_calls(url: str) -> float:
    """Return how long the first call of a new function takes by boto3, median in ms."""
    lambdas, took = client(url, 1), []
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for number in range(NEW):
        name = f"new-{number}"
        lambdas.create_function(
            FunctionName=name, Runtime=runtime, Handler="app.handler", Role="arn:aws:iam::000000000000:role/any",
            Code={"ZipFile": archive()}, Timeout=30,
        )  # fmt: skip
        lambdas.get_waiter("function_active_v2").wait(FunctionName=name)
        start = time.perf_counter()
        answer = lambdas.invoke(FunctionName=name, Payload=b"{}")
        answer["Payload"].read()
        took.append((time.perf_counter() - start) * 1000)
        assert "FunctionError" not in answer, answer
    return statistics.median(took)


def peer(folder: Path) -> list[Figure]:
    with ExitStack() as stack:
        hub = stack.enter_context(daemon(folder, "", {}))
        here = first_calls(f"http://127.0.0.1:{hub.admin}")
        figures = [Figure("boto3: a function's first call, here", here, "ms")]
        try:
            there = first_calls(stack.enter_context(ministack()))
        except Exception as why:
            print(f"ministack is left out: {why}")
            return figures
    return [
        *figures,
        Figure("boto3: a function's first call, by ministack", there, "ms"),
        Figure("the one of the other", here / there, "", 0.33),
    ]


PARTS = {"starts": starts, "spare": spare, "calls": calls, "memory": memory_of, "timeouts": late, "killed": killed}


async def levels(parts: list[str], count: int) -> None:
    """Print the figures of these parts, at each level that the host gives."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code"
        code.mkdir()
        Path(folder).chmod(0o755)
        for soft in (False, True):
            # The hub's data is where it builds, and no sandbox shows it.
            async with runtime(Path(folder) / "data" / "scratch", soft=soft) as made:
                level = made.level(functions(code)["python"])
                if not isinstance(level, str) or (not soft and level != "contained"):
                    continue
                for name in parts:
                    for figure in await PARTS[name](made, code, count, level):
                        print(figure, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS, "peer"], help="which parts; all by default")
    parser.add_argument("--starts", type=int, default=50)
    options = parser.parse_args()
    print(
        f"Linux {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, uid {os.getuid()}"
    )
    parts = options.parts or [*PARTS, "peer"]
    asyncio.run(levels([name for name in parts if name != "peer"], options.starts))
    if "peer" in parts:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(map(str, peer(Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
