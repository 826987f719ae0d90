"""What the host cannot isolate is not run: its deliveries wait and are not counted, until it can."""

from __future__ import annotations

from pathlib import Path

from tests.hub.rig import echoing, function, rig, trigger
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.testing import FakeClock

WHY = Refusal(message="no namespaces", hint="allow them")


async def test_deliveries_of_a_function_that_is_refused_wait_until_it_can_run(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}, clock=FakeClock()) as r:
        r.runtime.refused["work"] = WHY
        # Claimed before it is known what the host gives.
        (early,) = await r.emit("hand", 1)
        while not (await r.hub.deliveries.get(early.deliveries[0])).attempts:
            await r.idle()
        r.hub.weigh()
        (late,) = await r.emit("hand", 2)
        await r.hub.pause("function", "work")
        await r.hub.resume("function", "work")
        r.advance(60_000)
        await r.idle()
        for answer in (early, late):
            row = await r.row(answer.deliveries[0])
            assert (row.state, row.attempts) == ("queued", 0)
        assert "function work is not run: no namespaces; allow them" in (await r.hub.status())["problems"]
        (row,) = await r.hub.functions()
        assert row["refused"] == "no namespaces; allow them"
        assert b'triggerhub_function_level{function="work",level="refused"} 1.0' in await r.hub.metrics()
        r.runtime.refused.clear()
        r.hub.weigh()
        assert await r.states(2) == ["succeeded"] * 2


async def test_a_function_that_a_reload_lets_run_is_served(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        r.runtime.refused["work"] = WHY
        r.hub.weigh()
        (answer,) = await r.emit("hand", 1)
        await r.idle()
        assert (await r.row(answer.deliveries[0])).state == "queued"
        r.runtime.refused.clear()
        await r.reload([function(level="trusted")], [trigger()])
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).state == "succeeded"


async def test_an_attempt_says_at_which_level_it_ran(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echoing}) as r:
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
        (attempt,) = (await r.hub.deliveries.get(answer.deliveries[0])).attempts
        assert attempt.level == "isolated"
        assert b'triggerhub_function_level{function="work",level="isolated"} 1.0' in await r.hub.metrics()
