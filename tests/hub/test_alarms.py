"""Alarms of a running hub: who is told, once, also over restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub.rig import Failure, HeldStore, Rig, echoing, function, rig, trigger
from triggerhub.errors import StoreFull
from triggerhub.hub import alarms
from triggerhub.model import Invocation
from triggerhub.policy import alarm
from triggerhub.settings import Alarm, Destination
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeClock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "LOOK", 0.002)


async def fail(invocation: Invocation) -> Any:
    raise Failure("broken")


def when(sentence: str, **settings: Any) -> dict[str, Alarm]:
    then = (Destination(kind="function", target="tell"),)
    return {"trouble": Alarm(when=alarm.parse(sentence), then=then, **settings)}


def told(hub: Rig) -> list[tuple[str, str]]:
    events = [json.loads(call.payload) for call in hub.runtime.calls if call.function == "tell"]
    return [(event["detail"]["state"]["value"], event["detail"]["state"]["reason"]) for event in events]


def state(hub: Rig) -> str:
    (row,) = hub.hub.alarms.rows()
    return str(row["state"])


async def test_errors_are_told_of_once_and_so_is_their_end(tmp_path: Path) -> None:
    clock = FakeClock(1_000_000)
    handlers = {"work": fail, "tell": echoing}
    async with rig(tmp_path, handlers, clock=clock, alarms=when("errors(work) > 1 in 10m")) as hub:
        await hub.until(lambda: hub.hub.alarms.rows()[0]["value"] == "0", "it was looked at")
        await hub.emit("hand", {})
        for _ in range(3):
            await hub.idle()
            hub.advance(60_000)
        await hub.until(lambda: told(hub), "somebody was told")
        assert [value for value, _ in told(hub)] == ["ALARM"]
        assert told(hub)[0][1] in ("errors(work) > 1 in 10m: 2 now", "errors(work) > 1 in 10m: 3 now")
        (row,) = (await hub.hub.status())["alarms"]
        assert (row["name"], row["when"]) == ("trouble", "errors(work) > 1 in 10m")
        assert row["value"] in ("2", "3")
        assert 1_000_000 < row["since"] <= clock.now()
        assert b'triggerhub_alarm{alarm="trouble"} 1.0' in await hub.hub.metrics()
        hub.advance(11 * 60_000)
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        hub.advance(alarm.CALM)
        await hub.until(lambda: len(told(hub)) == 2, "its end was told")
        assert told(hub)[1][0] == "OK"
        rows = [row for row in hub.store.rows.values() if row.delivery.function == "tell"]
        assert {row.delivery.trigger for row in rows} == {"alarm:trouble"}


@pytest.mark.parametrize(
    ("took", "sentence", "says"),
    [
        ((6_000.0, 6_050.0), "p95(work) > 6s in 5m", "6.03 s now"),
        ((6_000.0, 6_050.0), "p95(work) > 6.1s in 5m", None),
        ((6_000.0, 6_050.0), "p95(work) > 8s in 5m", None),
        ((1.654,), "p50(work) >= 1ms in 5m", "1.65 ms now"),
        ((150_000.0,), "p50(work) > 2m in 5m", "2.5 min now"),
        ((150_000.0,), "p95(work) > 3m in 5m", None),
    ],
)
async def test_it_goes_off_by_what_calls_took(
    tmp_path: Path, took: tuple[float, ...], sentence: str, says: str | None
) -> None:
    clock = FakeClock(1_000_000)
    async with rig(tmp_path, {"work": echoing, "tell": echoing}, clock=clock, alarms=when(sentence)) as hub:
        await hub.until(lambda: "trouble" in hub.hub.alarms._watched, "it was looked at")
        for milliseconds in took:
            hub.hub._metrics.observe("work", milliseconds)
        await hub.until(lambda: hub.hub.alarms.rows()[0]["value"], "it was measured")
        await hub.idle()
        assert state(hub) == ("ok" if says is None else "alarm")
        if says is not None:
            await hub.until(lambda: told(hub), "somebody was told")
            assert told(hub) == [("ALARM", f"{sentence}: {says}")]


@pytest.mark.parametrize("sentence", ["p95(work) >= 0s in 5m", "error_rate(work) >= 0% in 5m"])
async def test_once_no_calls_come_it_is_over_and_that_is_told_of(tmp_path: Path, sentence: str) -> None:
    clock = FakeClock(1_000_000)
    handlers = {"work": echoing, "tell": echoing}
    async with rig(tmp_path, handlers, clock=clock, alarms=when(sentence, repeat=600_000)) as hub:
        await hub.until(lambda: "trouble" in hub.hub.alarms._watched, "it was looked at")
        await hub.emit("hand", {})
        await hub.until(lambda: told(hub), "somebody was told")
        hub.advance(10_000)
        await hub.until(lambda: len(hub.hub.alarms._watched["trouble"]._readings) == 2, "it was read with the call")
        hub.advance(5 * 60_000)
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        assert state(hub) == "alarm"
        hub.advance(alarm.CALM)
        await hub.until(lambda: len(told(hub)) == 2, "its end was told")
        assert told(hub)[1] == ("OK", f"{sentence}: no calls measured in 5m")
        hub.advance(3600_000)
        await hub.idle()
        assert state(hub) == "ok"
        assert len(told(hub)) == 2, "nothing is repeated, and nothing begins again"


async def test_after_a_restart_a_whole_window_without_calls_is_waited_for(tmp_path: Path) -> None:
    store, clock = MemoryStore(), FakeClock(1_000_000)
    handlers = {"work": echoing, "tell": echoing}
    sentence = "p95(work) >= 0s in 5m"
    async with rig(tmp_path, handlers, clock=clock, store=store, alarms=when(sentence)) as hub:
        await hub.until(lambda: "trouble" in hub.hub.alarms._watched, "it was looked at")
        await hub.emit("hand", {})
        await hub.until(lambda: told(hub), "somebody was told")
    store.reopen()
    async with rig(tmp_path, handlers, clock=clock, store=store, alarms=when(sentence)) as hub:
        await hub.until(lambda: state(hub) == "alarm", "it is known to be on")
        hub.advance(4 * 60_000)
        await hub.idle()
        assert hub.hub.alarms._watched["trouble"].standing.turning is None
        assert told(hub) == []
        hub.advance(60_000)
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        hub.advance(alarm.CALM)
        await hub.until(lambda: told(hub), "its end was told")
        assert told(hub) == [("OK", f"{sentence}: no calls measured in 5m")]


async def test_a_missing_heartbeat_is_told_of_and_outlives_a_restart(tmp_path: Path) -> None:
    store, clock = MemoryStore(), FakeClock(1_000_000)
    sentence = "succeeded(work) < 1 in 1h"
    handlers = {"work": echoing, "tell": echoing}
    async with rig(tmp_path, handlers, clock=clock, store=store, alarms=when(sentence)) as hub:
        await hub.until(lambda: hub.hub.alarms.rows()[0]["value"] == "0", "it was looked at")
        hub.advance(30 * 60_000)
        await hub.idle()
        assert told(hub) == []
    store.reopen()
    async with rig(tmp_path, handlers, clock=clock, store=store, alarms=when(sentence)) as hub:
        hub.advance(31 * 60_000)
        await hub.until(lambda: told(hub), "somebody was told")
        assert told(hub) == [("ALARM", "succeeded(work) < 1 in 1h: 0 now")]
    store.reopen()
    async with rig(tmp_path, handlers, clock=clock, store=store, alarms=when(sentence)) as hub:
        await hub.until(lambda: state(hub) == "alarm" and hub.hub.alarms.rows()[0]["value"], "it is known to be on")
        await hub.emit("hand", {})
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        hub.advance(alarm.CALM)
        await hub.until(lambda: told(hub), "its end was told")
        assert told(hub) == [("OK", "succeeded(work) < 1 in 1h: 1 now")]


async def test_what_waits_is_told_of_again_while_it_lasts(tmp_path: Path) -> None:
    clock = FakeClock(1_000_000)
    handlers = {"work": echoing, "tell": echoing}
    async with rig(tmp_path, handlers, clock=clock, alarms=when("lag(hand) > 5m", repeat=60_000)) as hub:
        await hub.hub.pause("function", "work")
        await hub.emit("hand", {})
        hub.advance(5 * 60_000)
        await hub.idle()
        assert told(hub) == []
        hub.advance(1)
        await hub.until(lambda: len(told(hub)) == 1, "somebody was told")
        hub.advance(60_000)
        await hub.until(lambda: len(told(hub)) == 2, "somebody was told again")
        assert [value for value, _ in told(hub)] == ["ALARM", "ALARM"]
        await hub.hub.resume("function", "work")


async def test_an_alarm_that_cannot_be_told_is_tried_again(tmp_path: Path) -> None:
    store, clock = HeldStore(), FakeClock(1_000_000)
    async with rig(tmp_path, {"work": echoing, "tell": echoing}, store=store, clock=clock,
                   alarms=when("queued(work) >= 0")) as hub:  # fmt: skip
        store.raises["append"] += [StoreFull("full"), StoreFull("full")]
        await hub.until(lambda: told(hub), "somebody was told in the end")
        assert len(told(hub)) == 1


async def test_an_alarm_that_is_edited_while_it_is_on_is_over_once_its_new_sentence_says_so(tmp_path: Path) -> None:
    store, clock = MemoryStore(), FakeClock(1_000_000)
    functions, handlers = [function(), function("tell")], {"work": fail, "tell": echoing}
    async with rig(tmp_path, handlers, functions=functions, store=store, clock=clock,
                   alarms=when("errors(work) > 0 in 10m")) as hub:  # fmt: skip
        await hub.until(lambda: hub.hub.alarms.rows()[0]["value"] == "0", "it was looked at")
        await hub.emit("hand", {})
        await hub.until(lambda: told(hub), "somebody was told")
        await hub.reload(functions, [trigger()], alarms=when("errors(work) > 0 in 20m"))
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].text.endswith("20m"), "the new one was looked at")
        assert hub.hub.alarms.rows()[0]["value"] == "1", "what was counted before the edit counts"
        await hub.reload(functions, [trigger()], alarms=when("errors(work) > 5 in 10m"))
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        assert state(hub) == "alarm"
    store.reopen()
    async with rig(tmp_path, handlers, store=store, clock=clock, alarms=when("lag(hand) > 5m")) as hub:
        await hub.until(lambda: hub.hub.alarms._watched["trouble"].standing.turning is not None, "it calms down")
        hub.advance(alarm.CALM)
        await hub.until(lambda: told(hub), "its end was told")
        ((word, why),) = told(hub)
        # What was retried meanwhile may just have begun to wait.
        assert (word, why.partition(":")[0]) == ("OK", "lag(hand) > 5m")


@pytest.mark.parametrize("gone", [False, True], ids=["told", "who is told goes with it"])
async def test_an_alarm_that_is_removed_while_it_is_on_is_over(tmp_path: Path, gone: bool) -> None:
    store, handlers = MemoryStore(), {"work": echoing, "tell": echoing}
    functions = [function(), function("tell")]
    async with rig(tmp_path, handlers, functions=functions, store=store, alarms=when("queued(work) >= 0")) as hub:
        await hub.until(lambda: told(hub), "somebody was told")
        await hub.reload(functions[:1] if gone else functions, [trigger()])
        await hub.until(lambda: not hub.hub.alarms._watched, "it was forgotten")
        if not gone:
            await hub.until(lambda: len(told(hub)) == 2, "its end was told")
            assert told(hub)[1] == ("OK", "queued(work) >= 0: the alarm was removed")
        await hub.states(2 - gone)
        assert await store.checkpoints(alarms.SCOPE) == {}


async def test_an_alarm_that_was_removed_while_the_hub_was_down_is_forgotten(tmp_path: Path) -> None:
    store, handlers = MemoryStore(), {"work": echoing, "tell": echoing}
    async with rig(tmp_path, handlers, store=store, alarms=when("queued(work) >= 0")) as hub:
        await hub.until(lambda: told(hub), "somebody was told")
    store.reopen()
    async with rig(tmp_path, handlers, store=store) as hub:
        await hub.until(lambda: not store._checkpoints, "it was forgotten")
        assert told(hub) == []


@pytest.mark.parametrize("kept", ["{", "{}", '{"when": "queued(work) >= 0", "since": 1, "of another version": 2}'])
async def test_where_one_stood_that_cannot_be_read_it_begins_anew(
    tmp_path: Path, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, handlers = MemoryStore(), {"work": echoing, "tell": echoing}
    await store.set_checkpoints(alarms.SCOPE, {"trouble": kept})
    async with rig(tmp_path, handlers, store=store, alarms=when("queued(work) >= 0")) as hub:
        await hub.until(lambda: told(hub), "somebody was told")
    assert "begins anew" in capsys.readouterr().out
