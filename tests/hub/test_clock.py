"""The wall clock: on time, whatever it does meanwhile, and cheap for ten thousand sleepers."""

from __future__ import annotations

import time

import anyio
import pytest

from triggerhub.hub import clock
from triggerhub.hub.clock import SystemClock
from triggerhub.settings import HOUR


class Steps(SystemClock):
    """A clock that is put forward and back."""

    step = 0

    def now(self) -> int:
        return super().now() + self.step


async def test_a_sleeper_wakes_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LOOK", 0.02)
    monkeypatch.setattr(clock, "NEAR", 50)
    one, late = SystemClock(), []

    async def sleep(when: int) -> None:
        await one.sleep_until(when)
        late.append(one.now() - when)

    async with anyio.create_task_group() as tasks:
        for after in (-5, 0, 1, 40, 60, 300, 301):
            tasks.start_soon(sleep, one.now() + after)
    assert len(late) == 7
    assert min(late) >= 0
    assert not one._sleepers


async def test_a_step_of_the_clock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LOOK", 0.01)
    one = Steps()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.sleep_until, one.now() + HOUR)
            await anyio.sleep(0.05)
            one.step = HOUR
    one = Steps()
    when = one.now() + 100
    one.step = -HOUR
    with anyio.move_on_after(0.3) as waited:
        await one.sleep_until(when)
    assert waited.cancelled_caught, "a clock put back is waited for"
    assert not one._sleepers


async def test_ten_thousand_sleepers_cost_next_to_nothing() -> None:
    one = SystemClock()
    async with anyio.create_task_group() as tasks:
        for number in range(10_000):
            tasks.start_soon(one.sleep_until, one.now() + HOUR + number)
        await anyio.sleep(1.1)
        before = time.process_time()
        await anyio.sleep(1.5)
        cost = time.process_time() - before
        tasks.cancel_scope.cancel()
    assert cost < 0.06, f"{cost / 1.5:.1%} of a core"
