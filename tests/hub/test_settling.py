"""What came of a call is recorded, whatever else goes wrong around it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import HeldStore, echoing, function, rig, trigger
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.model import Invocation
from triggerhub.settings import Destination, Idempotency, RetryPolicy
from triggerhub.store import Query


async def test_a_drain_waits_for_the_commit_that_is_under_way(tmp_path: Path) -> None:
    store = HeldStore()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, rig(tmp_path, {"work": echoing}, store=store) as r:
            go = store.hold("settle")
            await r.emit("hand", 1)
            await r.until(lambda: store.waiting["settle"], "the commit is under way")
            # The hub is leaving while the disk still works.
            tasks.start_soon(_set_later, go)
    (row,) = await store.page(Query())
    assert (row.state.value, row.attempts) == ("succeeded", 1)


async def _set_later(event: anyio.Event) -> None:
    await anyio.sleep(0.1)
    event.set()


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), OSError(errno.EMFILE, "too many open files"), MemoryError()], ids=repr
)
async def test_a_host_without_room_holds_outcomes_up_and_loses_none(tmp_path: Path, error: Exception) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        store.raises["settle"] = [error] * 2
        await r.emit("hand", 1, 2, 3)
        assert await r.states(3) == ["succeeded"] * 3
    assert len(r.runtime.calls) == 3, "an outcome that waits for room is not run again"


async def test_an_outcome_that_cannot_be_stored_buries_its_delivery_only(tmp_path: Path) -> None:
    class Picky(HeldStore):
        async def settle(self, settlements: Any, **named: Any) -> Any:
            if any(one.attempt and one.attempt.payload == b'"poison"' for one in settlements):
                raise ValueError("cannot be bound")
            return await super().settle(settlements, **named)

    store, functions = Picky(), [function(on_success=(Destination(kind="function", target="take"),)), function("take")]
    async with rig(tmp_path, {"work": echoing, "take": echoing}, store=store, functions=functions) as r:
        answers = await r.emit("hand", "a", "poison", "b")
        states = await r.states(5)
        assert (states[:3], states[3:]) == (["succeeded", "dead", "succeeded"], ["succeeded"] * 2)
        row = await r.row(answers[1].deliveries[0])
        assert "could not be stored: ValueError: cannot be bound" in (row.reason or "")
        assert r.hub._depth["hand"] == r.hub._depth["destination:work"] == 0
        assert (await r.store.stats()).drift == 0
        assert b'triggerhub_destination_failures_total{function="work"} 1.0' in await r.hub.metrics()


async def test_a_broken_store_ends_the_hub_with_its_own_word(tmp_path: Path) -> None:
    store = HeldStore()
    store.raises["settle"] = [StoreBroken("a sync failed")]

    async def serve() -> None:
        async with rig(tmp_path, {"work": echoing}, store=store) as r:
            await r.emit("hand", 1)
            await anyio.sleep(60)

    with anyio.fail_after(20), pytest.raises(BaseExceptionGroup) as caught:
        await serve()
    assert caught.group_contains(StoreBroken, match="a sync failed")


@pytest.mark.parametrize("verb", ["claim", "answer"])
async def test_a_store_that_fails_once_delays_and_does_not_end_anything(tmp_path: Path, verb: str) -> None:
    store = HeldStore()
    functions = [function(idempotency=Idempotency(key="$")), function("other")]
    triggers = [trigger(functions=("work", "other"))]
    async with rig(
        tmp_path, {"work": echoing, "other": echoing}, store=store, functions=functions, triggers=triggers
    ) as r:
        store.raises[verb] = [OSError("a hiccup")]
        await r.emit("hand", 1)
        assert await r.states(2) == ["succeeded"] * 2


async def test_what_cannot_be_claimed_is_a_problem_while_it_cannot(tmp_path: Path) -> None:
    store = HeldStore()
    async with rig(tmp_path, {"work": echoing}, store=store) as r:
        store.raises["claim"] = [OSError("a hiccup")]
        await r.emit("hand", 1)
        with anyio.fail_after(20):
            while not (problems := (await r.hub.status())["problems"]):
                await anyio.sleep(0.01)
        assert problems == ["function work: its deliveries could not be claimed: OSError: a hiccup; the log says more"]
        assert await r.states(1) == ["succeeded"]
        assert (await r.hub.status())["problems"] == []


def _raising(records: Any) -> bytes:
    raise KeyError("no such field")


def _of_text(records: Any) -> Any:
    return json.dumps(list(map(json.loads, records)))


@pytest.mark.parametrize(
    ("envelope", "says"),
    [(_raising, "KeyError: 'no such field'"), (_of_text, "it returned str, expected bytes")],
)
async def test_a_source_whose_envelope_fails_costs_its_own_deliveries(
    tmp_path: Path, envelope: Callable[..., bytes], says: str
) -> None:
    async with rig(tmp_path, {"work": echoing}, functions=[function(retry=RetryPolicy(attempts=2, initial=1))]) as r:
        r.modules["hand"].envelope = envelope  # type: ignore[attr-defined]
        assert await r.reload([function(retry=RetryPolicy(attempts=2, initial=1))], [trigger()]) == []
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["dead"]
        row = await r.row(answer.deliveries[0])
        answered = await r.hub.invoke("work", b"1")
    assert row.error is not None
    place = f"test_settling.py:{envelope.__code__.co_firstlineno}"
    told = f"the source hand failed in envelope: {says} ({place})"
    assert (row.error.type, row.error.message) == ("Hub.InternalError", told)
    assert answered.outcome.payload == b"1"  # type: ignore[union-attr]


async def test_a_destination_that_takes_no_record_fails_nothing_else(tmp_path: Path) -> None:
    async def long(invocation: Invocation) -> Any:
        return {"id": "x" * 2000}

    functions = [
        function(on_success=(Destination(kind="queue", target="topic"), Destination(kind="function", target="take"))),
        function("take"),
    ]
    triggers = [
        trigger(),
        trigger("topic", type="queue", functions=("take",), key="$.body.responsePayload.id"),
    ]
    async with rig(tmp_path, {"work": long, "take": echoing}, functions=functions, triggers=triggers) as r:
        (answer,) = await r.emit("hand", 1)
        assert await r.states(2) == ["succeeded"] * 2
        row = await r.row(answer.deliveries[0])
        page = (await r.hub.metrics()).decode()
    assert "queue:topic took no record: the key has 2000 bytes" in (row.reason or "")
    assert 'triggerhub_destination_failures_total{function="work"} 1.0' in page
    assert [call.function for call in r.runtime.calls] == ["work", "take"]
