"""Who runs beside whom: concurrency, maximum_concurrency, lanes, and whose turn it is."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import HeldStore, RigRuntime, echoing, function, rig, trigger
from triggerhub.hub.clock import SystemClock
from triggerhub.hub.pool import Pool
from triggerhub.model import Invocation, State
from triggerhub.settings import Batch, Function, RetryPolicy
from triggerhub.store import Query


async def test_no_more_is_claimed_than_can_run_however_many_triggers_there_are(tmp_path: Path) -> None:
    go = anyio.Event()

    async def hold(invocation: Invocation) -> Any:
        await go.wait()

    names = [f"t{n}" for n in range(6)]
    triggers = [trigger(name) for name in names]
    async with rig(tmp_path, {"work": hold}, functions=[function(concurrency=2)], triggers=triggers) as r:
        for name in names:
            await r.emit(name, 1, 2, 3)
        await r.until(lambda: r.runtime.running == 2, "two run")
        await r.idle()
        assert len(await r.store.page(Query(state=State.RUNNING))) == 2
        go.set()
        assert await r.states(18) == ["succeeded"] * 18
    assert r.runtime.most == 2


async def test_an_event_costs_one_claim(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        for number in range(10):
            await r.emit("hand", number)
            await r.states(number + 1)
            await r.idle()
        assert store.calls["claim"] <= 11
        store.calls.clear()
        await r.emit("hand", *range(200))
        await r.states(210)
        assert store.calls["claim"] <= 60


async def test_every_trigger_has_its_turn(tmp_path: Path) -> None:
    seen: list[str] = []

    async def note(invocation: Invocation) -> Any:
        seen.append(json.loads(invocation.payload))
        await anyio.sleep(0.002)

    triggers = [trigger("much"), trigger("little")]
    async with rig(tmp_path, {"work": note}, functions=[function(concurrency=1)], triggers=triggers) as r:
        await r.emit("much", *["much"] * 60)
        await r.emit("little", "little")
        await r.states(61)
    assert seen.index("little") < 50, "a full lane does not keep another one waiting to its end"


async def test_a_trigger_keeps_to_its_maximum_and_others_use_the_rest(tmp_path: Path) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def note(invocation: Invocation) -> Any:
        kind = json.loads(invocation.payload)
        running[kind] += 1
        most[kind] = max(most[kind], running[kind])
        await anyio.sleep(0.003)
        running[kind] -= 1

    triggers = [trigger("narrow", maximum_concurrency=1), trigger("wide")]
    async with rig(tmp_path, {"work": note}, functions=[function(concurrency=4)], triggers=triggers) as r:
        await r.emit("narrow", *["narrow"] * 10)
        await r.emit("wide", *["wide"] * 20)
        assert await r.states(30) == ["succeeded"] * 30
    assert most["narrow"] == 1
    assert most["wide"] > 1


async def test_a_batch_too_large_for_one_call_does_not_exceed_the_maximum(tmp_path: Path) -> None:
    most = 0

    async def note(invocation: Invocation) -> Any:
        nonlocal most
        most = max(most, r.runtime.running)
        await anyio.sleep(0.01)

    triggers = [trigger(batch=Batch(size=4, window=50), maximum_concurrency=1)]
    async with rig(tmp_path, {"work": note}, triggers=triggers) as r:
        await r.emit("hand", *["x" * 2_500_000] * 4)
        assert await r.states(4) == ["succeeded"] * 4
        assert {row.attempts for row in await r.store.page(Query())} == {1}, "what went back is not counted"
    assert most == 1
    assert [len(call.deliveries) for call in r.runtime.calls] == [2, 2]


async def test_a_timed_retry_is_kept_while_another_trigger_is_at_its_maximum(tmp_path: Path) -> None:
    go = anyio.Event()

    async def some(invocation: Invocation) -> Any:
        if json.loads(invocation.payload) == "hold":
            await go.wait()
        elif invocation.attempt == 1:
            raise BrokenPipeError
        return None

    triggers = [trigger("narrow", maximum_concurrency=1), trigger("wide")]
    async with rig(tmp_path, {"work": some}, triggers=triggers) as r:
        await r.emit("narrow", "hold", "hold")
        await r.until(lambda: r.runtime.running == 1, "the narrow one is full, and has more")
        (answer,) = await r.emit("wide", "fails once")
        with anyio.fail_after(10):
            assert (await r.hub.deliveries.wait(answer.deliveries[0], 10)).state == "succeeded"
        go.set()
        await r.states(3)


async def test_a_waiting_caller_is_served_before_the_next_of_the_queue(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(0.02)
        return json.loads(invocation.payload)

    functions = [function(concurrency=1, timeout=1000)]
    async with rig(tmp_path, {"work": slow}, functions=functions) as r:
        await r.emit("hand", *range(40))
        await r.until(lambda: len(r.runtime.calls) > 2, "the queue is being worked off")
        answered = await r.hub.invoke("work", b'"me"')
        assert answered.outcome.payload == b'"me"'  # type: ignore[union-attr]
        assert len(r.runtime.calls) < 30
        await r.states(40)


async def test_who_comes_first_goes_first(tmp_path: Path) -> None:
    async with pool() as (made, runtime):
        work, order = function(concurrency=1), []
        first = await made.acquire(work)

        async def ask(name: int) -> None:
            slot = await made.acquire(work)
            order.append(name)
            await anyio.sleep(0)
            made.release(slot)

        async with anyio.create_task_group() as tasks:
            for name in range(5):
                tasks.start_soon(ask, name)
                await anyio.sleep(0.001)
            made.release(first)
            assert made.lend(work) is None, "what is free is theirs who wait"
    assert order == [0, 1, 2, 3, 4]
    assert len(runtime.started) == 1


async def test_a_waiter_that_gives_up_passes_its_turn_on() -> None:
    async with pool() as (made, _):
        work, served = function(concurrency=1), []
        first = await made.acquire(work)

        async def ask(name: str) -> None:
            made.release(await made.acquire(work))
            served.append(name)

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(ask, "leaves")
                await anyio.sleep(0.001)
                tasks.start_soon(ask, "stays")
                await anyio.sleep(0.001)
                made.release(first)
                leaving.cancel_scope.cancel()
            with anyio.fail_after(5):
                while "stays" not in served:
                    await anyio.sleep(0.001)
        slot = made.lend(work)
        assert slot is not None


async def test_more_concurrency_serves_all_who_wait_for_it() -> None:
    async with pool() as (made, _):
        await made.acquire(function(concurrency=1))
        got = []

        async def ask() -> None:
            got.append(await made.acquire(function(concurrency=1)))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await anyio.sleep(0.001)
            made.serve(function(concurrency=4, version="work-2"))
            with anyio.fail_after(5):
                while len(got) < 3:
                    await anyio.sleep(0.001)
    assert {slot.function.version for slot in got} == {"work-2"}


async def test_a_function_that_comes_back_while_a_worker_is_lent_keeps_to_its_concurrency() -> None:
    async with pool() as (made, runtime):
        work = function(concurrency=1)
        made.serve(work)
        lent = await made.acquire(work)
        made.forget("work")
        made.serve(work)
        made.release(lent)
        assert made.live("work") == 0
        slot = await made.acquire(work)
        assert made.live("work") == 1
        with anyio.move_on_after(0.05):
            await made.acquire(work)
            raise AssertionError("two workers of one")
        made.release(slot)
        await anyio.sleep(0.001)
        assert (len(runtime.started), len(runtime.ended)) == (2, 1)


@asynccontextmanager
async def another(made: Pool, work: Function) -> AsyncGenerator[list[Any]]:
    """Somebody else who asks for a worker, and what was got; when it is over he has his."""
    got: list[Any] = []

    async def ask() -> None:
        got.append(await made.acquire(work))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.001)
            yield got


async def test_who_waits_for_a_worker_of_a_removed_function_gets_one() -> None:
    async with pool() as (made, runtime):
        work = function(concurrency=1)
        made.serve(work)
        lent = await made.acquire(work)
        async with another(made, work) as got:
            made.forget("work")
            made.release(lent)
        made.release(got[0])
        await anyio.sleep(0.001)
        assert (len(runtime.started), len(runtime.ended)) == (2, 2)


async def test_what_lent_workers_run_is_known_until_they_end() -> None:
    async with pool() as (made, _):
        work = function(concurrency=1)
        later = function(concurrency=1, version="work-2")
        made.serve(work)
        lent = await made.acquire(work)
        made.serve(later)
        assert {one.version for one in made.running()} == {work.version, "work-2"}
        made.forget("work")
        assert work in made.running()
        made.release(lent)
        await anyio.sleep(0.001)
        assert list(made.running()) == []


async def test_a_newcomer_takes_what_is_free_beside_those_that_were_called() -> None:
    async with pool() as (made, _):
        work = function(concurrency=2)
        lent = [await made.acquire(work) for _ in range(2)]
        async with another(made, work) as got:
            for slot in lent:
                made.release(slot)
            # The first was called and has not run yet; there is a worker for this one, too.
            got.append(await made.acquire(work))
    assert len({*map(id, got)}) == 2


def version(number: str, most: int, **given: Any) -> Function:
    """One version of a function with a reservation of *most*."""
    return function(f"work:{number}" if number else "work", concurrency=most, reserved="work", **given)


async def test_versions_of_a_function_share_its_reservation_and_who_comes_first_goes_first() -> None:
    async with pool() as (made, _):
        latest, one, order = version("", 2), version("1", 2), []
        for each in (latest, one):
            made.serve(each, prepare=False)
        lent = [await made.acquire(latest), await made.acquire(one)]
        assert not made.free(latest)
        assert not made.free(one)
        assert await made.acquire(one, patience=0.001) is None

        async def ask(each: Function) -> None:
            slot = await made.acquire(each)
            order.append(slot.function.name)
            assert made.lend(latest) is None, "what is free is theirs who wait"
            made.release(slot)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for each in (one, latest, one):
                    tasks.start_soon(ask, each)
                    await anyio.sleep(0.001)
                made.release(lent[0])
        assert order == ["work:1", "work", "work:1"]
        other = function("work:2", concurrency=1)
        made.serve(other, prepare=False)
        assert made.free(other), "what is of no reservation goes on beside it"


async def test_what_is_kept_ready_of_a_version_is_its_own_part_of_a_reservation() -> None:
    async with pool() as (made, _):
        latest, one = version("", 3), version("1", 3, warm=2)
        for each in (latest, one):
            made.serve(each, prepare=False)
        slot = await made.acquire(latest)
        assert not made.free(latest)
        own = [await made.acquire(one), await made.acquire(one)]
        assert not made.free(one)
        made.release(own.pop())
        assert made.free(one)
        assert not made.free(latest)
        made.release(slot)
        own += [await made.acquire(one), await made.acquire(one)]
        assert not made.free(latest)
        made.forget("work:1")
        made.release(own.pop())
        assert made.free(latest), "a version that is gone keeps nothing"


async def test_a_reservation_is_kept_from_when_it_is_made_until_it_is_lifted() -> None:
    async with pool() as (made, _):
        free = [function(name, concurrency=4) for name in ("work", "work:1")]
        for each in free:
            made.serve(each, prepare=False)
        lent = [await made.acquire(each) for each in free * 2]
        for number in ("", "1"):
            made.serve(version(number, 2), prepare=False)
        got: list[Any] = []

        async def ask(each: Function) -> None:
            got.append(await made.acquire(each))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for each in free:
                    tasks.start_soon(ask, each)
                await anyio.sleep(0.001)
                for slot in lent[:2]:
                    made.release(slot)
                await anyio.sleep(0.001)
                assert got == [], "what ran before counts, too"
                made.release(lent[2])
                await anyio.sleep(0.001)
                assert [slot.function.name for slot in got] == ["work"]
                made.serve(free[1], prepare=False)
        assert [slot.function.name for slot in got] == ["work", "work:1"]


async def test_a_slow_start_is_not_cut_by_a_short_timeout(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(timeout=20)]) as r:
        r.runtime.slow = 0.1
        answered = await r.hub.invoke("work", b"1")
    assert answered.outcome.payload == b"1"  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [ValueError("embedded null byte"), OSError("no room"), RuntimeError()])
async def test_a_worker_that_cannot_be_made_costs_its_call_only(tmp_path: Path, error: Exception) -> None:
    functions = [function(), function("other")]
    async with rig(tmp_path, {"work": echoing, "other": echoing}, functions=functions) as r:
        r.runtime.unmakable["work-1"] = error
        answered = await r.hub.invoke("work", b"1")
        assert answered.outcome.fault.type == "Runtime.StartError"  # type: ignore[union-attr]
        assert (str(error) or "RuntimeError") in answered.outcome.fault.message  # type: ignore[union-attr]
        assert (await r.hub.invoke("other", b"2")).outcome.payload == b"2"  # type: ignore[union-attr]
        r.runtime.unmakable.clear()
        assert (await r.hub.invoke("work", b"3")).outcome.payload == b"3"  # type: ignore[union-attr]


async def test_a_worker_that_the_host_had_no_room_for_costs_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.policy.retry.SCARCE", 20)
    functions = [function(retry=RetryPolicy(attempts=1))]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        r.runtime.unmakable["work-1"] = OSError(errno.EMFILE, "Too many open files")
        answered = await r.hub.invoke("work", b"1")
        assert "Too many open files" in answered.outcome.fault.message  # type: ignore[union-attr]
        queued = (await r.hub.invoke_async("work", b"2")).deliveries[0]
        with anyio.fail_after(10):
            while not ((detail := await r.store.get(queued)) and len(detail.attempts) > 1):
                await anyio.sleep(0.01)
        r.runtime.unmakable.clear()
        assert await r.states(1) == ["succeeded"]
        done = await r.store.get(queued)
    assert done is not None
    assert done.delivery.attempts == 1


async def test_a_caller_does_not_hear_of_a_worker_that_died_while_it_was_idle(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.hub.invoke("work", b"1")
        r.runtime.lost = 1
        answered = await r.hub.invoke("work", b"2")
        page = (await r.hub.metrics()).decode()
    assert answered.outcome.payload == b"2"  # type: ignore[union-attr]
    assert len(r.runtime.started) == 2
    assert 'triggerhub_invocations_total{function="work"} 2.0' in page


@asynccontextmanager
async def pool() -> AsyncGenerator[tuple[Pool, RigRuntime]]:
    """A pool over workers that do nothing."""
    runtime = RigRuntime({"work": echoing})
    made = Pool(runtime, SystemClock())
    async with made.open():
        yield made, runtime
