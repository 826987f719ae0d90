"""A large record is looked into off the loop, so that nobody waits behind it."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest

from tests.hub.rig import echoing, rig, trigger
from triggerhub.hub.gate import LARGE, Gate
from triggerhub.model import Event
from triggerhub.source import Filtered
from triggerhub.store import Query


async def test_others_are_accepted_while_a_large_record_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, looked = threading.Event(), Gate.admit

    def slow(gate: Gate, event: Event) -> object:
        if len(event.data) > LARGE:
            assert go_on.wait(60)
        return looked(gate, event)

    monkeypatch.setattr(Gate, "admit", slow)
    keyed = trigger(key="$.id", filter={"kind": ["order"]}, backlog=2)
    async with rig(tmp_path, {"work": echoing}, triggers=[keyed]) as r:
        answers = []

        async def large() -> None:
            answers.extend(await r.emit("hand", {"id": "large", "kind": "order", "pad": "x" * LARGE}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(large)
            await anyio.sleep(0)
            await r.emit("hand", {"id": "small", "kind": "order"})
            assert await r.states(1) == ["succeeded"]
            assert not answers
            go_on.set()
        assert await r.states(2) == ["succeeded"] * 2
        assert {row.dedup_key for row in await r.hub.deliveries.page(Query(limit=10))} == {"large", "small"}


async def test_who_examines_an_event_is_told_every_leaf_that_refuses_it(tmp_path: Path) -> None:
    refusing = trigger(filter={"total": [{"numeric": [">", 0]}], "kind": ["a"]})
    async with rig(tmp_path, {"work": echoing}, triggers=[refusing]) as r:
        found = await r.hub.trial.examine("hand", b'{"total": 0, "kind": "q"}', whole=True)
        assert isinstance(found, Filtered)
        assert found.why == 'total is 0; wanted numeric > 0, and kind is "q"; wanted "a"'
        assert not isinstance(await r.hub.trial.examine("hand", b'{"total": 1, "kind": "a"}', whole=True), Filtered)
        assert r.store.rows == {}
