"""One at a time and in order per key: across retries, batches, restarts and give-backs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, function, rig, trigger
from triggerhub.model import Invocation
from triggerhub.settings import Batch
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeClock


class Witness:
    """A handler that notes the order per key, and who ran side by side with one of its key."""

    def __init__(self, fails: int = 0, takes: float = 0.001) -> None:
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.running: set[str] = set()
        self.together: list[str] = []
        self._fails, self._takes = fails, takes

    async def __call__(self, invocation: Invocation) -> Any:
        found = json.loads(invocation.payload)
        records = found if isinstance(found, list) else [found]
        keys = [record["who"] for record in records]
        self.together += [key for key in keys if key in self.running or keys.count(key) > 1]
        self.running.update(keys)
        try:
            await anyio.sleep(self._takes)
            if records[0]["n"] % 3 == 1 and invocation.attempt <= self._fails:
                raise Failure("now and then")
            for record in records:
                self.seen[record["who"]].append(record["n"])
        finally:
            self.running.difference_update(keys)


@pytest.mark.parametrize(
    ("batch", "fails"),
    [
        pytest.param(Batch(), 0, id="one by one"),
        pytest.param(Batch(), 2, id="with retries"),
        pytest.param(Batch(size=4, window=5), 0, id="in batches"),
        pytest.param(Batch(size=4, window=5), 1, id="in batches with retries"),
    ],
)
async def test_each_key_is_in_order_and_never_beside_itself(tmp_path: Path, batch: Batch, fails: int) -> None:
    witness = Witness(fails)
    async with rig(tmp_path, {"work": witness}, triggers=[trigger(order="$.who", batch=batch)]) as r:
        for n in range(8):
            await r.emit("hand", *({"who": who, "n": n} for who in "abc"))
        assert await r.states(24) == ["succeeded"] * 24
    assert dict(witness.seen) == {who: list(range(8)) for who in "abc"}
    assert witness.together == []


async def test_the_order_survives_a_hub_that_was_cut(tmp_path: Path) -> None:
    store, first, second = MemoryStore(), Witness(takes=60), Witness()
    triggers = [trigger(order="$.who")]
    with anyio.fail_after(20):
        async with rig(tmp_path, {"work": first}, store=store, triggers=triggers, drain=10) as r:
            for n in range(5):
                await r.emit("hand", {"who": "a", "n": n}, {"who": "b", "n": n})
            await r.until(lambda: first.running == {"a", "b"}, "both keys run")
        store.reopen()
        async with rig(tmp_path, {"work": second}, store=store, triggers=triggers) as r:
            assert await r.states(10) == ["succeeded"] * 10
    assert dict(second.seen) == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}


async def test_the_order_survives_a_clock_that_was_put_back_meanwhile(tmp_path: Path) -> None:
    store, clock, witness = MemoryStore(), FakeClock(), Witness()
    triggers = [trigger(order="$.who")]
    async with rig(tmp_path, {"work": witness}, store=store, clock=clock, triggers=triggers) as r:
        await r.hub.pause("function", "work")
        for n in range(3):
            await r.emit("hand", {"who": "a", "n": n})
    store.reopen()
    clock.advance(-600_000)
    async with rig(tmp_path, {"work": witness}, store=store, clock=clock, triggers=triggers) as r:
        for n in range(3, 6):
            await r.emit("hand", {"who": "a", "n": n})
        clock.advance(600_000)
        await r.hub.resume("function", "work")
        assert await r.states(6) == ["succeeded"] * 6
    assert witness.seen == {"a": [0, 1, 2, 3, 4, 5]}


async def test_what_is_given_back_keeps_its_place(tmp_path: Path) -> None:
    store, seen, go = MemoryStore(), [], anyio.Event()

    async def note(invocation: Invocation) -> Any:
        seen.append(json.loads(invocation.payload))
        if seen[-1] == "hold":
            await go.wait()

    async with rig(tmp_path, {"work": note}, functions=[function(concurrency=1)], store=store) as r:
        await r.emit("hand", "quick")
        await r.states(1)
        await r.emit("hand", "hold", 1, 2, 3)
        await r.until(lambda: r.hub._wiring.dispatchers["work"]._ready, "three are claimed ahead")
        await r.hub.pause("function", "work")
        await anyio.sleep(0.005)
        await r.emit("hand", 4)
        go.set()
        await r.until(lambda: r.runtime.running == 0, "the one that ran is done")
        await r.hub.resume("function", "work")
        await r.states(6)
    assert seen == ["quick", "hold", 1, 2, 3, 4]
