"""What the hub remembers of its last hour: differences of what is counted anyway, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest

from triggerhub.hub import pulse
from triggerhub.hub.pulse import KEPT, WINDOW, Pulse
from triggerhub.settings import HOUR, MINUTE
from triggerhub.telemetry.metrics import Metrics

START = 1_767_225_600_000


@dataclass
class Clock:
    time: int = START

    def now(self) -> int:
        return self.time

    async def sleep_until(self, when: int) -> None:
        raise NotImplementedError


async def beaten(watch: Pulse, clock: Clock, monkeypatch: pytest.MonkeyPatch, beats: int, each: object = None) -> None:
    """Let so many steps pass."""

    class EndError(Exception):
        pass

    left = beats

    async def sleep(seconds: float) -> None:
        nonlocal left
        if not left:
            raise EndError
        left -= 1
        clock.time += round(seconds * 1000)
        if callable(each):
            each()

    monkeypatch.setattr(anyio, "sleep", sleep)
    with pytest.raises(EndError):
        await watch.beat()
    monkeypatch.undo()


async def test_a_point_is_what_happened_within_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, clock = Metrics(), Clock()
    watch = Pulse(metrics, clock)

    def work() -> None:
        metrics.count("accepted", "t", 3)
        metrics.count("invocations", "f", 2)
        metrics.count("errors", "f")
        metrics.observe("f", 40)
        metrics.observe("f", 80)

    await beaten(watch, clock, monkeypatch, 3, work)
    points = watch.series()
    assert [(one.accepted, one.calls, one.errors, one.length) for one in points] == [(3, 2, 1, pulse.STEP)] * 3
    assert all((one.p50, one.p95) == (40, 80) for one in points)
    metrics.count("invocations", "f", 5)
    assert watch.recent().calls == 11, "what came since the last step counts, too"
    assert watch.recent(pulse.STEP).calls == 7, "the last step and what came since"


async def test_what_is_kept_is_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, clock = Metrics(), Clock()
    watch = Pulse(metrics, clock)
    await beaten(watch, clock, monkeypatch, 2 * KEPT, lambda: metrics.count("accepted", "t"))
    assert len(watch.series()) == KEPT
    assert watch.series()[0].time > clock.time - HOUR
    assert sum(one.accepted for one in watch.series()) == KEPT
    assert watch.latest() == watch.series()[-1]
    assert watch.recent(10 * HOUR).accepted == WINDOW // pulse.STEP, "what is recent is five minutes"


async def test_a_function_has_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, clock = Metrics(), Clock()
    watch = Pulse(metrics, clock)

    def work() -> None:
        metrics.count("invocations", "f")
        metrics.observe("f", 7)

    await beaten(watch, clock, monkeypatch, 60, work)
    assert watch.function("f", 5 * MINUTE).calls == 30
    assert watch.function("f", HOUR).calls == 60
    assert watch.function("never called").calls == 0
    assert watch.function("never called").p95 is None


async def test_one_that_comes_back_after_it_was_forgotten_begins_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, clock = Metrics(), Clock()
    watch = Pulse(metrics, clock)
    metrics.count("invocations", "f", 5)
    metrics.observe("f", 40)
    metrics.went({"f"}, set(), clock.now())
    left: list[int] = []

    def look() -> None:
        left.append(watch.totals("f").invocations)
        assert watch.function("f").calls >= 0

    await beaten(watch, clock, monkeypatch, KEPT + 2 * WINDOW // pulse.STEP, look)
    assert (left[0], left[-1]) == (5, 0)
    metrics.count("invocations", "f", 2)
    metrics.observe("f", 40)
    assert watch.function("f").calls == 2
    assert all(point.calls >= 0 for point in watch.series())
