"""A key runs once within its horizon, however its repetitions arrive, and each gets the one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio

from tests.hub.rig import Failure, HeldStore, function, rig, trigger
from triggerhub.errors import StoreFull
from triggerhub.model import Invocation
from triggerhub.settings import Batch, Idempotency, RetryPolicy
from triggerhub.store import Query
from triggerhub.testing import FakeClock

KEYED = Idempotency(key="$.id", keep=60_000)


class Counting:
    """A handler that says how often it was called; it waits for ``go``."""

    def __init__(self, *, hold: bool = False, fails: int = 0) -> None:
        self.calls = 0
        self.go = anyio.Event()
        self._fails = fails
        if not hold:
            self.go.set()

    async def __call__(self, invocation: Invocation) -> Any:
        self.calls += 1
        number = self.calls
        await self.go.wait()
        if number <= self._fails:
            raise Failure("not yet")
        return {"call": number}


async def test_callers_of_one_key_at_once_get_the_one_answer(tmp_path: Path) -> None:
    work, answers = Counting(hold=True), []
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)]) as r:

        async def ask() -> None:
            answers.append((await r.hub.invoke("work", b'{"id":1}')).outcome.payload)  # type: ignore[union-attr]

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
            await r.until(lambda: work.calls == 1, "one of them runs")
            await r.idle()
            work.go.set()
    assert answers == [b'{"call": 1}'] * 5
    assert work.calls == 1


async def test_a_caller_waits_for_a_delivery_of_its_key_and_gets_its_answer(tmp_path: Path) -> None:
    work = Counting(hold=True)
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)]) as r:
        await r.emit("hand", {"id": 1})
        await r.until(lambda: work.calls == 1, "the delivery runs")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set, work.go)
            answered = await r.hub.invoke("work", b'{"id":1}')
    assert answered.outcome.payload == b'{"call": 1}'  # type: ignore[union-attr]
    assert work.calls == 1


async def _set(event: anyio.Event) -> None:
    await anyio.sleep(0.01)
    event.set()


async def test_a_caller_does_not_wait_for_ever(tmp_path: Path) -> None:
    work = Counting(hold=True)
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED, timeout=30)]) as r:
        await r.emit("hand", {"id": 1})
        await r.until(lambda: work.calls == 1, "the delivery runs")
        with anyio.fail_after(10):
            answered = await r.hub.invoke("work", b'{"id":1}')
        assert answered.outcome.fault.type == "TooManyRequestsException"  # type: ignore[union-attr]
        work.go.set()


async def test_a_failure_is_no_answer(tmp_path: Path) -> None:
    work = Counting(fails=1)
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)]) as r:
        assert (await r.hub.invoke("work", b'{"id":1}')).outcome.fault.type == "Failure"  # type: ignore[union-attr]
        assert (await r.hub.invoke("work", b'{"id":1}')).outcome.payload == b'{"call": 2}'  # type: ignore[union-attr]
        assert (await r.hub.invoke("work", b'{"id":1}')).outcome.payload == b'{"call": 2}'  # type: ignore[union-attr]


async def test_the_key_is_forgotten_after_its_horizon(tmp_path: Path) -> None:
    clock, work = FakeClock(), Counting()
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)], clock=clock) as r:
        for step in (0, 59_999, 1):
            r.advance(step)
            await r.hub.invoke("work", b'{"id":1}')
    assert work.calls == 2


async def test_records_of_one_key_in_one_batch_run_once(tmp_path: Path) -> None:
    work = Counting()
    triggers = [trigger(batch=Batch(size=3, window=60_000))]
    functions = [function(idempotency=KEYED)]
    async with rig(tmp_path, {"work": work}, functions=functions, triggers=triggers) as r:
        await r.emit("hand", {"id": 1}, {"id": 1}, {"id": 2})
        with anyio.fail_after(20):
            await r.until(lambda: work.calls, "the batch runs")
        assert len(r.runtime.calls[0].deliveries) == 2


async def test_what_settles_while_the_answers_are_read_is_not_run_again(tmp_path: Path) -> None:
    store, work = HeldStore(), Counting(hold=True)
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)], store=store) as r:
        await r.emit("hand", {"id": 1})
        await r.until(lambda: work.calls == 1, "the first runs")
        # The second has read that there is no answer yet, and hears of it only after the first has settled.
        read = store.hold("answer", after=True)
        (second,) = await r.emit("hand", {"id": 1})
        await r.idle()
        work.go.set()
        await r.until(lambda: _count(store, "succeeded") == 1, "the first is settled")
        read.set()
        assert await r.states(2) == ["succeeded"] * 2
        assert (await r.row(second.deliveries[0])).reason == "idempotent"
    assert work.calls == 1


async def test_a_function_that_left_and_came_back_does_not_run_beside_itself(tmp_path: Path) -> None:
    work, other = Counting(hold=True), Counting()
    keyed = function(idempotency=KEYED)
    handlers = {"work": work, "other": other}
    async with rig(tmp_path, handlers, functions=[keyed, function("other")]) as r:
        await r.emit("hand", {"id": 1})
        await r.until(lambda: work.calls == 1, "the first runs")
        await r.reload([function("other")], [trigger(functions=("other",))])
        await r.reload([keyed], [trigger()])
        (second,) = await r.emit("hand", {"id": 1})
        await r.idle()
        work.go.set()
        assert await r.states(2) == ["succeeded"] * 2
        assert (await r.row(second.deliveries[0])).reason == "idempotent"
    assert work.calls == 1


def _count(store: HeldStore, state: str) -> int:
    return sum(1 for row in store.rows.values() if row.delivery.state == state)


async def test_a_full_disk_keeps_no_answer_and_still_gives_it(tmp_path: Path) -> None:
    class Full(HeldStore):
        async def keep_answer(self, answer: Any) -> None:
            raise StoreFull("no room")

    work = Counting()
    async with rig(tmp_path, {"work": work}, functions=[function(idempotency=KEYED)], store=Full()) as r:
        assert (await r.hub.invoke("work", b'{"id":1}')).outcome.payload == b'{"call": 1}'  # type: ignore[union-attr]


async def test_keys_are_a_functions_own(tmp_path: Path) -> None:
    a, b = Counting(), Counting()
    functions = [function("a", idempotency=KEYED), function("b", idempotency=KEYED)]
    triggers = [trigger(functions=("a", "b"))]
    async with rig(tmp_path, {"a": a, "b": b}, functions=functions, triggers=triggers) as r:
        await r.emit("hand", {"id": 1}, {"id": 1}, {"other": 1}, {"other": 1})
        assert await r.states(8) == ["succeeded"] * 8
        reasons = [row.reason for row in await r.store.page(Query())]
    assert (a.calls, b.calls) == (3, 3), "what has no key is run each time"
    assert reasons.count("idempotent") == 2


async def test_a_repetition_waits_out_the_retries_of_the_first(tmp_path: Path) -> None:
    work = Counting(fails=2)
    functions = [function(idempotency=KEYED, retry=RetryPolicy(attempts=3, initial=1))]
    async with rig(tmp_path, {"work": work}, functions=functions) as r:
        await r.emit("hand", {"id": 1}, {"id": 1})
        assert await r.states(2) == ["succeeded"] * 2
        attempts = sorted(row.attempts for row in await r.store.page(Query()))
    assert work.calls == 3
    assert json.loads(r.runtime.calls[-1].payload) == {"id": 1}
    assert sum(attempts) >= 3


async def test_a_redriven_one_waits_for_the_end_of_its_own_cut_call(tmp_path: Path) -> None:
    running, most, calls = 0, 0, 0

    async def stubborn(invocation: Invocation) -> Any:
        nonlocal running, most, calls
        calls, running = calls + 1, running + 1
        most = max(most, running)
        try:
            await anyio.sleep(60 if calls == 1 else 0.05)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            running -= 1

    functions = [function(idempotency=Idempotency(key="$"))]
    async with rig(tmp_path, {"work": stubborn}, functions=functions) as r:
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: calls, "it runs")
        await r.hub.deliveries.cancel(answer.deliveries, "asked")
        await r.hub.deliveries.redrive(answer.deliveries)
        await r.emit("hand", 1)
        assert await r.states(2) == ["succeeded"] * 2
    assert (calls, most) == (2, 1), "one at a time, and the last was answered from the other"
