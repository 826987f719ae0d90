"""When a batch is made, what fits into it, and which of its records failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hub.rig import Rig, echoing, function, rig, trigger
from triggerhub.model import Invocation, Millis
from triggerhub.settings import Batch, RetryPolicy
from triggerhub.store import Grant, Want
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import open_store
from triggerhub.testing import FakeClock

ONCE = RetryPolicy(attempts=1)


def sizes(r: Rig) -> list[int]:
    return [len(call.deliveries) for call in r.runtime.calls]


async def silent(invocation: Invocation) -> Any:
    return None


async def test_a_full_batch_never_waits_and_the_rest_waits_for_its_window(tmp_path: Path) -> None:
    clock = FakeClock()
    triggers = [trigger(batch=Batch(size=3, window=10_000))]
    async with rig(tmp_path, {"work": silent}, triggers=triggers, clock=clock) as r:
        await r.emit("hand", *range(4))
        await r.until(lambda: sizes(r) == [3], "three are a batch at once")
        r.advance(9_999)
        await r.idle()
        assert sizes(r) == [3], "the fourth waits for its window"
        await r.emit("hand", 4)
        r.advance(1)
        assert await r.states(5) == ["succeeded"] * 5
        assert sizes(r) == [3, 2], "the window runs from the oldest; who came meanwhile goes with it"


async def test_without_a_window_nobody_waits_for_company(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": silent}, triggers=[trigger(batch=Batch(size=100))]) as r:
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
        await r.emit("hand", *range(250))
        assert await r.states(251) == ["succeeded"] * 251
    assert max(sizes(r)) == 100


async def test_a_batch_carries_what_an_invocation_may(tmp_path: Path) -> None:
    triggers = [trigger(batch=Batch(size=10, window=20))]
    async with rig(tmp_path, {"work": silent}, triggers=triggers, functions=[function(concurrency=1)]) as r:
        await r.emit("hand", *["x" * 2_000_000] * 4, "y" * 7_000_000)
        assert await r.states(5) == ["succeeded"] * 5
    assert sorted(sizes(r)) == [1, 1, 3]
    assert all(len(call.payload) <= 6 * 1024 * 1024 for call in r.runtime.calls if len(call.deliveries) > 1)


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        pytest.param(None, [], id="null"),
        pytest.param({}, [], id="an empty object"),
        pytest.param({"batchItemFailures": []}, [], id="an empty list"),
        pytest.param({"batchItemFailures": None}, [], id="null in it"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": "2"}]}, [2], id="one"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "3"}]}, [1, 3], id="two"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": "9"}]}, [1, 2, 3], id="an unknown id"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": ""}]}, [1, 2, 3], id="an empty id"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": None}]}, [1, 2, 3], id="a null id"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": 2}]}, [1, 2, 3], id="a number"),
        pytest.param({"batchItemFailures": [{"id": "2"}]}, [1, 2, 3], id="a wrong key"),
        pytest.param({"batchItemFailures": {"itemIdentifier": "2"}}, [1, 2, 3], id="no list"),
        pytest.param("failed", [1, 2, 3], id="a string"),
    ],
)
async def test_the_answer_names_what_failed(tmp_path: Path, answer: Any, failed: list[int]) -> None:
    async def said(invocation: Invocation) -> Any:
        return answer

    triggers = [trigger(batch=Batch(size=3, window=60_000, partial_failures=True))]
    async with rig(tmp_path, {"work": said}, functions=[function(retry=ONCE)], triggers=triggers) as r:
        r.modules["hand"].identifier = str  # type: ignore[attr-defined]
        await r.reload([function(retry=ONCE)], triggers)
        await r.emit("hand", 1, 2, 3)
        states = await r.states(3)
        stats = await r.store.stats()
    assert [n for n, state in enumerate(states, 1) if state == "dead"] == failed
    assert stats.drift == 0
    assert len(r.runtime.calls) == 1


async def test_only_what_failed_is_tried_again(tmp_path: Path) -> None:
    async def second_fails_once(invocation: Invocation) -> Any:
        found = json.loads(invocation.payload)
        records = found if isinstance(found, list) else [found]
        bad = [n for n in records if n == 2 and invocation.attempt == 1]
        return {"batchItemFailures": [{"itemIdentifier": str(n)} for n in bad]}

    triggers = [trigger(batch=Batch(size=3, window=50, partial_failures=True))]
    async with rig(tmp_path, {"work": second_fails_once}, triggers=triggers) as r:
        r.modules["hand"].identifier = str  # type: ignore[attr-defined]
        await r.reload([function()], triggers)
        answers = await r.emit("hand", 1, 2, 3)
        assert await r.states(3) == ["succeeded"] * 3
        detail = await r.hub.deliveries.get(answers[1].deliveries[0])
    assert [json.loads(call.payload) for call in r.runtime.calls] == [[1, 2, 3], 2]
    assert [attempt.outcome for attempt in detail.attempts] == ["raised", "returned"]


@pytest.mark.parametrize(
    ("identifier", "says"),
    [
        (lambda record: record["id"], "KeyError: 'id'"),
        (lambda record: [record], "it returned list, expected str"),
    ],
)
async def test_records_that_their_source_cannot_name_all_fail(
    tmp_path: Path, identifier: Callable[[Any], Any], says: str
) -> None:
    triggers = [trigger(batch=Batch(size=2, window=60_000, partial_failures=True))]
    async with rig(tmp_path, {"work": silent}, functions=[function(retry=ONCE)], triggers=triggers) as r:
        r.modules["hand"].identifier = identifier  # type: ignore[attr-defined]
        await r.reload([function(retry=ONCE)], triggers)
        (answer, _) = await r.emit("hand", {"id": "a"}, {"no": "id"})
        assert await r.states(2) == ["dead", "dead"]
        row = await r.row(answer.deliveries[0])
    assert row.error is not None
    assert f"the source hand failed in identifier: {says} (test_batching.py:" in row.error.message


async def test_a_claim_loads_no_more_than_the_memory_bears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerhub.hub.turns.CLAIM_LIMIT", 1000)
    seen = []

    async def note(invocation: Invocation) -> Any:
        seen.append(len(invocation.deliveries))

    store, triggers = MemoryStore(), [trigger(batch=Batch(size=10, window=20))]
    async with rig(tmp_path, {"work": note}, triggers=triggers, store=store) as r:
        await r.emit("hand", *["x" * 298] * 10)
        assert await r.states(10) == ["succeeded"] * 10
    assert seen == [3, 3, 3, 1]


class Weighing(MemoryStore):
    """Notes how many bytes each claim loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[int] = []

    async def claim(self, wants: Sequence[Want], *, now: Millis) -> list[Grant]:
        grants = await super().claim(wants, now=now)
        self.loads += [sum(len(one.event.data) for one in grant.claimed) for grant in grants]
        return grants


async def test_nor_does_one_for_many_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerhub.hub.turns.CLAIM_LIMIT", 1000)
    store, works = Weighing(), [function("work", concurrency=10)]
    async with rig(tmp_path, {"work": silent}, functions=works, triggers=[trigger()], store=store) as r:
        await r.emit("hand", *["x" * 298] * 10)
        assert await r.states(10) == ["succeeded"] * 10
    assert sum(store.loads) == 3000
    assert max(store.loads) == 900


async def test_a_damaged_payload_leaves_room_in_the_backlog_and_is_counted(tmp_path: Path) -> None:
    async with open_store(tmp_path / "data") as store, rig(tmp_path, {"work": echoing}, store=store) as r:
        await r.hub.pause("function", "work")
        await r.emit("hand", "whole", "torn")
        await store.writer.do(lambda t: t.db.execute("UPDATE event SET data = x'00' WHERE seq = 2"))
        await r.hub.resume("function", "work")
        assert await r.states(2) == ["succeeded", "dead"]
        await r.until(lambda: r.hub._depth["hand"] == 0, "nothing is in the backlog")
        assert 'triggerhub_dead_letters_total{function="work"} 1.0' in (await r.hub.metrics()).decode()
