"""Housekeeping prunes what is old, keeps what is not, and never ends the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, HeldStore, Rig, echoing, function, rig
from triggerhub.hub import maintain
from triggerhub.model import Invocation
from triggerhub.settings import DAY, Destination, RetryPolicy
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeClock


async def fail(invocation: Invocation) -> Any:
    raise Failure("no")


def _file(path: str) -> tuple[Destination, ...]:
    return (Destination(kind="file", target=path),)


@pytest.mark.parametrize(
    ("age", "left"),
    [(1 * DAY, {"dead", "succeeded"}), (8 * DAY, {"dead"}), (15 * DAY, set())],
    ids=["young", "old", "too old for a dead letter"],
)
async def test_what_is_pruned(tmp_path: Path, age: int, left: set[str]) -> None:
    clock, store = FakeClock(), MemoryStore()
    functions = [function(retry=RetryPolicy(attempts=1)), function("good")]
    async with rig(tmp_path, {"work": fail, "good": echoing}, functions=functions, clock=clock, store=store) as r:
        await r.hub.invoke_async("good", b"1")
        await r.hub.invoke_async("work", b"2")
        await r.states(2)
        clock.advance(age)
        await maintain.prune(store, clock, r.hub.project)
        assert {row.state.value for row in await store.page(Query())} == left
        assert (await store.stats()).drift == 0


async def test_a_destinations_dead_letters_are_kept_as_long_as_any(tmp_path: Path) -> None:
    clock, store = FakeClock(), MemoryStore()
    (tmp_path / "folder").mkdir()
    functions = [function(on_success=_file("folder"))]
    async with rig(tmp_path, {"work": echoing}, functions=functions, clock=clock, store=store) as r:
        await r.emit("hand", 1)
        await r.until(lambda: len(store.rows) == 2, "the record is owed")
        (row,) = await store.page(Query(function="file:folder"))
        for attempt in range(1, 4):
            await r.until(lambda: len(store.rows[row.id].attempts) == attempt, "it was tried")  # noqa: B023
            r.advance(DAY // 100)
        assert sorted(await r.states(2)) == ["dead", "succeeded"]
        clock.advance(8 * DAY)
        await maintain.prune(store, clock, r.hub.project)
        assert [row.state.value for row in await store.page(Query())] == ["dead"]


@pytest.mark.parametrize("limits", [{}, {"keep_size": 0}], ids=["by age", "by size"])
async def test_dead_letters_outlast_their_function(tmp_path: Path, limits: dict[str, int]) -> None:
    clock, store = FakeClock(), MemoryStore()
    functions, defaults = [function(retry=RetryPolicy(attempts=1))], function(dead_letters_keep=20 * DAY)
    async with rig(tmp_path, {"work": fail}, functions=functions, clock=clock, store=store, **limits) as r:
        await r.emit("hand", 1)
        await r.states(1)
        gone = replace(r.hub.project, functions={}, triggers={}, defaults=defaults)
        clock.advance(19 * DAY)
        assert await maintain.prune(store, clock, gone) == 0
        clock.advance(2 * DAY)
        assert await maintain.prune(store, clock, gone) == 1


@pytest.mark.parametrize("kept", ["queued", "dead"])
async def test_history_does_not_make_room_for_what_is_none(tmp_path: Path, kept: str) -> None:
    clock, store, works = FakeClock(), MemoryStore(), [function(retry=RetryPolicy(attempts=1)), function("good")]

    async def stand(r: Rig, *states: str) -> None:
        await r.until(lambda: sorted(row.delivery.state.value for row in store.rows.values()) == sorted(states), "so")

    handlers = {"work": fail, "good": echoing}
    async with rig(tmp_path, handlers, functions=works, store=store, clock=clock, keep_size=1000) as r:
        await r.hub.invoke_async("good", b"1")
        await r.hub.invoke_async("work", b"2" * 1000, delay=10 * DAY if kept == "queued" else 0)
        await stand(r, "succeeded", kept)
        clock.advance(DAY)
        assert await maintain.prune(store, clock, r.hub.project) == 0
        newest = (await r.hub.invoke_async("good", b"3" * 1000)).deliveries[0]
        await stand(r, "succeeded", "succeeded", kept)
        clock.advance(DAY)
        assert await maintain.prune(store, clock, r.hub.project) == 1
        assert newest in store.rows


async def test_a_pruning_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "SWEEP", 0.001)
    monkeypatch.setattr(maintain, "PRUNE", 1)
    store = HeldStore()
    store.raises["prune"] = [OSError("a hiccup")]
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        await r.until(lambda: not store.raises["prune"], "it failed")
        await r.until(lambda: store.prunings > 1, "it is tried again")
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]


async def test_workers_end_when_they_were_idle_for_too_long(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(tmp_path, {"work": echoing}, functions=[function(idle=1000)], clock=clock) as r:
        await r.hub.invoke("work", b"1")
        clock.advance(999)
        r.hub._pool.sweep()
        assert (await r.hub.functions())[0]["workers"] == 1
        clock.advance(1)
        r.hub._pool.sweep()
        assert (await r.hub.functions())[0]["workers"] == 0
        await r.until(lambda: len(r.runtime.ended) == 1, "its process is gone")
        assert (await r.hub.invoke("work", b"2")).outcome.payload == b"2"  # type: ignore[union-attr]


async def test_what_an_audit_finds_is_shown_until_it_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "AUDITED", 0.01)
    monkeypatch.setattr(maintain, "AUDITS", 0.01)
    store = MemoryStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        await r.hub.invoke_async("work", b"1")
        await r.states(1)
        ((name, row),) = store.rows.items()
        del store.rows[name]
        finding = "the store: api → work: 0 succeeded deliveries, the ledger says 1; where there is damage, or"
        with anyio.fail_after(10):
            while not any(finding in one for one in (await r.hub.status())["problems"]):
                await anyio.sleep(0.01)
            store.rows[name] = row
            while (await r.hub.status())["problems"]:
                await anyio.sleep(0.01)


async def test_what_waits_when_the_clock_is_put_back_waits_no_longer_for_it(tmp_path: Path) -> None:
    clock, store = FakeClock(), HeldStore()
    store.raises["hasten"] = [OSError("the disk is full")]
    async with rig(tmp_path, {"work": echoing}, clock=clock, store=store) as r:
        await r.hub.pause("function", "work")
        now = (await r.hub.invoke_async("work", b"1")).deliveries[0]
        later = (await r.hub.invoke_async("work", b"2", delay=2 * DAY)).deliveries[0]
        clock.advance(-DAY)
        await r.hub.resume("function", "work")
        with anyio.fail_after(20):
            while not (await r.row(now)).state.finished:
                await anyio.sleep(0.01)
        # This clock stands still: the seconds of the loop's count as put back, too.
        assert (await r.row(later)).due == pytest.approx(clock.now() + 2 * DAY, abs=30_000)


async def test_a_clock_that_is_a_little_behind_moves_nothing() -> None:
    clock = FakeClock()
    hands = maintain.Hands(clock)
    clock.advance(-maintain.STEP)
    assert hands.step() == 0, "a clock is set by small steps all the time"
    clock.advance(-maintain.STEP - 100)
    assert hands.step() <= -maintain.STEP
    clock.advance(DAY)
    assert hands.step() == pytest.approx(DAY, abs=maintain.STEP)


async def test_history_that_looks_old_since_the_clock_was_put_forward_stays_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "SWEEP", 0.001)
    monkeypatch.setattr(maintain, "PRUNE", 1)
    monkeypatch.setattr(maintain, "PATIENCE", 0.3)
    clock, store = FakeClock(), MemoryStore()
    async with rig(tmp_path, {"work": echoing}, clock=clock, store=store) as r:
        await r.emit("hand", 1)
        await r.states(1)
        put_forward = anyio.current_time()
        clock.advance(30 * DAY)
        await r.until(lambda: not store.rows, "it is pruned")
        assert anyio.current_time() - put_forward >= 0.3
