"""A reload changes what changed, touches nothing else, and never makes things worse."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from tests.hub.rig import NoOptions, echoing, function, hand_source, rig, route_source, trigger
from triggerhub.errors import Conflict
from triggerhub.hub import supervise
from triggerhub.hub.reload import COARSE, _Watch, matters
from triggerhub.model import Event, Invocation
from triggerhub.settings import Destination, Trigger
from triggerhub.source import Context
from triggerhub.store import Query


async def test_an_unexpected_error_keeps_the_running_configuration(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        (problem,) = await r.hub.reload()  # nothing is there to be read: pop from an empty list
        assert "IndexError" in problem
        assert problem in (await r.hub.status())["problems"]
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
        assert await r.reload([function()], [trigger()]) == []
        assert (await r.hub.status())["problems"] == []


async def test_a_removed_functions_deliveries_are_kept_shown_and_run_when_it_is_back(tmp_path: Path) -> None:
    functions = [function(), function("other")]
    async with rig(tmp_path, {"work": echoing, "other": echoing}, functions=functions) as r:
        await r.hub.pause("function", "work")
        await r.emit("hand", 1, 2)
        await r.reload([function("other")], [])
        (problem,) = (await r.hub.status())["problems"]
        assert problem.startswith("2 deliveries of trigger 'hand' wait for function 'work'")
        assert 'triggerhub_queue_depth{function="work",trigger="hand"} 2.0' in (await r.hub.metrics()).decode()
        await r.reload(functions, [trigger()])
        await r.hub.resume("function", "work")
        assert await r.states(2) == ["succeeded"] * 2
        assert (await r.hub.status())["problems"] == []


async def test_a_removed_function_finishes_what_runs_and_its_rest_can_be_cancelled(tmp_path: Path) -> None:
    go = anyio.Event()

    async def hold(invocation: Invocation) -> Any:
        await go.wait()

    functions = [function(concurrency=1), function("other")]
    async with rig(tmp_path, {"work": hold, "other": echoing}, functions=functions) as r:
        answers = await r.emit("hand", 1, 2)
        await r.until(lambda: r.runtime.running == 1, "one runs")
        await r.reload([function("other")], [])
        go.set()
        assert (await r.hub.deliveries.wait(answers[0].deliveries[0], 20)).state == "succeeded"
        assert await r.hub.deliveries.cancel(answers[1].deliveries, "gone") == list(answers[1].deliveries)
        assert await r.states(2) == ["succeeded", "cancelled"]
        assert (await r.store.stats()).drift == 0


async def test_a_removed_destination_takes_what_was_sent_to_it_before(tmp_path: Path) -> None:
    with_file = function(on_success=(Destination(kind="file", target="out.jsonl"),))
    async with rig(tmp_path, {"work": echoing}, functions=[with_file]) as r:
        dispatcher = r.hub._wiring.dispatchers["file:out.jsonl"]
        dispatcher.pause()
        await r.emit("hand", {"n": 1})
        await r.until(lambda: len(r.store.rows) == 2, "the record waits")
        await r.reload([function()], [trigger()])
        dispatcher.resume()
        assert await r.states(2) == ["succeeded"] * 2
    assert json.loads((tmp_path / "out.jsonl").read_text())["responsePayload"] == {"n": 1}


async def test_another_time_zone_reaches_the_sources(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.emit("hand", 1)
        contexts = r.modules["hand"].contexts  # type: ignore[attr-defined]
        before = contexts["hand"]
        assert str(before.timezone) == "UTC"
        assert await r.reload([function()], [trigger()], timezone="Europe/Berlin") == []
        await r.until(lambda: contexts["hand"] is not before, "the source runs anew")
        assert str(contexts["hand"].timezone) == "Europe/Berlin"


@pytest.mark.parametrize(
    "change", [{"node": "other"}, {"log_level": "debug"}, {"durability": "normal"}, {"admin": ("127.0.0.1", 1)}]
)
async def test_what_only_a_restart_changes_is_said(tmp_path: Path, change: dict[str, Any]) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        (problem,) = await r.reload([function()], [trigger()], **change)
    assert problem == f"[hub] {next(iter(change))} takes effect at the next start"


async def test_a_new_grace_holds_for_the_drain_that_follows(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(60)

    with anyio.fail_after(20):
        async with rig(tmp_path, {"work": slow}, drain=60_000) as r:
            await r.reload([function()], [trigger()], drain=20)
            await r.emit("hand", 1)
            await r.until(lambda: r.runtime.running == 1, "it runs")
    (row,) = await r.store.page(Query())
    assert (row.state.value, row.attempts) == ("queued", 0)


async def test_a_source_that_ends_slowly_is_waited_for_before_its_successor_starts(tmp_path: Path) -> None:
    module, order = hand_source(), []

    async def run(ctx: Any, options: object) -> None:
        order.append("begins")
        ctx.begun()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            order.append("ended")

    module.run = run  # type: ignore[attr-defined]
    triggers = [trigger("slow", type="slow", options=NoOptions())]
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, more={"slow": module}) as r:
        await r.until(lambda: order, "it began")
        await r.reload([function()], [trigger("slow", type="slow", filter={"n": [1]})])
        await r.until(lambda: len(order) >= 3, "its successor began")
        assert order == ["begins", "ended", "begins"]


async def test_a_source_that_does_not_end_keeps_nothing_else_from_its_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "STUBBORN", 0.1)
    monkeypatch.setattr(supervise, "ACKNOWLEDGE", 0)
    module, go, runs, refused = hand_source(), anyio.Event(), [], []

    async def run(ctx: Context, options: object) -> None:
        runs.append(ctx)
        ctx.begun()
        while not go.is_set():
            with suppress(BaseException):
                await anyio.sleep(0.001)
        try:
            await ctx.emit(Event(data=b"1", time=1))
        except Conflict as error:
            refused.append(error.message)

    module.run = run  # type: ignore[attr-defined]
    triggers, more = [trigger("deaf", type="deaf"), trigger()], {"deaf": module}
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, more=more, drain=0) as r:
        try:
            await r.until(lambda: runs, "it began")
            await r.reload([function()], [trigger(filter={"n": [1]})], drain=0)
            assert r.modules["hand"].contexts["hand"].trigger.filter == {"n": [1]}
            told = (
                "trigger deaf: its former source does not end, although it was cancelled; a restart of the hub ends it"
            )
            assert told in (await r.hub.status())["problems"]
            # Its trigger comes back: the new one waits, and says so.
            await r.reload([function()], [trigger("deaf", type="deaf", filter={"n": [1]}), trigger()], drain=0)
            with anyio.fail_after(20):
                while (await r.hub.triggers())[0]["state"] != "degraded":
                    await anyio.sleep(0.001)
            assert (await r.hub.status())["problems"] == [told]
            assert len(runs) == 1
            go.set()
            await r.until(lambda: len(runs) > 1, "the new one began")
            assert refused == ["the source of trigger 'deaf' had to end, and takes no more events"]
            assert told not in (await r.hub.status())["problems"]
        finally:
            go.set()


def busy_source(go: anyio.Event, ending: anyio.Event, seen: list[str | None]) -> ModuleType:
    """A source that has something to finish until *go*; *ending* tells that it was to end, *seen* as what it ran."""
    module = hand_source()

    async def run(ctx: Context, options: NoOptions) -> None:
        ctx.begun()
        async with ctx.finish():
            seen.append(options.name)
            while not ctx.ending:
                await anyio.sleep(0.001)
            ending.set()
            await go.wait()
            seen.append("ended")

    module.run = run  # type: ignore[attr-defined]
    return module


async def test_what_is_resumed_while_a_reload_waits_runs_as_the_new_configuration_says(tmp_path: Path) -> None:
    go, ending, seen = anyio.Event(), anyio.Event(), []
    module = hand_source()

    async def run(ctx: Context, options: NoOptions) -> None:
        seen.append(options.name)
        ctx.begun()
        await anyio.sleep_forever()

    module.run = run  # type: ignore[attr-defined]

    def triggers(name: str) -> list[Trigger]:
        return [trigger(one, type=one, options=NoOptions(name=name)) for one in ("named", "busy")]

    more = {"named": module, "busy": busy_source(go, ending, [])}
    async with rig(tmp_path, {"work": echoing}, triggers=triggers("old"), more=more) as r:
        await r.hub.pause("trigger", "named")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.reload, [function()], triggers("new"))
            await ending.wait()
            await r.hub.resume("trigger", "named")
            await r.until(lambda: seen == ["old", "old"], "it is resumed as it was")
            go.set()
        await r.until(lambda: len(seen) == 3, "it runs anew")
    assert seen[-1] == "new"


async def test_routes_are_served_while_a_reload_waits_for_another_source(tmp_path: Path) -> None:
    go, ending = anyio.Event(), anyio.Event()
    triggers = [trigger("hook", type="route"), trigger("busy", type="busy", options=NoOptions())]
    more = {"route": route_source(), "busy": busy_source(go, ending, [])}
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, more=more) as r:
        await r.until(lambda: "/in" in r.routes.routes, "the route is served")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(r.reload, [function()], triggers, timezone="Europe/Berlin"))
            await ending.wait()
            await r.idle()
            assert "/in" in r.routes.routes
            go.set()
        await r.until(lambda: "/in" in r.routes.routes, "the route is served again")


async def test_a_source_that_is_resumed_before_it_has_ended_does_not_run_beside_itself(tmp_path: Path) -> None:
    go, ending, seen = anyio.Event(), anyio.Event(), []
    triggers = [trigger("busy", type="busy", options=NoOptions(name="began"))]
    more = {"busy": busy_source(go, ending, seen)}
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, more=more) as r:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.hub.pause, "trigger", "busy")
            await ending.wait()
            await r.hub.resume("trigger", "busy")
            await r.idle()
            assert seen == ["began"]
            go.set()
        await r.until(lambda: len(seen) == 3, "it runs again")
    assert seen[:3] == ["began", "ended", "began"]


async def test_a_call_of_a_removed_function_can_still_be_cancelled(tmp_path: Path) -> None:
    async def hold(invocation: Invocation) -> Any:
        await anyio.sleep(60)

    functions = [function(), function("other")]
    async with rig(tmp_path, {"work": hold, "other": echoing}, functions=functions) as r:
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: r.runtime.running == 1, "it runs")
        await r.reload([function("other")], [])
        assert await r.hub.deliveries.cancel(answer.deliveries, "gone") == list(answer.deliveries)
        await r.until(lambda: r.runtime.running == 0, "its call is cut")
        assert await r.states(1) == ["cancelled"]
        await r.until(lambda: not r.hub._wiring.dispatchers._leaving, "its dispatcher is gone")


async def test_a_function_that_comes_back_while_its_last_call_ends_keeps_the_order(tmp_path: Path) -> None:
    go, seen = anyio.Event(), []

    async def hold(invocation: Invocation) -> Any:
        await go.wait()
        seen.append(json.loads(invocation.payload)["n"])

    functions, triggers = [function(), function("other")], [trigger(order="$.who")]
    async with rig(tmp_path, {"work": hold, "other": echoing}, functions=functions, triggers=triggers) as r:
        await r.emit("hand", {"who": "a", "n": 1}, {"who": "a", "n": 2})
        await r.until(lambda: r.runtime.running == 1, "the first runs")
        await r.reload([function("other")], [])
        await r.reload(functions, triggers)
        await r.idle()
        go.set()
        with anyio.fail_after(10):
            assert await r.states(2) == ["succeeded"] * 2, "the second hears of the end of the first"
    assert seen == [1, 2]


async def test_changed_versions_are_tried_side_by_side(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    functions = [function(name) for name in names]
    async with rig(tmp_path, dict.fromkeys(names, echoing), functions=functions, triggers=[]) as r:
        r.runtime.slow = 0.2
        r.runtime.broken.add("c-2")
        began = anyio.current_time()
        (problem,) = await r.reload([function(name, version=f"{name}-2") for name in names], [])
        assert anyio.current_time() - began < 0.7
        versions = {row["name"]: row["version"] for row in await r.hub.functions()}
    assert "c-1 goes on serving" in problem
    assert versions == {"a": "a-2", "b": "b-2", "c": "c-1", "d": "d-2"}


@pytest.mark.parametrize(
    ("put", "touched"),
    [
        pytest.param("sources/own.py", True, id="a source"),
        pytest.param("sources/__pycache__/own.cpython-311.pyc", False, id="what the interpreter makes of one"),
    ],
)
async def test_a_save_while_the_hub_starts_is_seen_and_the_interpreters_own_files_are_not(
    tmp_path: Path, put: str, touched: bool
) -> None:
    async def never() -> None: ...

    (tmp_path / "sources").mkdir()
    until = (tmp_path / "sources").lstat().st_ctime_ns + 2 * COARSE
    while time.time_ns() < until:
        await anyio.sleep(0.005)
    watch = _Watch(lambda: [tmp_path / "sources"], matters, never, until)
    assert not watch._touched([tmp_path / "sources"])
    (tmp_path / put).parent.mkdir(exist_ok=True)
    (tmp_path / put).write_text("")
    assert watch._touched([tmp_path / "sources"]) is touched
