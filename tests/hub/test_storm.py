"""Everything that people and files do to a hub, all at once: nothing is lost, run twice at a time, or miscounted."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, Rig, function, rig, trigger
from triggerhub.model import Invocation, State
from triggerhub.settings import Batch, Destination, Idempotency, RetryPolicy
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import open_store

RETRY = RetryPolicy(attempts=4, initial=1, max=10)
EVENTS = 150


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
                    await r.hub.cancel(some, "by chance")
                case 2:
                    await r.hub.redrive(some)
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
            while unfinished := await _unfinished(store):
                await anyio.sleep(0.01)
        assert unfinished == []
        rows = {row.id: row for row in await store.page(Query(limit=10_000))}
        depths = {name: r.hub._depth[name] for name in ("plain", "ordered", "batched", "api", "destination:work")}
        held = {name: one._held for name, one in r.hub._wiring.dispatchers.items()}
        await r.until(lambda: r.runtime.running == 0, "nothing runs")
    stats = await store.stats()
    assert (stats.drift, await store.audit()) == (0, [])
    assert set(storm.accepted) <= rows.keys(), "what was accepted is there"
    succeeded = {row.id for row in rows.values() if row.state is State.SUCCEEDED and row.reason is None}
    assert succeeded <= storm.ran, "what succeeded was run"
    assert storm.together == [], "no two of an ordering key ran side by side"
    assert depths == dict.fromkeys(depths, 0)
    assert held == {name: {} for name in held}


async def _unfinished(store: Any) -> list[Any]:
    return [
        row for state in (State.QUEUED, State.RUNNING) for row in await store.page(Query(state=state, limit=10_000))
    ]
