"""A source is anybody's code: whatever it does, the hub goes on, and its trigger says how it is."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import pytest

from triggerhub.hub import supervise
from triggerhub.hub.feed import Feed
from triggerhub.hub.supervise import Supervised
from triggerhub.settings import RetryPolicy
from triggerhub.testing import FakeContext, trigger

pytestmark = pytest.mark.anyio
Run = Callable[[FakeContext], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "RESTARTS", RetryPolicy(initial=1, max=1))
    monkeypatch.setattr(supervise, "STEADY", 0.05)


@asynccontextmanager
async def supervised(run: Run, after: Supervised | None = None) -> AsyncGenerator[tuple[Supervised, list[int]]]:
    """A source whose first run is *run* and which then works."""
    runs: list[int] = []

    async def anybodys(ctx: FakeContext, options: Any) -> None:
        runs.append(len(runs) + 1)
        if len(runs) == 1:
            await run(ctx)
        else:
            await anyio.sleep_forever()

    module = ModuleType("anybodys")
    module.run = anybodys  # type: ignore[attr-defined]
    one = Supervised(trigger(), module, "UTC", after=after)  # type: ignore[arg-type]
    context = FakeContext(trigger())

    def make(report: Callable[[str | None], None]) -> Any:
        context.degraded = report  # type: ignore[method-assign]
        return context

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.keep, make, Feed())
        with anyio.fail_after(20):
            yield one, runs
            await one.stop(0)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await anyio.sleep(0.005)


async def returns(ctx: FakeContext) -> None:
    return


async def raises(ctx: FakeContext) -> None:
    raise ConnectionError("the other side is gone")


async def exits(ctx: FakeContext) -> None:
    sys.exit("I have had enough")


async def interrupts(ctx: FakeContext) -> None:
    raise KeyboardInterrupt


async def awaits_what_was_cancelled(ctx: FakeContext) -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


async def raises_a_group(ctx: FakeContext) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(raises, ctx)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (returns, "its source returned, which none should"),
        (raises, "ConnectionError: the other side is gone"),
        (raises_a_group, "ConnectionError: the other side is gone"),
        (exits, "SystemExit: I have had enough"),
        (interrupts, "KeyboardInterrupt: "),
        (awaits_what_was_cancelled, "it was cancelled from within"),
    ],
)
async def test_a_source_that_ends_is_started_again_and_then_shown_as_well(run: Run, why: str) -> None:
    async with supervised(run) as (one, runs):
        await until(lambda: one.why)
        assert one.why is not None
        assert one.why.startswith(why)
        await until(lambda: len(runs) == 2)
        await until(lambda: one.why is None)


async def test_what_a_source_says_of_itself_is_not_taken_back_for_it() -> None:
    async def limps(ctx: FakeContext) -> None:
        ctx.degraded("the folder is missing")
        await anyio.sleep_forever()

    async with supervised(limps) as (one, _):
        await until(lambda: one.why)
        await anyio.sleep(0.2)
        assert one.why == "the folder is missing"


async def test_a_source_that_is_stopped_ends_and_stays_ended() -> None:
    async def sleeps(ctx: FakeContext) -> None:
        await anyio.sleep_forever()

    async with supervised(sleeps) as (one, runs):
        await until(lambda: runs)
    assert runs == [1]
    assert one.why is None


class Deaf:
    """A source that does not end until *go*, and counts how often it was cancelled."""

    def __init__(self) -> None:
        self.go, self.cancelled = anyio.Event(), 0

    async def __call__(self, ctx: FakeContext) -> None:
        while not self.go.is_set():
            try:
                await anyio.sleep(0.001)
            except BaseException:
                self.cancelled += 1


async def test_a_source_that_swallows_its_cancellation_is_left_behind_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "STUBBORN", 0.01)
    monkeypatch.setattr(supervise, "ACKNOWLEDGE", 0)
    deaf = Deaf()
    async with supervised(deaf) as (one, runs):
        await until(lambda: runs)
        await one.stop(0)
        assert (one.left, one.ended.is_set()) == (True, False)
        assert deaf.cancelled > 0
        monkeypatch.setattr(supervise, "STUBBORN", 60)
        before = deaf.cancelled
        await anyio.sleep(0.02)
        assert deaf.cancelled <= before + 2, "reminded of it once, it takes no processor of the hub's"
        deaf.go.set()
        await one.ended.wait()
    assert runs == [1]


async def test_a_group_is_left_that_is_cancelled_around_a_source_that_swallows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "STUBBORN", 0.01)
    deaf = Deaf()
    with anyio.CancelScope() as hub:
        async with supervised(deaf) as (one, runs):
            await until(lambda: runs)
            hub.cancel()
    assert (one.left, one.ended.is_set()) == (True, False)
    deaf.go.set()
    await one.ended.wait()


async def test_a_source_that_was_busy_in_a_thread_hears_of_its_end_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "STUBBORN", 0.01)
    monkeypatch.setattr(supervise, "ACKNOWLEDGE", 0)
    polled = threading.Event()

    async def polls(ctx: FakeContext) -> None:
        await anyio.to_thread.run_sync(polled.wait)
        await anyio.sleep_forever()

    async with supervised(polls) as (one, runs):
        await until(lambda: runs)
        await one.stop(0)
        assert one.stuck
        polled.set()
        await one.ended.wait()
        assert not one.stuck


async def test_nothing_runs_beside_what_does_not_end_and_what_waits_for_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "STUBBORN", 0.01)
    monkeypatch.setattr(supervise, "ACKNOWLEDGE", 0)
    deaf = Deaf()
    async with supervised(deaf) as (first, runs):
        await until(lambda: runs)
        first.end(0)
        async with supervised(returns, after=first) as (second, later):
            await until(lambda: second.why == supervise.STUCK)
            assert (second.stuck, later) == (True, [])
            monkeypatch.setattr(supervise, "STUBBORN", 60)
            await second.stop(60)
            assert (second.left, second.stuck, later) == (False, True, []), "it ends at once, and never ran"
        deaf.go.set()
        await first.ended.wait()
