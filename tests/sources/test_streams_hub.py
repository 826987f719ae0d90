"""A stream in a hub: its stop, a paused function, keys of idempotency, history and dead letters."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sources import kinesis
from tests.aws_double.streams import Streams, serving
from tests.hub.rig import Failure, Rig, function, rig, trigger
from tests.sources.streamrig import hurry
from triggerhub.model import Invocation, State
from triggerhub.policy.streaming import decode
from triggerhub.settings import Batch, Idempotency, RetryPolicy, Trigger
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore

QUICK = RetryPolicy(attempts=2, initial=5, max=10)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, keys: None) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def double() -> AsyncGenerator[Streams]:
    async with serving(Streams()) as made:
        yield made


def clicks(double: Streams, **changes: Any) -> Trigger:
    own = {name: changes.pop(name) for name in ("parallel", "bisect") if name in changes}
    options = kinesis.Options(stream=double.name, start="trim_horizon", endpoint_url=double.url, **own)
    common = {"ack": "handled", "batch": Batch(size=10), "functions": ("work",), "retry": {"work": QUICK}, **changes}
    return trigger("clicks", type="kinesis", options=options, **common)


def bodies(invocation: Invocation) -> list[Any]:
    records = json.loads(invocation.payload)["Records"]
    return [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in records]


def hub(folder: Path, work: Any, one: Trigger, store: MemoryStore, **more: Any) -> Any:
    own = function("work", **more)
    return rig(folder, {"work": work}, functions=[own], triggers=[one], more={"kinesis": kinesis}, store=store)


async def position(made: Rig) -> str | None:
    kept = await made.store.checkpoints("clicks")
    (found,) = (decode(value) for name, value in kept.items() if "shardId" in name)
    return found.after


async def test_a_call_that_runs_when_the_hub_stops_is_finished_and_remembered(tmp_path: Path, double: Streams) -> None:
    last = [double.put("k", n) for n in range(5)][-1]
    begun, seen = anyio.Event(), []

    async def work(invocation: Invocation) -> None:
        begun.set()
        await anyio.sleep(0.2)
        seen.extend(bodies(invocation))

    store = MemoryStore()
    async with hub(tmp_path, work, clicks(double), store) as made, anyio.create_task_group() as tasks:
        await begun.wait()
        for n in range(5, 10):
            double.put("k", n)
        tasks.cancel_scope.cancel()
    assert seen == [0, 1, 2, 3, 4]
    assert await position(made) == last
    async with hub(tmp_path, work, clicks(double), store) as made:
        await made.states(10)
    assert seen == list(range(10))


async def test_a_paused_function_holds_the_stream_up_and_nothing_is_counted(tmp_path: Path, double: Streams) -> None:
    seen: list[Any] = []

    async def work(invocation: Invocation) -> None:
        seen.extend(bodies(invocation))

    store = MemoryStore()
    async with hub(tmp_path, work, clicks(double), store) as made:
        await made.hub.pause("function", "work")
        double.put("k", 0)
        with anyio.fail_after(10):
            while double.calls["GetRecords"] < 5:
                await anyio.sleep(0.01)
        assert seen == []
        assert await store.page(Query()) == []
        await made.hub.resume("function", "work")
        await made.states(1)
    assert seen == [0]


async def test_what_failed_and_what_was_given_up_is_in_the_history(tmp_path: Path, double: Streams) -> None:
    for n in range(8):
        double.put("k", n)

    async def work(invocation: Invocation) -> None:
        if 5 in bodies(invocation):
            raise Failure("never five")

    store = MemoryStore()
    async with hub(tmp_path, work, clicks(double, bisect=True), store) as made:
        with anyio.fail_after(20):
            while len([one for one in await store.page(Query()) if one.state is not State.CANCELLED]) < 8:
                await anyio.sleep(0.01)
        rows = await store.page(Query())
        (dead,) = (one for one in rows if one.state is State.DEAD)
        assert len(rows) == 8
        assert dead.reason == "failed 5 calls, and the attempts are spent"
        assert dead.error is not None
        assert dead.error.message == "never five"
        detail = await made.hub.deliveries.get(dead.id)
        assert len(detail.attempts) == 5
        assert (await store.stats()).drift == 0
        assert await made.hub.deliveries.redrive([dead.id]) == [dead.id]


async def test_records_with_one_idempotency_key_run_once(tmp_path: Path, double: Streams) -> None:
    for n in (1, 1, 2):
        double.put("k", {"order": n})
    seen: list[Any] = []

    async def work(invocation: Invocation) -> None:
        seen.extend(body["order"] for body in bodies(invocation))

    own = Idempotency(key="$.data.order")
    store = MemoryStore()
    async with hub(tmp_path, work, clicks(double), store, idempotency=own) as made:
        with anyio.fail_after(20):
            while len(await store.page(Query(state=State.SUCCEEDED))) < 3:
                await anyio.sleep(0.01)
        assert {one.reason for one in await store.page(Query())} == {None, "idempotent"}
        assert await position(made) == str(double.shards[next(iter(double.shards))].records[-1].sequence)
    assert sorted(seen) == [1, 2]


async def test_a_record_whose_key_another_call_has_is_neither_overtaken_nor_passed_over(
    tmp_path: Path, double: Streams
) -> None:
    go, met = anyio.Event(), anyio.Event()
    seen: list[Any] = []

    async def work(invocation: Invocation) -> Any:
        if b"Records" not in invocation.payload:
            await go.wait()
            raise Failure("so that its answer is not kept")
        numbers = [body["n"] for body in bodies(invocation)]
        failing = [] if met.is_set() else [one["eventID"] for one in json.loads(invocation.payload)["Records"][-1:]]
        seen.extend(numbers[: len(numbers) - len(failing)])
        met.set()
        return {"batchItemFailures": [{"itemIdentifier": one.partition(":")[2]} for one in failing]}

    one = clicks(double, batch=Batch(size=10, partial_failures=True))
    own = Idempotency(key="$.data.order")
    store = MemoryStore()
    async with hub(tmp_path, work, one, store, idempotency=own, concurrency=2) as made:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.hub.invoke, "work", b'{"data": {"order": 7}}')
            await made.until(lambda: made.runtime.running == 1, "another call has the key")
            double.put("a", {"n": 0, "order": 7})
            last = [double.put(key, {"n": n}) for n, key in enumerate("abb", 1)][-1]
            await met.wait()
            go.set()
        with anyio.fail_after(20):
            while await position(made) != last:
                await anyio.sleep(0.01)
    assert sorted(seen) == [0, 1, 2, 3]
    assert seen.index(0) < seen.index(1)


async def test_a_shard_that_is_gone_while_it_is_listed_holds_no_other_up(tmp_path: Path, double: Streams) -> None:
    (gone,) = double.shards
    double.put("k", "kept", double.shard())
    double.gone = gone
    seen: list[Any] = []

    async def work(invocation: Invocation) -> None:
        seen.extend(bodies(invocation))

    async with hub(tmp_path, work, clicks(double), MemoryStore()) as made:
        await made.states(1)
        with anyio.fail_after(10):
            while (row := (await made.hub.triggers())[0])["why"] is None:
                await anyio.sleep(0.01)
        assert "no such resource" in str(row["why"])
    assert seen == ["kept"]
