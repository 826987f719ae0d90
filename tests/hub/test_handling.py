"""Calls whose events their source keeps until they are handled."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, HeldStore, Rig, function, hand_source, rig, trigger
from triggerhub.errors import StoreFull
from triggerhub.model import Event, Fault, Interrupted, Invocation, Outcome, Raised, Returned, State
from triggerhub.settings import Batch, Destination, Idempotency, Rate, RetryPolicy
from triggerhub.source import Context, Duplicate, Filtered, Handled
from triggerhub.store import Lane, Query
from triggerhub.stores.memory import MemoryStore

GUARD = 20


async def work(invocation: Invocation) -> Any:
    """Answer the record; one that is to fail fails."""
    records = json.loads(invocation.payload)
    for one in records if isinstance(records, list) else [records]:
        if isinstance(one, dict) and one.get("fail"):
            raise Failure("told to")
    return records


def event(key: str | None = None, **record: Any) -> Event:
    return Event(data=json.dumps({"id": key, **record}).encode(), time=0, dedup_key=key)


def named_source() -> ModuleType:
    module = hand_source()
    module.identifier = lambda record: record["id"]  # type: ignore[attr-defined]
    return module


@asynccontextmanager
async def handling(
    folder: Path,
    handler: Callable[[Invocation], Awaitable[Any]] = work,
    *,
    store: MemoryStore | None = None,
    more: dict[str, Any] | None = None,
    drain: int = 30_000,
    handlers: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncGenerator[tuple[Rig, Context]]:
    functions = [function("work", **(more or {})), *(function(name) for name in handlers or {})]
    one = trigger(ack="handled", **settings)
    async with rig(
        folder,
        {"work": handler, **(handlers or {})},
        functions=functions,
        triggers=[one],
        store=store,
        more={"hand": named_source()},
        drain=drain,
    ) as made:
        yield made, await context(made)


async def context(made: Rig) -> Context:
    await made.until(lambda: "hand" in made.modules["hand"].contexts, "the source runs")
    found: Context = made.modules["hand"].contexts["hand"]
    return found


async def rows(made: Rig) -> list[tuple[str, int, str | None]]:
    return [(one.state.value, one.attempts, one.dedup_key) for one in reversed(await made.store.page(Query()))]


async def test_what_succeeded_is_written_when_it_is_over_and_never_queued(tmp_path: Path) -> None:
    async def look(invocation: Invocation) -> Any:
        assert await made.store.page(Query()) == []
        return {"batchItemFailures": []}

    async with handling(tmp_path, look) as (made, ctx):
        handled = await ctx.handle(event("a"))
        assert handled.done == (True,)
        assert isinstance(handled.outcome, Returned)
        assert handled.each == (handled.outcome,)
        (row,) = await made.store.page(Query())
        assert (row.state, row.attempts, row.dedup_key, row.version) == (State.SUCCEEDED, 1, "a", "work-1")
        assert made.runtime.calls[0].deliveries == (row.id,)
        assert made.runtime.calls[0].request_id == row.id
        assert [line["text"].split()[0] for line in made.output.lines if line["stream"] == "hub"] == [
            "START", "END", "REPORT",
        ]  # fmt: skip
        assert await ctx.unfinished() == 0


async def test_how_far_reading_is_behind_is_the_age_of_the_newest_of_a_batch(tmp_path: Path) -> None:
    async with handling(tmp_path, batch=Batch(size=10)) as (made, ctx):
        now = made.hub._clock.now()
        aged = [Event(data=b"{}", time=now - age, dedup_key=str(age)) for age in (90_000, 30_000, 60_000)]
        await ctx.handle(*aged)
        assert 'triggerhub_iterator_age_seconds{trigger="hand"} 30.0' in (await made.hub.metrics()).decode()
        early = Event(data=b"{}", time=now + 5_000, dedup_key="early")
        await ctx.emit(early, checkpoints={"position": "1"})
        assert 'triggerhub_iterator_age_seconds{trigger="hand"} 0.0' in (await made.hub.metrics()).decode()


async def test_what_failed_is_left_and_goes_on_as_the_same_delivery(tmp_path: Path) -> None:
    async with handling(tmp_path) as (made, ctx):
        first = await ctx.handle(event("a", fail=True))
        assert (first.done, first.failed) == ((False,), (True,))
        assert await rows(made) == [("cancelled", 1, "a")]
        again = await ctx.handle(event("a"))
        assert again.done == (True,)
        assert await rows(made) == [("succeeded", 2, "a")]
        assert [call.attempt for call in made.runtime.calls] == [1, 2]
        (row,) = await made.store.page(Query())
        detail = await made.hub.deliveries.get(row.id)
        assert [one.outcome for one in detail.attempts] == ["raised", "returned"]


async def test_what_was_left_begins_anew_with_another_function(tmp_path: Path) -> None:
    async with handling(tmp_path, handlers={"other": work}) as (made, ctx):
        await ctx.handle(event("a", fail=True))
        made.modules["hand"].contexts.clear()
        both = [function("work"), function("other")]
        assert await made.reload(both, [trigger(ack="handled", functions=("other",))]) == []
        assert (await (await context(made)).handle(event("a"))).done == (True,)
        found = reversed(await made.store.page(Query()))
        assert [(one.function, one.state, one.attempts, one.version) for one in found] == [
            ("work", State.CANCELLED, 1, "work-1"), ("other", State.SUCCEEDED, 1, "other-1"),
        ]  # fmt: skip
        assert made.runtime.calls[-1].attempt == 1
        assert await made.store.audit() == []


async def test_what_the_hub_has_is_not_run_again(tmp_path: Path) -> None:
    async with handling(tmp_path) as (made, ctx):
        await ctx.handle(event("a"))
        await ctx.bury(event("b"), why="spent")
        await ctx.emit(event("c"))
        await made.states(3)
        before = len(made.runtime.calls)
        handled = await ctx.handle(event("a"), event("b"), event("c"))
        assert [type(one) for one in handled.each] == [Duplicate] * 3
        assert handled.done == (True,) * 3
        assert isinstance(handled.outcome, Interrupted)
        assert len(made.runtime.calls) == before


@pytest.mark.parametrize(
    ("fail", "each", "kept"),
    [
        pytest.param(False, [Returned, Returned, Duplicate, Duplicate], "succeeded", id="done"),
        pytest.param(True, [Raised, Raised, Interrupted, Duplicate], "cancelled", id="failed"),
    ],
)
async def test_what_comes_twice_in_a_batch_runs_once_and_ends_with_the_first(
    tmp_path: Path, fail: bool, each: list[type], kept: str
) -> None:
    async with handling(tmp_path, batch=Batch(size=10)) as (made, ctx):
        await ctx.handle(event("d"))
        handled = await ctx.handle(event("a", fail=fail), event("b"), event("a", n=2), event("d"))
        assert [type(one) for one in handled.each] == each
        assert [one["id"] for one in json.loads(made.runtime.calls[-1].payload)] == ["a", "b"]
        first = next(one for one in await made.store.page(Query()) if one.dedup_key == "a")
        assert (first.state.value, first.attempts) == (kept, 1)
        if not fail:
            assert handled.each[2] == Duplicate(event=first.event_id, deliveries=(first.id,))
        handled = await ctx.handle(event("a"), event("a"))
        assert handled.done == (True, True)
        assert len(await made.store.page(Query())) == 3


async def test_a_batch_is_one_call_and_names_its_failures(tmp_path: Path) -> None:
    async def second(invocation: Invocation) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "b"}]}

    batch = Batch(size=10, partial_failures=True)
    async with handling(tmp_path, second, batch=batch, filter={"no": [{"exists": False}]}) as (made, ctx):
        handled = await ctx.handle(event("a"), event("b"), event("x", no=1), event("c"))
        assert [type(one) for one in handled.each] == [Returned, Raised, Filtered, Returned]
        assert handled.done == (True, False, True, True)
        assert len(made.runtime.calls) == 1
        assert [one["id"] for one in json.loads(made.runtime.calls[0].payload)] == ["a", "b", "c"]
        assert await rows(made) == [("succeeded", 1, "a"), ("cancelled", 1, "b"), ("succeeded", 1, "c")]
        refused = await ctx.filtered(event("a"), event("x", no=1))
        assert [type(one) for one in refused] == [type(None), Filtered]


async def test_a_source_may_read_the_outcome_by_rules_of_its_own(tmp_path: Path) -> None:
    seen: list[tuple[Outcome, str, list[int]]] = []

    def judge(outcome: Outcome, request_id: str, carried: Sequence[int]) -> list[Outcome]:
        seen.append((outcome, request_id, list(carried)))
        failed = Raised(fault=Fault(type="Told", message="not this one"), payload=b"null")
        return [failed if place >= 2 else outcome for place in carried]

    async with handling(tmp_path, batch=Batch(size=10)) as (made, ctx):
        await ctx.handle(event("b"))
        handled = await ctx.handle(event("a"), event("b"), event("c"), event("d"), judge=judge)
        ((outcome, request_id, carried),) = seen
        assert (request_id, carried) == (made.runtime.calls[-1].request_id, [0, 2, 3])
        assert handled.outcome == outcome
        assert handled.done == (True, True, False, False)
        assert handled.failed == (False, False, True, True)
        assert sorted(await rows(made)) == [
            ("cancelled", 1, "c"), ("cancelled", 1, "d"), ("succeeded", 1, "a"), ("succeeded", 1, "b"),
        ]  # fmt: skip


async def test_a_source_that_retries_by_itself_is_told_the_policy_in_force(tmp_path: Path) -> None:
    policy = RetryPolicy(attempts=7)
    async with handling(tmp_path, more={"retry": policy}) as (_, ctx):
        assert ctx.retry == policy
    own = RetryPolicy(attempts=2)
    async with handling(tmp_path / "own", more={"retry": policy}, retry={"work": own}) as (_, ctx):
        assert ctx.retry == own


async def test_an_event_that_another_call_has_is_not_run_beside_it(tmp_path: Path) -> None:
    go = anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        await go.wait()

    async with handling(tmp_path, wait) as (made, ctx), anyio.create_task_group() as tasks:
        tasks.start_soon(ctx.handle, event("a"))
        await made.until(lambda: made.runtime.running == 1, "the first runs")
        handled = await ctx.handle(event("a"))
        assert handled.each == (Interrupted(),)
        assert (handled.done, handled.failed) == ((False,), (False,))
        go.set()
    assert len(made.runtime.calls) == 1


@pytest.mark.parametrize(
    ("lines", "run"),
    [
        pytest.param("xxxx", ["0"], id="what is behind it in its line waits"),
        pytest.param("xxyx", ["0", "2"], id="other lines go on"),
        pytest.param([None] * 4, ["0", "2", "3"], id="without an order all others go on"),
    ],
)
@pytest.mark.parametrize("key", ["dedup", "idempotency"])
async def test_nothing_overtakes_an_event_whose_key_another_call_has(
    tmp_path: Path, lines: Sequence[str | None], run: list[str], key: str
) -> None:
    go = anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        if b"busy" in invocation.payload:
            await go.wait()

    more = {"idempotency": Idempotency(key="$.order"), "concurrency": 2}
    async with handling(tmp_path, wait, more=more, batch=Batch(size=10)) as (made, ctx):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.handle, event("1" if key == "dedup" else "other", order=key, busy=1))
            await made.until(lambda: made.runtime.running == 1, "another call has the key")
            batch = [event(str(n), order=key if n == 1 else None) for n in range(4)]
            for one, line in zip(batch, lines, strict=True):
                one.ordering_key = line
            handled = await ctx.handle(*batch)
            carried = json.loads(made.runtime.calls[-1].payload)
            assert [one["id"] for one in (carried if isinstance(carried, list) else [carried])] == run
            assert handled.done == tuple(str(n) in run for n in range(4))
            assert not any(handled.failed)
            before = len(made.runtime.calls)
            handled = await ctx.handle(*batch[1:], payload=b'{"window": 1}')
            assert isinstance(handled.outcome, Interrupted)
            assert len(made.runtime.calls) == before
            go.set()
        assert (await ctx.handle(*batch)).done == (True,) * 4


async def test_checkpoints_are_of_the_same_commit(tmp_path: Path) -> None:
    seen: list[Handled] = []

    def remember(handled: Handled) -> dict[str, str | None]:
        seen.append(handled)
        return {"place": str(sum(handled.done))}

    store = HeldStore()
    async with handling(tmp_path, store=store) as (made, ctx):
        handled = await ctx.handle(event("a"), event("b", fail=True), checkpoints=remember)
        assert seen == [handled]
        assert await ctx.checkpoint("place") == "0"
        await ctx.handle(payload=b'{"window": 1}', checkpoints=lambda _: {"place": None, "window": "1"})
        assert made.runtime.calls[-1].payload == b'{"window": 1}'
        assert await ctx.checkpoints() == {"window": "1"}


async def test_what_is_given_up_is_a_dead_letter_and_told(tmp_path: Path) -> None:
    async def tell(invocation: Invocation) -> Any:
        told.append(json.loads(invocation.payload))

    told: list[Any] = []
    to = (Destination(kind="function", target="tell"),)
    async with handling(tmp_path, handlers={"tell": tell}, on_failure=to) as (made, ctx):
        first = await ctx.handle(event("a", fail=True))
        await ctx.bury(event("a"), why="failed 2 of 2 attempts", outcome=first.outcome, checkpoints={"place": "7"})
        await made.until(lambda: told, "the destination is told")
        assert told[0]["requestContext"]["approximateInvokeCount"] == 1
        assert told[0]["responsePayload"] == {"errorType": "Failure"}
        assert await ctx.checkpoint("place") == "7"
        (dead,) = await made.store.page(Query(state=State.DEAD))
        assert (dead.dedup_key, dead.attempts, dead.reason) == ("a", 1, "failed 2 of 2 attempts")
        assert dead.error is not None
        await ctx.bury(event("b"), event("c"), why="gone", body=b'{"batch": 2}')
        await made.until(lambda: len(told) == 2, "one body tells of both")
        assert told[1] == {"batch": 2}
        assert len(await made.store.page(Query(state=State.DEAD))) == 3
        assert await made.store.audit() == []


async def test_what_comes_twice_is_given_up_once(tmp_path: Path) -> None:
    async with handling(tmp_path) as (made, ctx):
        await ctx.handle(event("a", fail=True))
        await ctx.bury(event("a"), event("b"), event("a"), event("b"), why="spent")
        assert await rows(made) == [("dead", 1, "a"), ("dead", 0, "b")]
        assert await made.store.audit() == []
        assert b'triggerhub_dead_letters_total{function="work"} 2.0' in await made.hub.metrics()


async def test_what_another_call_has_is_given_up_after_it(tmp_path: Path) -> None:
    go = anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        await go.wait()

    async with handling(tmp_path, wait) as (made, ctx), anyio.create_task_group() as tasks:
        tasks.start_soon(ctx.handle, event("a"))
        await made.until(lambda: made.runtime.running == 1, "the call runs")
        tasks.start_soon(partial(ctx.bury, event("a"), event("b"), why="spent"))
        await anyio.wait_all_tasks_blocked()
        go.set()
    # It succeeded, and so is not given up.
    assert await rows(made) == [("succeeded", 1, "a"), ("dead", 0, "b")]


async def test_what_a_person_queued_while_it_ran_is_the_queues_and_is_told_once(tmp_path: Path) -> None:
    go = anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        if len(made.runtime.calls) == 1:
            raise Failure("once")
        await go.wait()

    to = (Destination(kind="function", target="tell"),)
    more = {"on_success": to, "concurrency": 2}
    async with handling(tmp_path, wait, handlers={"tell": work}, more=more) as (made, ctx):
        await ctx.handle(event("a"))
        (left,) = await made.store.page(Query())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ctx.handle, event("a"))
            await made.until(lambda: made.runtime.running == 1, "its source gave it again")
            assert await made.hub.deliveries.redrive([left.id]) == [left.id]
            go.set()
        assert await made.states(2) == ["succeeded"] * 2
        assert made.hub._depth["hand"] == made.hub._depth["destination:work"] == 0


async def test_a_dead_letter_is_redriven_by_the_queue(tmp_path: Path) -> None:
    async with handling(tmp_path) as (made, ctx):
        await ctx.bury(event("a"), why="spent")
        (dead,) = await made.store.page(Query())
        await made.hub.deliveries.redrive([dead.id])
        assert await made.states(1) == ["succeeded"]


async def test_it_shares_the_functions_places_and_keeps_to_its_own(tmp_path: Path) -> None:
    go = anyio.Event()

    async def wait(invocation: Invocation) -> Any:
        await go.wait()

    settings: dict[str, Any] = {"more": {"concurrency": 3}, "maximum_concurrency": 2}
    async with handling(tmp_path, wait, **settings) as (made, ctx), anyio.create_task_group() as tasks:
        for key in "abcd":
            await ctx.free() if key in "ab" else None
            tasks.start_soon(ctx.handle, event(key))
            await anyio.sleep(0.01)
        await made.until(lambda: made.runtime.running == 2, "two run")
        with anyio.move_on_after(0.1) as early:
            await ctx.free()
        assert early.cancelled_caught
        go.set()
        with anyio.fail_after(GUARD):
            await ctx.free()
    assert (made.runtime.most, len(made.runtime.calls)) == (2, 4)


async def test_a_source_knows_how_many_calls_may_be_its_own(tmp_path: Path) -> None:
    async with handling(tmp_path, more={"concurrency": 3}) as (made, ctx):
        assert ctx.places == 3
        await made.reload([function("work")], [trigger(ack="handled", maximum_concurrency=2)])
        assert (await context(made)).places == 2


async def test_a_paused_function_begins_nothing(tmp_path: Path) -> None:
    async with handling(tmp_path) as (made, ctx):
        await made.hub.pause("function", "work")
        assert (await ctx.handle(event("a"))).each == (Interrupted(),)
        assert await rows(made) == []
        with anyio.move_on_after(0.1) as early:
            await ctx.free()
        assert early.cancelled_caught
        await made.hub.resume("function", "work")
        with anyio.fail_after(GUARD):
            await ctx.free()
        assert (await ctx.handle(event("a"))).done == (True,)


async def test_a_repeated_idempotency_key_is_answered_without_a_call(tmp_path: Path) -> None:
    more = {"idempotency": Idempotency(key="$.order")}
    async with handling(tmp_path, more=more) as (made, ctx):
        await ctx.handle(event("a", order="7"))
        handled = await ctx.handle(event("b", order="7"))
        assert handled.done == (True,)
        assert len(made.runtime.calls) == 1
        newest = (await made.store.page(Query()))[0]
        assert (newest.dedup_key, newest.state, newest.reason) == ("b", State.SUCCEEDED, "idempotent")
        assert await made.store.answer([("work", "7")], now=0) == [json.dumps({"id": "a", "order": "7"}).encode()]


@pytest.mark.parametrize("fail", [False, True])
async def test_an_idempotency_key_twice_in_a_batch_is_one_call_and_holds_nobody_up(tmp_path: Path, fail: bool) -> None:
    more = {"idempotency": Idempotency(key="$.order")}
    async with handling(tmp_path, more=more, batch=Batch(size=10)) as (made, ctx):
        batch = [event("a", order=7, fail=fail), event("b", order=7), event("c")]
        for one in batch:
            one.ordering_key = "x"
        handled = await ctx.handle(*batch)
        assert [one["id"] for one in json.loads(made.runtime.calls[0].payload)] == ["a", "c"]
        assert [type(one) for one in handled.each] == ([Raised, Interrupted, Raised] if fail else [Returned] * 3)
        found = {one.dedup_key: (one.state.value, one.reason) for one in await made.store.page(Query())}
        assert found.get("b") == (None if fail else ("succeeded", "idempotent"))


async def test_a_rate_is_kept(tmp_path: Path) -> None:
    async with handling(tmp_path, more={"rate": Rate(count=1, per=100)}) as (_, ctx):
        began = anyio.current_time()
        for key in "abc":
            assert (await ctx.handle(event(key))).done == (True,)
        assert anyio.current_time() - began > 0.15


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(StoreFull("no room"), id="a full disk"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), id="no descriptors"),
    ],
)
async def test_what_the_host_has_no_more_of_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    store = HeldStore()
    record = store.record
    refused = [refusal]

    async def full(*args: Any, **named: Any) -> Any:
        if refused:
            raise refused.pop()
        return await record(*args, **named)

    monkeypatch.setattr(store, "record", full)
    to = (Destination(kind="function", target="tell"),)
    async with handling(tmp_path, store=store, handlers={"tell": work}, more={"on_success": to}) as (made, ctx):
        assert (await ctx.handle(event("a"))).done == (True,)
        assert refused == []
        assert await made.states(2) == ["succeeded"] * 2
        assert {(one.function, one.attempts, one.reason) for one in await store.page(Query())} == {
            ("work", 1, None), ("tell", 1, None),
        }  # fmt: skip


async def test_an_outcome_that_cannot_be_stored_is_written_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HeldStore()
    record = store.record

    async def picky(records: Any, **named: Any) -> Any:
        if any(one.attempt for one in records):
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return await record(records, **named)

    monkeypatch.setattr(store, "record", picky)
    to = (Destination(kind="function", target="tell"),)
    async with handling(tmp_path, store=store, handlers={"tell": work}, more={"on_success": to}) as (made, ctx):
        handled = await ctx.handle(event("a"), checkpoints=lambda _: {"place": "1"})
        assert handled.done == (True,)
        assert await rows(made) == [("succeeded", 0, "a")]
        (row,) = await made.store.page(Query())
        assert (row.reason or "").startswith("its outcome could not be stored: UnicodeEncodeError")
        assert await ctx.checkpoint("place") == "1"
        assert b'triggerhub_destination_failures_total{function="work"} 1.0' in await made.hub.metrics()


# stopping


def finishing_source(log: list[str]) -> ModuleType:
    module = hand_source()

    async def run(ctx: Context, options: object) -> None:
        module.contexts["hand"] = ctx  # type: ignore[attr-defined]
        ctx.begun()
        try:
            while True:
                async with ctx.finish():
                    log.append("fetched")
                    handled = await ctx.handle(event("a"))
                    log.append("acknowledged" if all(handled.done) else "given back")
                await anyio.sleep(3600)
        finally:
            log.append("ended")

    module.run = run  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("takes", "drain", "end"),
    [
        pytest.param(0.2, 20_000, "acknowledged", id="it ends within the drain"),
        pytest.param(30, 100, "given back", id="it is cut at the drain's end"),
    ],
)
async def test_a_stop_waits_for_what_was_fetched_and_no_longer_than_the_drain(
    tmp_path: Path, takes: float, drain: int, end: str
) -> None:
    log: list[str] = []

    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(takes)

    store = MemoryStore()
    source = finishing_source(log)
    with anyio.fail_after(GUARD):
        async with rig(
            tmp_path, {"work": slow}, triggers=[trigger(ack="handled")], store=store, more={"hand": source}, drain=drain
        ) as made:
            await made.until(lambda: made.runtime.running == 1, "the call runs")
    assert log == ["fetched", end, "ended"]
    assert [one.state for one in await store.page(Query())] == ([State.SUCCEEDED] if end == "acknowledged" else [])


async def test_a_changed_trigger_waits_for_what_was_fetched(tmp_path: Path) -> None:
    log: list[str] = []

    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(0.1)

    source = finishing_source(log)
    async with rig(tmp_path, {"work": slow}, triggers=[trigger(ack="handled")], more={"hand": source}) as made:
        await made.until(lambda: made.runtime.running == 1, "the call runs")
        assert await made.reload([function("work")], [trigger(ack="handled", keep=5)]) == []
        assert log[:3] == ["fetched", "acknowledged", "ended"]


async def test_a_source_with_nothing_to_finish_is_stopped_at_once(tmp_path: Path) -> None:
    with anyio.fail_after(GUARD):
        async with handling(tmp_path, drain=3_600_000) as (made, ctx):
            await ctx.handle(event("a"))
            assert Lane("hand", "work") in (await made.store.stats()).by_lane


async def test_a_second_signal_cuts_what_is_being_finished(tmp_path: Path) -> None:
    log: list[str] = []

    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep_forever()

    source = finishing_source(log)
    with anyio.fail_after(GUARD), anyio.CancelScope() as second:
        async with rig(
            tmp_path, {"work": slow}, triggers=[trigger(ack="handled")], more={"hand": source}, drain=3_600_000
        ) as made:
            await made.until(lambda: made.runtime.running == 1, "the call runs")
            second.cancel()
            await anyio.sleep_forever()
    assert log == ["fetched", "ended"]
