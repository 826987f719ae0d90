"""Backpressure: who may wait waits, who may not is refused, and the count is never off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import HeldStore, echoing, function, rig, trigger
from triggerhub.errors import BacklogFull, StoreFull
from triggerhub.hub import intake
from triggerhub.model import Event, Invocation
from triggerhub.settings import Destination


async def test_what_is_on_its_way_in_counts(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, triggers=[trigger(backlog=2)], store=store) as r:
        go, refused = store.hold("append"), []

        async def emit() -> None:
            try:
                await r.emit("hand", 1)
            except BacklogFull as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(emit)
            await r.until(lambda: len(refused) == 3, "the others are refused")
            go.set()
        assert await r.states(2) == ["succeeded"] * 2
        await r.emit("hand", 1, 2)


async def test_who_may_wait_waits_until_there_is_room(tmp_path: Path) -> None:
    go = anyio.Event()

    async def hold(invocation: Invocation) -> Any:
        await go.wait()

    async with rig(tmp_path, {"work": hold}, triggers=[trigger(backlog=1)]) as r:
        await r.emit("hand", 1)
        context = r.modules["hand"].contexts["hand"]  # type: ignore[attr-defined]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.emit, Event(data=b"2", time=0))
            await r.idle()
            assert await context.unfinished() == 1
            go.set()
        assert await r.states(2) == ["succeeded"] * 2


async def test_a_duplicate_takes_no_room(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, triggers=[trigger(key="$.n", backlog=2)]) as r:
        for _ in range(5):
            await r.emit("hand", {"n": 1})
        await r.states(1)
        assert await r.modules["hand"].contexts["hand"].unfinished() == 0  # type: ignore[attr-defined]


async def test_repeated_records_of_a_destination_take_no_room(tmp_path: Path) -> None:
    functions = [function(on_success=(Destination(kind="queue", target="topic"),)), function("take")]
    triggers = [
        trigger(),
        trigger("topic", type="queue", functions=("take",), key="$.body.requestPayload.n", backlog=2),
    ]
    async with rig(tmp_path, {"work": echoing, "take": echoing}, functions=functions, triggers=triggers) as r:
        await r.emit("hand", *[{"n": 1}] * 5)
        assert await r.states(6) == ["succeeded"] * 6
        await r.until(lambda: r.hub._depth["topic"] == 0, "nothing of the topic is unfinished")
        page = (await r.hub.metrics()).decode()
    assert 'triggerhub_events_accepted_total{trigger="topic"} 1.0' in page
    assert 'triggerhub_events_duplicate_total{trigger="topic"} 4.0' in page


async def test_a_source_that_is_cancelled_in_its_commit_leaves_a_delivery_that_runs(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        go = store.hold("append")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.emit, "hand", 1)
            await r.until(lambda: store.waiting["append"], "the commit is under way")
            tasks.cancel_scope.cancel()
            go.set()
        with anyio.fail_after(10):
            assert await r.states(1) == ["succeeded"], "not only when the store is looked at anyway"
        assert r.hub._depth["hand"] == 0


async def test_a_claim_that_comes_before_the_commit_does_not_make_a_lane_wait(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        go = store.hold("append")
        asked = store.calls["claim"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.emit, "hand", 1)
            await r.until(lambda: store.waiting["append"], "the commit is under way")
            await r.until(
                lambda: store.calls["claim"] > asked and not store.waiting["claim"], "the lane was found empty"
            )
            found = store.hold("claim", after=True)
            go.set()
            await r.until(lambda: store.waiting["claim"], "it is asked anew")
            found.set()
        with anyio.fail_after(10):
            assert await r.states(1) == ["succeeded"], "not only when the store is looked at anyway"


async def test_what_the_store_refused_takes_no_room(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store, triggers=[trigger(backlog=1)]) as r:
        store.raises["append"] = [StoreFull("no room")]
        with pytest.raises(StoreFull):
            await r.emit("hand", 1)
        assert r.hub.ready is False
        await r.emit("hand", 2)
        assert r.hub.ready is True
        assert await r.states(1) == ["succeeded"]


async def test_asynchronous_invokes_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BACKLOG", 2)
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.hub.pause("function", "work")
        await r.hub.invoke_async("work", b"1")
        await r.hub.invoke_async("work", b"2")
        with pytest.raises(BacklogFull):
            await r.hub.invoke_async("work", b"3")
        await r.hub.resume("function", "work")
        assert await r.states(2) == ["succeeded"] * 2
