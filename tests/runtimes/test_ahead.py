"""Workers that are started ahead are real processes, there before the first call and after their death."""

from __future__ import annotations

import json
import os
import signal

import anyio
import pytest

from triggerhub.hub.clock import SystemClock
from triggerhub.hub.pool import Pool

from .conftest import Bench, invocation

pytestmark = pytest.mark.usefixtures("trusting")


async def test_a_warm_worker_serves_without_a_start_and_is_replaced_when_it_is_killed(bench: Bench) -> None:
    function = bench.python("import os\ndef handler(e, c): return os.getpid()\n", warm=1, concurrency=2)
    pool = Pool(bench.runtime(), SystemClock())
    async with pool.open():
        pool.serve(function)
        await ready(pool)
        first = pool.lend(function)
        assert first is not None, "it waits for its first call"
        outcome = await first.worker.invoke(invocation())
        await ready(pool)
        pool.release(first)
        assert pool.live(function.name) == 2, "the spare"
        killed = first.worker.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        with anyio.fail_after(20):
            while first.worker.alive:
                await anyio.sleep(0.01)
        pool.sweep()
        await ready(pool)
        second = pool.lend(function)
        assert second is not None
        assert (await second.worker.invoke(invocation())).payload != outcome.payload


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_fresh_worker_for_each_call_is_there_before_it(bench: Bench, concurrency: int) -> None:
    function = bench.python(
        "import os\nseen = []\ndef handler(e, c):\n    seen.append(1)\n    return [os.getpid(), len(seen)]\n",
        reuse="fresh",
        concurrency=concurrency,
    )
    pool = Pool(bench.runtime(), SystemClock())
    async with pool.open():
        pool.serve(function)
        pids = set()
        for number in range(4):
            slot = pool.lend(function) or await pool.acquire(function)
            assert slot is not None
            assert slot.ahead is (number > 0), "the first has nobody before it"
            outcome = await slot.worker.invoke(invocation())
            pid, seen = json.loads(outcome.payload)
            pids.add(pid)
            assert seen == 1
            pool.release(slot)
            await ready(pool)
            assert pool.live("f") == 1
        assert len(pids) == 4


async def test_calls_that_overlap_each_have_a_fresh_worker(bench: Bench) -> None:
    function = bench.python("import os\ndef handler(e, c): return os.getpid()\n", reuse="fresh", concurrency=2)
    pool = Pool(bench.runtime(), SystemClock())
    pids = []

    async def call() -> None:
        slot = await pool.acquire(function)
        assert slot is not None
        pids.append((await slot.worker.invoke(invocation())).payload)
        assert pool.live("f") <= 2
        pool.release(slot)

    async with pool.open():
        pool.serve(function)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(call)
    assert len(set(pids)) == 10


async def ready(pool: Pool) -> None:
    with anyio.fail_after(20):
        while not pool.idle("f"):
            await anyio.sleep(0.01)
