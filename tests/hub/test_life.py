"""How the hub starts, changes and ends while work is under way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from tests.hub.rig import Failure, echoing, function, hand_source, project, rig, route_source, trigger
from triggerhub.errors import SourceFailed
from triggerhub.model import Event, Invocation
from triggerhub.settings import RetryPolicy, Secret
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeClock


@pytest.mark.parametrize(
    ("takes", "drain", "state", "attempts"),
    [
        pytest.param(0.05, 20_000, "succeeded", 1, id="finishes within the grace"),
        pytest.param(60, 50, "queued", 0, id="cut and given back uncounted"),
    ],
)
async def test_drain_settles_what_was_running(
    tmp_path: Path, takes: float, drain: int, state: str, attempts: int
) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(takes)

    store = MemoryStore()
    with anyio.fail_after(20):
        async with rig(tmp_path, {"work": slow}, store=store, drain=drain) as r:
            await r.emit("hand", *range(4))
            await r.until(lambda: r.runtime.running == 4, "all four run")
    rows = await store.page(Query())
    assert [(row.state.value, row.attempts) for row in rows] == [(state, attempts)] * 4
    assert (await store.stats()).drift == 0


async def test_a_cancelled_hub_gives_everything_back(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(60)

    store = MemoryStore()
    with capture_logs() as logs, anyio.fail_after(20), anyio.CancelScope() as scope:
        async with rig(tmp_path, {"work": slow}, store=store) as r:
            await r.emit("hand", *range(10))
            await r.until(lambda: r.runtime.running == 4, "four run")
            running = sorted(one for call in r.runtime.calls for one in call.deliveries)
            scope.cancel()
            await anyio.sleep(1)
    (told,) = [line["deliveries"] for line in logs if line["event"].startswith("running calls were cut")]
    assert told == running
    rows = await store.page(Query())
    assert {(row.state.value, row.attempts) for row in rows} == {("queued", 0)}
    assert len(r.runtime.ended) == len(r.runtime.started)


async def test_cancelling_a_running_delivery_ends_its_worker(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(60)

    async with rig(tmp_path, {"work": slow}) as r:
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: r.runtime.running == 1, "it runs")
        assert await r.hub.deliveries.cancel(answer.deliveries, "asked") == list(answer.deliveries)
        assert await r.states(1) == ["cancelled"]
        await r.until(lambda: len(r.runtime.ended) == 1, "its worker is gone")
        assert await r.hub.deliveries.cancel(answer.deliveries, "again") == []
        assert (await r.store.stats()).drift == 0


async def test_a_paused_function_keeps_its_deliveries_and_remembers_it(tmp_path: Path) -> None:
    store = MemoryStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        await r.hub.pause("function", "work")
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        (answer,) = await r.emit("hand", 1)
        (row,) = await r.hub.functions()
        assert row["paused"] is True
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 0.1)).state == "queued"
        await r.hub.resume("function", "work")
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).state == "succeeded"


async def test_a_paused_trigger_takes_nothing_until_resumed(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.emit("hand", 1)
        await r.hub.pause("trigger", "hand")
        (row,) = await r.hub.triggers()
        assert row["state"] == "paused"
        r.modules["hand"].contexts.clear()
        await r.hub.resume("trigger", "hand")
        await r.emit("hand", 2)
        assert await r.states(2) == ["succeeded"] * 2


async def test_redrive_runs_a_dead_letter_again_under_its_own_id(tmp_path: Path) -> None:
    well: list[bool] = []

    async def mended(invocation: Invocation) -> Any:
        if not well:
            raise BrokenPipeError
        return "ok"

    functions = [function(retry=RetryPolicy(attempts=1))]
    async with rig(tmp_path, {"work": mended}, functions=functions) as r:
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["dead"]
        well.append(True)
        assert await r.hub.deliveries.redrive(answer.deliveries) == list(answer.deliveries)
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).state == "succeeded"
        stats = await r.store.stats()
    assert (stats.accepted, stats.drift) == (1, 0)


async def test_what_waits_for_its_next_attempt_is_tried_now_but_not_while_paused(tmp_path: Path) -> None:
    clock, tries, well = FakeClock(), [], []

    async def mended(invocation: Invocation) -> Any:
        tries.append(json.loads(invocation.payload))
        if not well:
            raise BrokenPipeError
        return "ok"

    policy = RetryPolicy(attempts=3, initial=600_000, max=600_000, jitter=False)
    async with rig(tmp_path, {"work": mended}, functions=[function(retry=policy)], clock=clock) as r:
        (one,), (two,) = await r.emit("hand", 1), await r.emit("hand", 2)
        waiting = [*one.deliveries, *two.deliveries]
        await r.until(lambda: all(r.store.rows[row].delivery.retrying(clock.now()) for row in waiting), "both wait")
        well.append(True)
        await r.hub.pause("function", "work")
        assert await r.hub.deliveries.retry(one.deliveries) == list(one.deliveries)
        assert await r.hub.deliveries.retry(one.deliveries) == []
        await r.idle()
        assert tries == [1, 2]
        await r.hub.resume("function", "work")
        row = await r.hub.deliveries.wait(one.deliveries[0], 20)
        assert (row.state, row.attempts) == ("succeeded", 2)
        await r.idle()
        assert tries == [1, 2, 1]
        assert r.store.rows[two.deliveries[0]].delivery.retrying(clock.now())
        stats = await r.store.stats()
    assert (stats.accepted, stats.drift) == (2, 0)


async def test_discard_removes_a_dead_letter_and_counts_it(tmp_path: Path) -> None:
    async def bad(invocation: Invocation) -> Any:
        raise BrokenPipeError

    functions = [function(retry=RetryPolicy(attempts=1))]
    async with rig(tmp_path, {"work": bad}, functions=functions) as r:
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["dead"]
        assert await r.hub.deliveries.discard(answer.deliveries, "known") == list(answer.deliveries)
        stats = await r.store.stats()
    assert (stats.accepted, stats.discarded, stats.drift) == (1, 1, 0)


async def test_reload_with_errors_keeps_the_running_configuration(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        r.wanted.append((None, {}, ["triggerhub.toml:1:1: error[syntax]: no"]))
        assert await r.hub.reload() == ["triggerhub.toml:1:1: error[syntax]: no"]
        assert "triggerhub.toml:1:1: error[syntax]: no" in (await r.hub.status())["problems"]
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]


async def test_reload_touches_only_what_changed(tmp_path: Path) -> None:
    first, second = trigger("first"), trigger("second")
    async with rig(tmp_path, {"work": echoing}, triggers=[first, second]) as r:
        await r.emit("first", 1)
        await r.emit("second", 1)
        before = dict(r.modules["hand"].contexts)
        changed = replace(second, filter={"n": [1]})
        r.wanted.append((project([function()], [first, changed], tmp_path), r.modules, []))
        assert await r.hub.reload() == []
        await r.until(lambda: r.modules["hand"].contexts["second"] is not before["second"], "the second is new")
        assert r.modules["hand"].contexts["first"] is before["first"]
        (answer,) = await r.emit("second", {"n": 2})
    assert "n" in answer.why


async def test_a_new_version_serves_new_work_and_old_workers_end(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.emit("hand", 1)
        await r.states(1)
        r.wanted.append((project([function(version="work-2")], [trigger()], tmp_path), r.modules, []))
        assert await r.hub.reload() == []
        (answer,) = await r.emit("hand", 2)
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).version == "work-2"
        await r.until(lambda: any(f.version == "work-1" for f in r.runtime.ended), "the old worker ends")


async def test_a_version_that_cannot_start_keeps_the_old_one_serving(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        r.runtime.broken.add("work-2")
        r.wanted.append((project([function(version="work-2")], [trigger()], tmp_path), r.modules, []))
        (problem,) = await r.hub.reload()
        assert "work-1 goes on serving" in problem
        (answer,) = await r.emit("hand", 2)
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).version == "work-1"


async def test_a_function_may_come_and_go(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing, "other": echoing}, functions=[function()]) as r:
        both = project([function(), function("other")], [trigger(functions=("work", "other"))], tmp_path)
        r.wanted.append((both, r.modules, []))
        await r.hub.reload()
        await r.until(lambda: r.modules["hand"].contexts["hand"].trigger.functions == ("work", "other"), "both")
        await r.emit("hand", 1)
        assert await r.states(2) == ["succeeded"] * 2
        r.wanted.append((project([function()], [trigger()], tmp_path), r.modules, []))
        await r.hub.reload()
        assert [row["name"] for row in await r.hub.functions()] == ["work"]


async def test_a_failing_source_is_started_again_and_shown_as_degraded(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        module, runs = hand_source(), []
        good = module.run

        async def run(ctx: Any, options: Any) -> None:
            runs.append(ctx)
            if len(runs) == 1:
                raise ConnectionError("the other side is gone")
            await good(ctx, options)

        module.run = run  # type: ignore[attr-defined]
        changed = project([function()], [trigger(key="$.n")], tmp_path)
        r.modules["hand"] = module
        r.wanted.append((changed, {"hand": module}, []))
        await r.hub.reload()
        with anyio.fail_after(20):
            while (row := (await r.hub.triggers())[0])["state"] != "degraded":
                await anyio.sleep(0.01)
        assert "ConnectionError: the other side is gone" in row["why"]
        await r.emit("hand", {"n": 1})
        assert await r.states(1) == ["succeeded"]


async def test_a_source_whose_hooks_fail_is_named_and_takes_nothing_from_others(tmp_path: Path) -> None:
    def failing(*given: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    place = f"(test_life.py:{failing.__code__.co_firstlineno})"
    triggers = [trigger(), trigger("in", type="route")]
    async with rig(tmp_path, {"work": echoing}, triggers=triggers, more={"route": route_source()}) as r:
        module: Any = r.modules["hand"]
        for hook in ("upcoming", "wrap", "fire", "samples"):
            setattr(module, hook, failing)
        failed, good = await r.hub.triggers()
        assert (failed["state"], failed["next"]) == ("running", None)
        assert failed["why"] == f"the source hand failed in upcoming: ZeroDivisionError: on purpose {place}"
        assert (good["name"], good["why"]) == ("in", None)
        for hook, send in {
            "wrap": r.hub.send("hand", b"1"),
            "fire": r.hub.fire("hand"),
            "samples": r.hub.send("hand", None, sample="one"),
        }.items():
            with pytest.raises(SourceFailed, match=f"the source hand failed in {hook}: ZeroDivisionError: on purpose"):
                await send
        module.wrap = lambda *given: Event(data=b"1", time="now")  # type: ignore[arg-type]
        with pytest.raises(SourceFailed, match="in wrap: TypeError: an event's time is whole milliseconds"):
            await r.hub.send("hand", b"1")
        module.upcoming = lambda *given: "soon"
        assert "it returned str, expected int" in (await r.hub.triggers())[0]["why"]
        with pytest.raises(TypeError, match="expected a payload of bytes, got str"):
            await module.contexts["hand"].handle(Event(data=b"1", time=1), payload="1")


async def test_invoke_returns_the_answer_and_the_log(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        answered = await r.hub.invoke("work", b'{"n":1}')
        assert json.loads(answered.outcome.payload) == {"n": 1}  # type: ignore[union-attr]
        assert (await r.store.stats()).accepted == 0, "a synchronous call makes no delivery"
        accepted = await r.hub.invoke_async("work", b"2")
        assert (await r.hub.deliveries.wait(accepted.deliveries[0], 20)).trigger == "api"
    lines = [line["text"] for line in r.output.lines if line["request_id"] == answered.request_id]
    assert lines[0].startswith(f"START RequestId: {answered.request_id}")
    assert lines[-1].startswith(f"REPORT RequestId: {answered.request_id}")


async def test_lines_in_json_hide_secrets_in_what_a_handler_says_and_stay_json(tmp_path: Path) -> None:
    async def failing(invocation: Invocation) -> Any:
        raise Failure

    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "KIND": Secret("Failure"), "SIZE": Secret("256")}
    async with rig(tmp_path, {"work": failing}, functions=[function(env=env)]) as r:
        answered = await r.hub.invoke("work", b"1")
    start, done, report = (
        json.loads(line["text"]) for line in r.output.lines if line["request_id"] == answered.request_id
    )
    assert [line["type"] for line in (start, done, report)] == [
        "platform.start", "platform.runtimeDone", "platform.report",
    ]  # fmt: skip
    assert done["record"]["errorType"] == report["record"]["errorType"] == "•••"
    assert report["record"]["metrics"]["memorySizeMB"] == 256


async def test_no_free_worker_within_the_timeout_is_a_throttle(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(60)

    functions = [function(concurrency=1, timeout=50)]
    async with rig(tmp_path, {"work": slow}, functions=functions, drain=10) as r:
        await r.emit("hand", 1)
        await r.until(lambda: r.runtime.running == 1, "the one worker is busy")
        answered = await r.hub.invoke("work", b"1")
    assert answered.outcome.fault.type == "TooManyRequestsException"  # type: ignore[union-attr]


async def test_the_metrics_tell_what_happened(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        await r.emit("hand", 1, 2)
        await r.states(2)
        page = (await r.hub.metrics()).decode()
    assert 'triggerhub_events_accepted_total{trigger="hand"} 2.0' in page
    assert 'triggerhub_invocations_total{function="work"} 2.0' in page
    assert 'triggerhub_deliveries{state="succeeded"} 2.0' in page
    assert "triggerhub_accounting_drift 0.0" in page
