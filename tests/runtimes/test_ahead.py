"""Workers that are started ahead are real processes, there before the first call and after their death."""

from __future__ import annotations

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


async def ready(pool: Pool) -> None:
    with anyio.fail_after(20):
        while not pool.idle("f"):
            await anyio.sleep(0.01)
