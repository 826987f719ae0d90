"""A paused function keeps its deliveries queued; a paused trigger takes nothing. Both survive a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Rig, echoing, function, rig, route_source, trigger
from triggerhub.hub.pause import PausableRoutes
from triggerhub.model import Invocation
from triggerhub.policy.cors import Cors
from triggerhub.source import Request, Route
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeRoutes


async def test_what_was_claimed_ahead_of_a_pause_goes_back_uncounted(tmp_path: Path) -> None:
    go, seen = anyio.Event(), []

    async def note(invocation: Invocation) -> Any:
        seen.append(json.loads(invocation.payload))
        if seen[-1] == "hold":
            await go.wait()

    async with rig(tmp_path, {"work": note}, functions=[function(concurrency=1)]) as r:
        await r.emit("hand", "quick")
        await r.states(1)
        await r.emit("hand", "hold", 1, 2)
        await r.until(lambda: r.hub._wiring.dispatchers["work"]._ready, "two are claimed ahead")
        await r.hub.pause("function", "work")
        go.set()
        await r.until(lambda: r.runtime.running == 0, "what ran may end")
        await r.idle()
        rows = {row.id: row for row in await r.store.page(Query())}
        assert sorted((row.state.value, row.attempts) for row in rows.values()) == [
            ("queued", 0),
            ("queued", 0),
            ("succeeded", 1),
            ("succeeded", 1),
        ]
        assert seen == ["quick", "hold"]
        await r.hub.resume("function", "work")
        assert await r.states(4) == ["succeeded"] * 4


@pytest.mark.parametrize("waits", ["for its start", "for its turn"])
async def test_what_still_waits_for_a_worker_does_not_begin_after_a_pause(tmp_path: Path, waits: str) -> None:
    go, carried = anyio.Event(), []

    async def note(invocation: Invocation) -> Any:
        if not invocation.deliveries:
            await go.wait()
        carried.extend(invocation.deliveries)

    async with (
        rig(tmp_path, {"work": note}, functions=[function(concurrency=1)]) as r,
        anyio.create_task_group() as tasks,
    ):
        if waits == "for its turn":
            tasks.start_soon(r.hub.invoke, "work", b"{}")
            await r.until(lambda: r.runtime.running, "another call has the place")
        else:
            r.runtime.slow = 0.1
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: r.hub._wiring.dispatchers["work"].running, "it waits for a worker")
        await r.hub.pause("function", "work")
        go.set()
        with anyio.fail_after(10):
            while (await r.row(answer.deliveries[0])).state.value != "queued":
                await anyio.sleep(0.005)
        detail = await r.store.get(answer.deliveries[0])
        assert detail is not None
        assert (detail.delivery.attempts, detail.attempts, carried) == (0, [], [])
        await r.hub.resume("function", "work")
        assert await r.states(1) == ["succeeded"]


async def status_of(r: Rig) -> int:
    await r.until(lambda: "/in" in r.routes.routes, "the route is served")
    request = Request(
        method="POST", path="/in", raw_path="/in", query="", headers=(), body=b"", client="", scheme="http", host=""
    )
    return (await r.routes.call("/in", request)).status


async def test_a_paused_webhook_answers_503_also_after_a_restart(tmp_path: Path) -> None:
    store, more = MemoryStore(), {"route": route_source()}
    triggers = [trigger("hook", type="route")]
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, store=store, more=more) as r:
        assert await status_of(r) == 202
        await r.hub.pause("trigger", "hook")
        assert await status_of(r) == 503
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, store=store, more=more) as r:
        assert (await r.hub.triggers())[0]["state"] == "paused"
        assert await status_of(r) == 503
        await r.hub.resume("trigger", "hook")
        assert await status_of(r) == 202


async def test_a_page_is_told_that_a_trigger_is_paused() -> None:
    async def never(request: Request) -> None:
        raise AssertionError("it is paused")

    routes, rules = FakeRoutes(), Cors(origins=("https://site.example",), methods=("POST",))
    page = ("origin", "https://site.example"), ("access-control-request-method", "POST")
    async with PausableRoutes(routes, lambda: True).serve(
        Route(path="/in", methods=("POST", "OPTIONS"), body_limit=1, endpoint=never, cors=rules)
    ):
        answers = [
            await routes.call("/in", Request(
                method=method, path="/in", raw_path="/in", query="", headers=page, body=b"", client="", scheme="", host=""
            ))
            for method in ("OPTIONS", "POST")
        ]  # fmt: skip
    assert [answer.status for answer in answers] == [204, 503]
    assert all(("access-control-allow-origin", "https://site.example") in answer.headers for answer in answers)


async def test_what_a_reload_takes_away_meanwhile_is_paused_and_resumed_all_the_same(tmp_path: Path) -> None:
    class Slow(MemoryStore):
        go: anyio.Event | None = None

        async def set_checkpoints(self, *args: Any, **named: Any) -> None:
            if self.go is not None:
                await self.go.wait()
            await super().set_checkpoints(*args, **named)

    store = Slow()
    functions = [function(), function("other")]
    async with rig(tmp_path, {"work": echoing, "other": echoing}, functions=functions, store=store) as r:
        for act in (r.hub.pause, r.hub.resume):
            await r.reload(functions, [trigger()])
            store.go = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(act, "function", "work")
                tasks.start_soon(act, "trigger", "hand")
                await r.idle()
                await r.reload([function("other")], [])
                store.go.set()
        await r.reload(functions, [trigger()])
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]


async def test_a_reload_does_not_wake_what_is_paused(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.hub.pause("function", "work")
        await r.hub.pause("trigger", "hand")
        contexts = r.modules["hand"].contexts  # type: ignore[attr-defined]
        contexts.clear()
        await r.reload([function(version="work-2")], [trigger(filter={"n": [1]})])
        await r.hub.invoke_async("work", b"1")
        await r.idle()
        assert contexts == {}
        assert [row.state.value for row in await r.store.page(Query())] == ["queued"]
