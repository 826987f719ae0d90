"""Workers that are started ahead: those that are to be warm, and a spare where all are lent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Rig, RigRuntime, echoing, function, rig
from triggerhub.errors import StartFailed
from triggerhub.hub import maintain
from triggerhub.hub.pool import AHEAD, Pool, Slot
from triggerhub.model import Invocation
from triggerhub.settings import Function
from triggerhub.testing import FakeClock


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "SWEEP", 0.005)
    monkeypatch.setattr("triggerhub.policy.pooling.FIRST_PAUSE", 0.01)


async def test_warm_workers_are_there_before_the_first_call_and_after_a_reload(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(warm=3)]) as r:
        await r.until(lambda: idle(r) == 3, "three are ready")
        await r.hub.invoke("work", b"1")
        assert 'triggerhub_cold_starts_total{function="work"} 1' not in (await r.hub.metrics()).decode()
        assert await r.reload([function(warm=2, version="work-2")], []) == []
        await r.until(lambda: idle(r) == 2, "two of the new version are ready")
        await r.until(lambda: [f.version for f in r.runtime.ended].count("work-1") == 3, "the old ones are gone")
        assert len(r.runtime.started) == 3 + 1 + 2, "the trial is one of them"
        assert await r.reload([function(version="work-2")], []) == []
        await r.until(lambda: len(r.runtime.ended) == 6, "nothing is to be warm any more")


async def test_warm_workers_are_not_ended_by_idle_and_dead_ones_are_replaced(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(tmp_path, {"work": echoing}, functions=[function(warm=2, idle=1000)], clock=clock) as r:
        await r.until(lambda: idle(r) == 2, "two are ready")
        clock.advance(100_000)
        r.hub._pool.sweep()
        assert (idle(r), r.runtime.ended) == (2, [])
        await r.hub.invoke("work", b"1")
        for slot in r.hub._pool._benches["work"].idle:
            slot.worker.alive = False
        await r.until(lambda: len(r.runtime.started) == 4 and idle(r) == 2, "the dead are replaced")
        assert len(r.runtime.ended) == 2


async def test_a_call_that_kills_its_worker_costs_one_start_each(tmp_path: Path) -> None:
    async def die(invocation: Invocation) -> Any:
        raise BrokenPipeError

    async with rig(tmp_path, {"work": die}, functions=[function(warm=1, concurrency=1)]) as r:
        await r.until(lambda: idle(r) == 1, "one is ready")
        await r.hub.invoke_async("work", b"1")
        assert await r.states(1) == ["dead"]
        await r.until(lambda: idle(r) == 1, "one is ready again")
        assert len(r.runtime.started) == 4, "one, and one for each of three attempts"


async def test_what_cannot_be_started_ahead_is_told_once_and_harms_no_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("triggerhub.hub.pool.log.warning", lambda event, **facts: told.append(facts))
    functions = [function(warm=2), function("other")]
    async with rig(tmp_path, {"work": echoing, "other": echoing}, functions=functions) as r:
        r.runtime.broken.add("work-1")
        for slot in r.hub._pool._benches["work"].clear():
            r.hub._pool._retire(r.hub._pool._benches["work"], slot)
        await r.until(lambda: r.hub._pool._benches["work"].failures > 4, "it is tried again and again")
        assert len(told) == 1
        assert told[0]["why"] == "Runtime.ImportModuleError: no such module"
        assert (await r.hub.status())["problems"] == [
            "function work: a worker could not be started ahead of its calls: Runtime.ImportModuleError: no such module"
        ]
        assert (await r.hub.invoke("other", b"1")).outcome.payload == b"1"  # type: ignore[union-attr]
        r.runtime.broken.clear()
        assert (await r.hub.invoke("work", b"2")).outcome.payload == b"2"  # type: ignore[union-attr]
        await r.until(lambda: idle(r) == 2, "they are ready at last")
        assert (await r.hub.status())["problems"] == []


async def test_a_worker_that_ends_before_it_is_called_is_not_started_for_ever(tmp_path: Path) -> None:
    async with pool(prepared := function(warm=1)) as (made, runtime):
        bench = made._benches[prepared.name]
        for failures in range(1, 4):
            bench.resumes = 0.0
            made.sweep()
            await until(lambda: made.idle("work") == 1)
            bench.idle[0].worker.alive = False
            began = asyncio.get_running_loop().time()
            made.sweep()
            assert bench.failures == failures
            assert bench.resumes > began
            bench.resumes = math.inf
            made.sweep()
            assert bench.live == 0, "not before its time"
            assert made.troubles() == [
                "function work: a worker could not be started ahead of its calls: it ended before it was called"
            ]
    assert len(runtime.started) == 3


async def test_a_spare_is_started_when_the_last_idle_worker_is_lent(tmp_path: Path) -> None:
    async with pool(function(concurrency=3)) as (made, runtime):
        first = await lend(made)
        made.release(first)
        assert (made.live("work"), len(runtime.started)) == (1, 1), "the first call starts its own"
        first = await lend(made)
        await until(lambda: made.idle("work") == 1)
        second = made.lend(function(concurrency=3))
        assert second is not None, "without a wait"
        assert (second.ahead, first.ahead) == (True, False)
        await until(lambda: made.idle("work") == 1)
        third = await lend(made)
        assert (made.live("work"), made.idle("work")) == (3, 0), "no more than may run"
        for slot in (first, second, third):
            made.release(slot)
        assert len(runtime.started) == 3


async def test_a_function_that_needs_one_worker_does_not_have_two_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    async with pool(work := function(idle=600_000), clock=clock) as (made, runtime):
        for _ in range(100):
            made.release(await lend(made))
            await until(lambda: not made._benches["work"].starting)
            clock.advance(60_000)
            made.sweep()
        assert len(runtime.started) == 2, "a spare once, which nobody needed"
        assert made.live("work") == 1
        first, second = await lend(made), await lend(made)
        await until(lambda: made.idle("work") == 1)
        assert made.live("work") == 3, "a call had to start one beside another: there is a spare again"
        for slot in (first, second):
            made.release(slot)
    assert work.idle == 600_000


async def test_a_caller_takes_over_what_is_being_started(tmp_path: Path) -> None:
    async with pool(function(concurrency=2)) as (made, runtime):
        made.release(await lend(made))
        await lend(made)
        runtime.slow = 0.05
        assert made.free(function(concurrency=2))
        second = await lend(made)
        assert not second.ahead
        assert len(runtime.started) == 2


async def test_a_caller_bears_the_failure_of_a_start_that_it_took_over(tmp_path: Path) -> None:
    async with pool(function(concurrency=2)) as (made, runtime):
        made.release(await lend(made))
        runtime.broken.add("work-1")
        await lend(made)
        with pytest.raises(StartFailed):
            await lend(made)
        assert (made.live("work"), made.troubles()) == (1, [])
        await until(lambda: not made._benches["work"].starting)
        runtime.broken.clear()
        await lend(made)
        assert made.live("work") == 2


async def test_who_leaves_while_a_start_is_taken_over_leaves_nothing_lent(tmp_path: Path) -> None:
    async with pool(function(concurrency=2)) as (made, runtime):
        made.release(await lend(made))
        runtime.slow = 10
        await lend(made)
        with anyio.move_on_after(0.01):
            await lend(made)
            raise AssertionError("it cannot be there yet")
        assert made.live("work") == 1


async def test_a_new_version_gives_up_what_is_being_started(tmp_path: Path) -> None:
    async with pool(function(warm=2)) as (made, runtime):
        made.serve(new := function(warm=1, version="work-2"))
        await until(lambda: made.idle("work") == 1)
        slot = made.lend(new)
        assert slot is not None
        assert slot.function.version == "work-2"
        made.forget("work")
        made.release(slot)
        await until(lambda: len(runtime.ended) == len(runtime.started))


async def test_few_are_started_ahead_at_once_and_all_in_the_end(tmp_path: Path) -> None:
    names = [f"f{n}" for n in range(AHEAD + 2)]
    async with pool(*[function(name, warm=2) for name in names], slow=0.01) as (made, _):
        assert sum(len(bench.starting) for bench in made._benches.values()) == AHEAD
        await until(lambda: all(made.idle(name) == 2 for name in names))


async def test_a_worker_of_a_version_that_is_replaced_does_not_go_on_starting(tmp_path: Path) -> None:
    async with pool(function(warm=2), slow=3600) as (made, runtime):
        await until(lambda: made.live("work") == 2)
        runtime.slow = 0
        made.serve(function(warm=1, version="work-2"))
        await until(lambda: made.idle("work") == 1)
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        assert [one.version for one in runtime.started] == ["work-2"]
    assert len([name for name in tasks if name == "worker:work"]) == 1, "those of the first version are gone"


async def test_an_executable_and_what_is_not_prepared_have_nothing_started_ahead(tmp_path: Path) -> None:
    program = replace(function(), runtime="executable")
    async with pool(program) as (made, runtime):
        made.release(await lend(made, program))
        first, second = await lend(made, program), await lend(made, program)
        await anyio.sleep(0)
        assert (first is second, made.live("work")) == (False, 2)
        made.serve(function("late", warm=1), prepare=False)
        made.sweep()
        assert made.live("late") == 0
        made.serve(function("late", warm=1))
        await until(lambda: made.idle("late") == 1)
    assert len(runtime.started) == 3


@asynccontextmanager
async def pool(
    *functions: Function, clock: FakeClock | None = None, slow: float = 0
) -> AsyncGenerator[tuple[Pool, RigRuntime]]:
    """A pool that serves *functions* by workers that do nothing."""
    runtime = RigRuntime({"work": echoing}, slow=slow)
    made = Pool(runtime, clock or FakeClock())
    async with made.open():
        for one in functions:
            made.serve(one)
        yield made, runtime


async def lend(made: Pool, work: Function | None = None) -> Slot:
    work = work or made._benches["work"].function
    with anyio.fail_after(20):
        slot = made.lend(work) or await made.acquire(work)
    assert slot is not None
    return slot


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.001)


def idle(r: Rig) -> int:
    return r.hub._pool.idle("work")
