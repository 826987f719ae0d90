"""Cancelling ends a delivery wherever it stands: queued, claimed ahead, waiting for its rate, running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio

from tests.hub.rig import echoing, function, rig, trigger
from triggerhub.model import Invocation
from triggerhub.settings import Batch, Rate


async def test_what_was_claimed_ahead_and_then_cancelled_never_runs(tmp_path: Path) -> None:
    go, seen = anyio.Event(), []

    async def note(invocation: Invocation) -> Any:
        seen.append(json.loads(invocation.payload))
        if seen[-1] == "slow":
            await go.wait()

    async with rig(tmp_path, {"work": note}, functions=[function(concurrency=1)]) as r:
        await r.emit("hand", "quick")
        assert await r.states(1) == ["succeeded"]
        answers = await r.emit("hand", "slow", 1, 2, 3)
        await r.until(lambda: "slow" in seen, "the slow one runs")
        await r.until(lambda: r.hub._wiring.dispatchers["work"]._ready, "the others are claimed ahead of it")
        ids = [answer.deliveries[0] for answer in answers[1:]]
        assert [(await r.row(one)).state for one in ids] == ["running"] * 3
        assert await r.hub.deliveries.cancel(ids, "asked") == ids
        go.set()
        assert await r.states(5) == ["succeeded", "succeeded", "cancelled", "cancelled", "cancelled"]
        assert (await r.store.stats()).drift == 0
    assert seen == ["quick", "slow"]


async def test_the_rest_of_a_cut_batch_runs_again_uncounted(tmp_path: Path) -> None:
    first = anyio.Event()

    async def slow(invocation: Invocation) -> Any:
        if not first.is_set():
            first.set()
            await anyio.sleep(60)
        return None

    triggers = [trigger(batch=Batch(size=3, window=60_000))]
    async with rig(tmp_path, {"work": slow}, triggers=triggers) as r:
        answers = await r.emit("hand", 1, 2, 3)
        await first.wait()
        await r.hub.deliveries.cancel(answers[1].deliveries, "asked")
        await r.until(lambda: r.runtime.running == 0, "the call was cut")
        rows = [await r.row(answer.deliveries[0]) for answer in answers]
        assert [row.state.value for row in rows] == ["queued", "cancelled", "queued"]
        assert [row.attempts for row in rows][::2] == [0, 0]


async def test_one_that_waits_for_its_rate_can_be_cancelled(tmp_path: Path) -> None:
    functions = [function(rate=Rate(count=1, per=3_600_000))]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        answers = await r.emit("hand", 1, 2)
        second = answers[1].deliveries
        await r.until(lambda: len(r.runtime.calls) == 1, "the first ran")
        await r.until(lambda: second[0] in r.hub._wiring.dispatchers["work"]._held, "the second is claimed")
        assert await r.hub.deliveries.cancel(second, "asked") == list(second)
        assert await r.states(2) == ["succeeded", "cancelled"]


async def test_a_cancelled_delivery_can_be_redriven_while_its_call_is_being_cut(tmp_path: Path) -> None:
    calls = []

    async def stubborn(invocation: Invocation) -> Any:
        calls.append(invocation)
        if len(calls) == 1:
            try:
                await anyio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.05)

    async with rig(tmp_path, {"work": stubborn}) as r:
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: calls, "it runs")
        await r.hub.deliveries.cancel(answer.deliveries, "asked")
        await r.hub.deliveries.redrive(answer.deliveries)
        assert await r.states(1) == ["succeeded"]
        await r.until(lambda: r.runtime.running == 0, "the first call ends, too")
        row = await r.row(answer.deliveries[0])
        assert (row.state, row.attempts) == ("succeeded", 1)
        assert r.hub._wiring.dispatchers["work"]._held == {}


async def test_the_next_of_a_line_waits_until_the_call_of_a_cancelled_one_is_over(tmp_path: Path) -> None:
    over, began = anyio.Event(), []

    async def stubborn(invocation: Invocation) -> Any:
        began.append(json.loads(invocation.payload)["n"])
        if began == [1]:
            try:
                await anyio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await over.wait()

    async with rig(tmp_path, {"work": stubborn}, triggers=[trigger(order="$.who")]) as r:
        first, second = await r.emit("hand", {"n": 1, "who": "a"}, {"n": 2, "who": "a"})
        await r.until(lambda: began, "the first runs")
        await r.hub.deliveries.cancel(first.deliveries, "asked")
        held = r.hub._wiring.dispatchers["work"]._held
        await r.until(lambda: second.deliveries[0] in held or 2 in began, "the second is claimed")
        await r.emit("hand", {"n": 3, "who": "b"})
        await r.until(lambda: 3 in began, "another line's goes on")
        meanwhile = list(began)
        over.set()
        assert await r.states(3) == ["cancelled", "succeeded", "succeeded"]
    assert (meanwhile, began) == ([1, 3], [1, 3, 2])


async def test_what_is_not_there_is_passed_over(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        assert await r.hub.deliveries.cancel(["0190a000-0000-7000-8000-000000000001"], "asked") == []
        assert await r.hub.deliveries.redrive(["0190a000-0000-7000-8000-000000000001"]) == []
