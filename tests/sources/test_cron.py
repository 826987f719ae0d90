"""The schedule's source: each slot once, over restarts, downtime and steps of the clock."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import anyio.lowlevel
import pytest
import structlog

from sources import cron
from triggerhub.aws.eventbridge import stamp
from triggerhub.model import Event
from triggerhub.settings import DAY, HOUR, MINUTE, SECOND
from triggerhub.testing import START, FakeClock, FakeContext, trigger

pytestmark = pytest.mark.anyio
TURNS = 200


class Clock(FakeClock):
    """Knows what it is asked to wake for."""

    def __init__(self, now: int = START) -> None:
        super().__init__(now)
        self.asleep: int | None = None

    async def sleep_until(self, when: int) -> None:
        self.asleep = when
        await super().sleep_until(when)
        self.asleep = None


class Bench:
    """A trigger whose hub can be down for a while."""

    def __init__(self, schedule: str, zone: tzinfo = UTC, **options: Any) -> None:
        self.clock = Clock()
        self.ctx = FakeContext(trigger("tick", "cron"), clock=self.clock, timezone=zone)
        self.options = cron.Options(schedule=schedule, **options)

    @asynccontextmanager
    async def up(self) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as tasks:
            self.clock.asleep = None
            tasks.start_soon(cron.run, self.ctx, self.options)
            await self.settle()
            yield
            tasks.cancel_scope.cancel()

    async def settle(self) -> None:
        """Return once the source has dealt with all there is and sleeps; it fails if it never does."""
        with anyio.fail_after(20):
            while self.clock.asleep is None or self.clock.asleep <= self.clock.now():
                await anyio.lowlevel.checkpoint()

    async def ended(self) -> None:
        """Give it every chance to go on, when there is nothing that it sleeps for."""
        for _ in range(TURNS):
            await anyio.lowlevel.checkpoint()

    async def advance(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        await self.settle()

    def slots(self) -> list[int]:
        """The slots that fired, from START."""
        return [event.time - START for event in self.ctx.events]


async def test_it_fires_at_each_slot() -> None:
    bench = Bench("* * * * *")
    async with bench.up():
        assert bench.slots() == []
        for _ in range(3):
            await bench.advance(MINUTE)
    assert bench.slots() == [MINUTE, 2 * MINUTE, 3 * MINUTE]


async def test_an_event_says_its_slot_not_the_moment_of_firing() -> None:
    bench = Bench("* * * * *")
    async with bench.up():
        await bench.advance(MINUTE + 700)
    (event,) = bench.ctx.events
    assert event.time == START + MINUTE
    assert event.dedup_key == "cron:tick:2026-01-01T00:01:00Z"
    record = json.loads(event.data)
    assert record["time"] == "2026-01-01T00:01:00Z"
    assert record["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/tick"]


async def test_a_slot_is_stored_in_the_commit_of_its_event_and_not_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, commits = Bench("* * * * *"), []
    emit = bench.ctx.emit

    async def watch(*events: Event, checkpoints: Mapping[str, str | None], wait: bool = True) -> Any:
        commits.append(json.loads(checkpoints["last"] or "")["last"])
        return await emit(*events, checkpoints=checkpoints, wait=wait)

    async def refuse(values: Mapping[str, str | None]) -> None:
        raise AssertionError(f"stored apart: {values}")

    async with bench.up():
        monkeypatch.setattr(bench.ctx, "emit", watch)
        monkeypatch.setattr(bench.ctx, "set_checkpoints", refuse)
        await bench.advance(MINUTE)
        await bench.advance(MINUTE)
    assert commits == [START + MINUTE, START + 2 * MINUTE]


async def test_a_failed_commit_leaves_the_slot_for_the_next_start() -> None:
    bench = Bench("* * * * *")
    async with bench.up():
        pass
    bench.clock.advance(MINUTE)
    bench.ctx.fail = RuntimeError("the commit failed")
    with pytest.raises(RuntimeError, match="the commit failed"):
        await cron.run(bench.ctx, bench.options)
    assert bench.slots() == []
    async with bench.up():
        assert bench.slots() == [MINUTE]


async def test_a_restart_fires_nothing_again() -> None:
    bench = Bench("* * * * *")
    async with bench.up():
        await bench.advance(MINUTE)
    async with bench.up():
        assert bench.slots() == [MINUTE]
        await bench.advance(MINUTE)
    assert bench.slots() == [MINUTE, 2 * MINUTE]


async def test_a_second_hub_of_the_same_store_fires_nothing_twice() -> None:
    bench = Bench("* * * * *")
    async with bench.up(), bench.up():
        await bench.advance(MINUTE)
        await bench.ended()
    assert bench.slots() == [MINUTE]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [("once", [5 * HOUR]), ("all", [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR]), ("skip", [])],
)
@pytest.mark.parametrize("down", [True, False], ids=["down", "the clock is put forward"])
async def test_what_was_missed_is_made_up_for_as_set(missed: str, expected: list[int], down: bool) -> None:
    bench = Bench("@hourly", missed=missed)
    async with bench.up():
        if not down:
            await bench.advance(5 * HOUR + MINUTE)
    if down:
        bench.clock.advance(5 * HOUR + MINUTE)
    async with bench.up():
        assert bench.slots() == expected
        await bench.advance(59 * MINUTE)
    assert bench.slots() == [*expected, 6 * HOUR]


async def test_a_slot_a_little_late_is_not_missed() -> None:
    bench = Bench("* * * * *", missed="skip")
    async with bench.up():
        pass
    bench.clock.advance(MINUTE + cron.LATE)
    async with bench.up():
        assert bench.slots() == [MINUTE]


async def test_a_slot_later_than_that_is_missed() -> None:
    bench = Bench("* * * * *", missed="skip")
    async with bench.up():
        pass
    bench.clock.advance(MINUTE + cron.LATE + 1)
    async with bench.up():
        assert bench.slots() == []


async def test_a_clock_put_back_fires_nothing_again() -> None:
    bench = Bench("* * * * *")
    async with bench.up():
        await bench.advance(MINUTE)
        await bench.advance(MINUTE)
        await bench.advance(-90 * SECOND)
        await bench.advance(MINUTE)
    async with bench.up():
        await bench.advance(20 * SECOND)
        assert bench.slots() == [MINUTE, 2 * MINUTE]
        await bench.advance(70 * SECOND)
    assert bench.slots() == [MINUTE, 2 * MINUTE, 3 * MINUTE]


@pytest.mark.parametrize("change", [{"schedule": "*/5 * * * *"}, {"timezone": "Europe/Berlin"}])
async def test_a_changed_schedule_does_not_fire_its_past(change: dict[str, str]) -> None:
    bench = Bench("@hourly", missed="all")
    async with bench.up():
        pass
    bench.clock.advance(3 * HOUR + MINUTE)
    bench.options = cron.Options(**{"schedule": "@hourly", "missed": "all", **change})
    async with bench.up():
        assert bench.slots() == []
        await bench.advance(HOUR)
    assert bench.slots()[0] > 3 * HOUR + MINUTE


async def test_other_options_may_change_without_losing_what_was_missed() -> None:
    bench = Bench("@hourly", missed="skip")
    async with bench.up():
        pass
    bench.clock.advance(3 * HOUR + MINUTE)
    bench.options = cron.Options(schedule=" @hourly", missed="all")
    async with bench.up():
        assert bench.slots() == [HOUR, 2 * HOUR, 3 * HOUR]


async def test_a_rate_counts_from_when_it_was_first_seen_also_after_a_restart() -> None:
    bench = Bench("rate(5 minutes)")
    bench.clock.advance(1234)
    async with bench.up():
        await bench.advance(5 * MINUTE)
    bench.clock.advance(3 * MINUTE)
    async with bench.up():
        await bench.advance(2 * MINUTE)
    assert bench.slots() == [1234 + 5 * MINUTE, 1234 + 10 * MINUTE]


async def test_a_moment_fires_once_for_all_time() -> None:
    bench = Bench("at(2026-01-01T01:00:00)", ZoneInfo("Europe/Berlin"))
    bench.clock.advance(-HOUR)
    async with bench.up():
        bench.clock.advance(HOUR)
        await bench.ctx.arrived(1)
        await bench.ended()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cron.run, bench.ctx, bench.options)
        bench.clock.advance(DAY)
        await bench.ended()
        tasks.cancel_scope.cancel()
    assert bench.slots() == [0]


async def test_the_trigger_s_own_time_zone_goes_before_the_hub_s() -> None:
    bench = Bench("0 12 * * *", ZoneInfo("Europe/Berlin"), timezone="America/New_York")
    async with bench.up():
        await bench.advance(17 * HOUR)
    assert bench.slots() == [17 * HOUR]


async def test_overlap_queue_orders_the_slots_and_allow_does_not() -> None:
    for overlap, key in (("queue", "tick"), ("allow", None), ("skip", None)):
        bench = Bench("* * * * *", overlap=overlap)
        async with bench.up():
            await bench.advance(MINUTE)
        assert bench.ctx.events[0].ordering_key == key


async def test_overlap_skip_passes_over_slots_while_one_is_unfinished() -> None:
    bench = Bench("* * * * *", overlap="skip")
    bench.ctx.waiting = 1
    async with bench.up():
        await bench.advance(MINUTE)
        assert bench.slots() == []
        bench.ctx.waiting = 0
    async with bench.up():
        assert bench.slots() == [], "a slot that was passed over is dealt with"
        await bench.advance(MINUTE)
    assert bench.slots() == [2 * MINUTE]


@pytest.mark.parametrize("overlap", ["queue", "allow"])
async def test_other_overlaps_fire_whatever_is_unfinished(overlap: str) -> None:
    bench = Bench("* * * * *", overlap=overlap)
    bench.ctx.waiting = 5
    async with bench.up():
        await bench.advance(MINUTE)
    assert bench.slots() == [MINUTE]


async def test_jitter_is_the_same_for_a_slot_and_another_for_others() -> None:
    async def moments() -> list[int]:
        bench, found = Bench("@hourly", jitter="30m"), []
        async with bench.up():
            for _ in range(6):
                assert bench.clock.asleep is not None
                found.append(bench.clock.asleep - START)
                await bench.advance(found[-1] + START - bench.clock.now())
        assert bench.slots() == [HOUR * number for number in range(1, 7)]
        return found

    first = await moments()
    assert first == await moments()
    delays = [moment - HOUR * number for number, moment in enumerate(first, 1)]
    assert all(0 <= delay <= 30 * MINUTE for delay in delays)
    assert len(set(delays)) == 6


async def test_a_slot_whose_jitter_still_runs_is_not_missed() -> None:
    bench = Bench("@hourly", jitter="50m", missed="skip")
    async with bench.up():
        pass
    moment = bench.clock.asleep or 0
    assert moment > START + HOUR + 2 * cron.LATE, "the test needs a trigger with another name"
    bench.clock.advance(HOUR + cron.LATE + 1)
    async with bench.up():
        assert bench.slots() == []
        await bench.advance(moment - bench.clock.now())
    assert bench.slots() == [HOUR]


async def test_skipping_what_was_missed_spares_the_slot_that_is_just_due() -> None:
    bench = Bench("@hourly", missed="skip")
    async with bench.up():
        pass
    bench.clock.advance(5 * HOUR + cron.LATE // 2)
    async with bench.up():
        assert bench.slots() == [5 * HOUR]


async def test_after_downtime_each_slot_whose_jitter_is_over_counts_once() -> None:
    bench = Bench("*/10 * * * *", jitter="1h", missed="all")
    async with bench.up():
        pass
    bench.clock.advance(5 * HOUR)
    async with bench.up():
        for _ in range(12):
            await bench.advance(10 * MINUTE)
    slots = bench.slots()
    assert slots == [10 * MINUTE * number for number in range(1, len(slots) + 1)]
    assert len(slots) >= 36


async def test_the_clocks_going_forward_costs_no_day() -> None:
    bench = Bench("30 2 * * *", ZoneInfo("Europe/Berlin"))
    bench.clock.advance(1_774_699_200_000 - START)  # 2026-03-28T12:00Z
    async with bench.up():
        for _ in range(48):
            await bench.advance(HOUR)
    assert [stamp(event.time) for event in bench.ctx.events] == ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]


async def test_a_clock_that_was_wrong_by_years_does_not_silence_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "LOOK", 0.01)
    for schedule in ("* * * * *", "rate(1 minute)"):
        bench = Bench(schedule)
        bench.clock.advance(3650 * DAY)
        async with bench.up():
            await bench.advance(MINUTE)
            assert bench.slots() == [3650 * DAY + MINUTE]
            bench.clock.advance(-3650 * DAY)
            with anyio.fail_after(20):
                while bench.clock.asleep is None or bench.clock.asleep > START + 3 * MINUTE:
                    await anyio.sleep(0.01)
            await bench.advance(MINUTE)
        assert bench.slots() == [3650 * DAY + MINUTE, 2 * MINUTE]


async def test_an_hour_back_is_waited_for_so_that_no_slot_fires_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "LOOK", 0.01)
    bench = Bench("*/10 * * * *")
    async with bench.up():
        await bench.advance(10 * MINUTE)
        bench.clock.advance(-HOUR)
        await anyio.sleep(0.1)
        await bench.advance(HOUR)
        assert bench.slots() == [10 * MINUTE]
        await bench.advance(10 * MINUTE)
    assert bench.slots() == [10 * MINUTE, 20 * MINUTE]


@pytest.mark.parametrize(("missed", "count"), [("once", 1), ("all", 1000), ("skip", 0)])
async def test_a_day_of_downtime_of_a_minutely_schedule_is_bounded_and_said(missed: str, count: int) -> None:
    bench = Bench("* * * * *", missed=missed)
    async with bench.up():
        pass
    bench.clock.advance(DAY + 30 * SECOND)
    with structlog.testing.capture_logs() as logs:
        async with bench.up():
            assert len(bench.slots()) == count
            assert bench.slots() == list(range((1440 - count) * MINUTE + MINUTE, DAY + MINUTE, MINUTE))
            await bench.advance(30 * SECOND)
    assert bench.slots()[-1] == DAY + MINUTE
    (line,) = [line for line in logs if line["event"] == "slots were missed"]
    assert (line["log_level"], line["made_up"]) == ("warning", count)
