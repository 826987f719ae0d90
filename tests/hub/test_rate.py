"""A function's rate holds for every call of it, whoever makes it."""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.hub.rig import echoing, function, rig, trigger
from triggerhub.model import State
from triggerhub.settings import Rate
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore

HOURLY = Rate(count=2, per=3_600_000)


async def test_calls_beyond_the_rate_wait(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(rate=Rate(count=5, per=100))]) as r:
        began = anyio.current_time()
        await r.emit("hand", *range(10))
        assert await r.states(10) == ["succeeded"] * 10
        assert anyio.current_time() - began >= 0.09, "ten calls at 5 per 100 ms take one more period"


async def test_only_who_has_its_turn_soon_is_claimed(tmp_path: Path) -> None:
    functions = [function(rate=HOURLY, concurrency=3)]
    async with rig(tmp_path, {"work": echoing}, functions=functions, drain=10) as r:
        await r.emit("hand", *range(10))
        await r.until(lambda: len(r.runtime.calls) == 2, "two are allowed")
        await r.idle()
        assert len(await r.store.page(Query(state=State.RUNNING))) <= 3
        assert len(r.runtime.calls) == 2


async def test_a_waiting_caller_spends_from_the_same_rate(tmp_path: Path) -> None:
    functions = [function(rate=HOURLY, timeout=30)]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        answers = [(await r.hub.invoke("work", b"1")).outcome for _ in range(3)]
        page = (await r.hub.metrics()).decode()
    assert [getattr(one, "payload", b"")[:1] for one in answers[:2]] == [b"1", b"1"]
    assert answers[2].fault.type == "TooManyRequestsException"  # type: ignore[union-attr]
    assert 'triggerhub_throttles_total{function="work"} 1.0' in page


async def test_a_drain_does_not_wait_for_the_rate(tmp_path: Path) -> None:
    store = MemoryStore()
    began = anyio.current_time()
    async with rig(tmp_path, {"work": echoing}, functions=[function(rate=HOURLY)], store=store, drain=60_000) as r:
        await r.emit("hand", *range(4))
        await r.until(lambda: len(r.runtime.calls) == 2, "two are allowed")
        await r.idle()
    assert anyio.current_time() - began < 20
    rows = await store.page(Query())
    assert sorted((row.state.value, row.attempts) for row in rows) == [("queued", 0)] * 2 + [("succeeded", 1)] * 2


async def test_what_waits_for_its_rate_goes_back_when_its_function_is_paused(tmp_path: Path) -> None:
    functions = [function(rate=Rate(count=1, per=200))]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        await r.emit("hand", *range(3))
        await r.until(lambda: len(r.hub._wiring.dispatchers["work"]._held) == 2, "two wait")
        await r.hub.pause("function", "work")
        await r.until(lambda: not r.hub._wiring.dispatchers["work"]._held, "they went back")
        assert await r.hub._wiring.dispatchers["work"]._settler.rest() is None
        rows = await r.store.page(Query(state=State.QUEUED))
        assert [row.attempts for row in rows] == [0, 0]
        await anyio.sleep(0.25)
        assert len(r.runtime.calls) == 1, "a paused function is not called"
        await r.hub.resume("function", "work")
        assert await r.states(3) == ["succeeded"] * 3


async def test_what_waits_by_an_old_rate_goes_by_the_new_one(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(rate=HOURLY)]) as r:
        await r.emit("hand", *range(4))
        await r.until(lambda: len(r.hub._wiring.dispatchers["work"]._held) == 2, "two wait")
        await r.reload([function(rate=Rate(count=2, per=1000))], [trigger()])
        assert await r.states(4) == ["succeeded"] * 4


async def test_a_new_rate_holds_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(rate=HOURLY)]) as r:
        await r.emit("hand", *range(4))
        await r.until(lambda: len(r.runtime.calls) == 2, "two are allowed")
        await r.reload([function(rate=None)], [trigger()])
        await r.emit("hand", 5)
        with anyio.fail_after(20):
            await r.until(lambda: len(r.runtime.calls) >= 3, "the fifth runs")
