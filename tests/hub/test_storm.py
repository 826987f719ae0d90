"""Everything that people and files do to a hub, all at once: nothing is lost, run twice at a time, or miscounted."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, Rig, function, rig, trigger
from triggerhub.model import Invocation, State
from triggerhub.settings import Batch, Destination, Idempotency, Rate, RetryPolicy
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import SQLiteStore, open_store

RETRY = RetryPolicy(attempts=4, initial=1, max=10)
EVENTS = 150
POISONED = 23
"""Each so many events there is one that no attempt can do."""


class Storm:
    """One random run; *seed* makes its choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.running: Counter[str] = Counter()
        self.ran: set[str] = set()
        self.together: list[str] = []
        self.accepted: list[str] = []

    async def work(self, invocation: Invocation) -> Any:
        found = json.loads(invocation.payload)
        records = found if isinstance(found, list) else [found]
        keys = [f"{invocation.function}/{record['who']}" for record in records if "who" in record]
        for key in keys:
            self.running[key] += 1
            if self.running[key] > 1:
                self.together.append(key)
        try:
            await anyio.sleep(self.random.choice([0, 0, 0.001, 0.004]))
            if any(record.get("n", -1) % POISONED == 0 for record in records):
                raise Failure("always")
            match self.random.randrange(20):
                case 0:
                    raise Failure("by chance")
                case 1:
                    raise BrokenPipeError
        finally:
            self.running.subtract(keys)
        self.ran.update(invocation.deliveries)

    async def emits(self, r: Rig) -> None:
        for n in range(EVENTS):
            name = self.random.choice(["plain", "ordered", "batched"])
            (answer,) = await r.emit(
                name, {"n": n, "who": self.random.choice("abc")} if name == "ordered" else {"n": n}
            )
            self.accepted += answer.deliveries
            if self.random.random() < 0.2:
                await anyio.sleep(0.002)

    async def meddles(self, r: Rig) -> None:
        while True:
            await anyio.sleep(self.random.choice([0, 0.003, 0.01]))
            some = self.random.sample(self.accepted, min(3, len(self.accepted)))
            match self.random.randrange(6):
                case 0 | 1:
                    await r.hub.deliveries.cancel(some, "by chance")
                case 2:
                    await r.hub.deliveries.redrive(some)
                case 3:
                    await r.hub.pause("function", "work")
                    await r.hub.resume("function", "work")
                case 4:
                    await r.reload(functions(self.random.randrange(3)), triggers(self.random.choice([None, 2])))
                case 5:
                    await r.hub.invoke("work", b'{"n":-1}')


def functions(version: int = 0) -> list[Any]:
    return [
        function(retry=RETRY, version=f"work-{version}", on_failure=(Destination(kind="function", target="take"),)),
        function("once", retry=RETRY, idempotency=Idempotency(key="$.n")),
        function("take", retry=RETRY),
    ]


def triggers(maximum: int | None = None) -> list[Any]:
    return [
        trigger("plain", functions=("work", "once"), maximum_concurrency=maximum),
        trigger("ordered", functions=("work",), order="$.who"),
        trigger("batched", functions=("work",), batch=Batch(size=4, window=3)),
    ]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm(tmp_path: Path, kind: str, seed: int) -> None:
    if kind == "sqlite":
        async with open_store(tmp_path / "data", durability="normal") as store:
            await weather(tmp_path, store, seed)
    else:
        await weather(tmp_path, MemoryStore(), seed)


async def weather(folder: Path, store: Any, seed: int) -> None:
    storm = Storm(seed)
    handlers = dict.fromkeys(("work", "once", "take"), storm.work)
    async with rig(folder, handlers, functions=functions(), triggers=triggers(), store=store, drain=5_000) as r:
        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(storm.meddles, r)
                await storm.emits(r)
                tasks.cancel_scope.cancel()
            await r.hub.resume("function", "work")
            while await _unfinished(store):
                await anyio.sleep(0.01)
        rows = {row.id: row for row in await store.page(Query(limit=10_000))}
        # What is committed is seen in the store a moment before the hub hears of it.
        await r.until(lambda: r.runtime.running == 0, "nothing runs")
        lanes = ("plain", "ordered", "batched", "api", "destination:work")
        await r.until(lambda: not any(r.hub._depth[name] for name in lanes), "nothing is counted as unfinished")
        await r.until(lambda: not any(one._held for one in r.hub._wiring.dispatchers.values()), "nothing is held")
    stats = await store.stats()
    assert (stats.drift, await store.audit()) == (0, [])
    assert len(storm.accepted) >= EVENTS, "each event made a delivery at least"
    assert set(storm.accepted) <= rows.keys(), "what was accepted is there"
    assert {State.SUCCEEDED, State.DEAD} <= {row.state for row in rows.values()}, (
        "some could be done, and some could not"
    )
    succeeded = {row.id for row in rows.values() if row.state is State.SUCCEEDED and row.reason is None}
    assert succeeded <= storm.ran, "what succeeded was run"
    assert storm.together == [], "no two of an ordering key ran side by side"


async def _unfinished(store: Any) -> list[Any]:
    """Return what is queued or running at one moment: asked for one after the other, what is retried is in neither."""
    return [row for row in await store.page(Query(limit=10_000)) if not row.state.finished]


class Tempest(Storm):
    """A storm in which functions go and come back, history is pruned and copied, and rates change."""

    async def emits(self, r: Rig) -> None:
        for n in range(EVENTS):
            (answer,) = await r.emit(self.random.choice(["plain", "ordered", "batched"]), {"n": n, "who": "abc"[n % 3]})
            self.accepted += answer.deliveries
            await anyio.sleep(self.random.choice([0, 0, 0, 0.003]))

    async def meddles(self, r: Rig) -> None:
        while True:
            await anyio.sleep(self.random.choice([0, 0.003, 0.01]))
            some = self.random.sample(self.accepted, min(3, len(self.accepted)))
            match self.random.randrange(7):
                case 0:
                    await r.hub.deliveries.cancel(some, "by chance")
                case 1:
                    await r.hub.deliveries.redrive(some)
                case 2:
                    await r.hub.deliveries.discard(some, "by chance")
                case 3:
                    await r.hub.prune(0)
                case 4:
                    await r.reload(functions()[1:], served("once"))
                    await anyio.sleep(self.random.choice([0, 0.003]))
                    await r.reload(functions(), served("work", "once"))
                case 5:
                    rate = self.random.choice([None, Rate(count=20, per=10)])
                    changed = [replace(one, rate=rate) for one in functions(self.random.randrange(3))]
                    await r.reload(changed, served("work", "once"))
                case 6 if isinstance(r.store, SQLiteStore):
                    async with r.hub.backup() as pieces:
                        await anyio.to_thread.run_sync(list, pieces)


def served(*names: str) -> list[Any]:
    return [
        trigger("plain", functions=names),
        trigger("ordered", functions=names, order="$.who"),
        trigger("batched", functions=names, batch=Batch(size=4, window=3)),
    ]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_functions_that_go_and_come_back_leave_nothing_behind(tmp_path: Path, kind: str) -> None:
    async with AsyncExitStack() as stack:
        store: Any = MemoryStore()
        if kind == "sqlite":
            store = await stack.enter_async_context(open_store(tmp_path / "data", durability="normal"))
        storm, handlers = Tempest(3), ("work", "once", "take")
        working = dict.fromkeys(handlers, storm.work)
        r = await stack.enter_async_context(
            rig(tmp_path, working, functions=functions(), triggers=served("work", "once"), store=store, drain=5_000)
        )
        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(storm.meddles, r)
                await storm.emits(r)
                tasks.cancel_scope.cancel()
            await r.reload(functions(), served("work", "once"))
            while await _unfinished(store):
                await anyio.sleep(0.01)
        await r.until(lambda: not r.hub._wiring.dispatchers._leaving, "those that were removed are gone")
        lanes, dispatchers = ("plain", "ordered", "batched", "destination:work"), r.hub._wiring.dispatchers
        await r.until(lambda: not any(r.hub._depth[name] for name in lanes), "nothing is counted as unfinished")
        await r.until(
            lambda: all(r.hub._pool.live(name) == r.hub._pool.idle(name) for name in handlers), "none is lent"
        )
        await r.until(
            lambda: not any(one._held or one.idempotent._busy for one in dispatchers.values()), "nothing is held"
        )
        assert ((await store.stats()).drift, await store.audit()) == (0, [])
