"""What becomes of an event, from the source to its end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import Failure, function, rig, trigger
from triggerhub.errors import BacklogFull, BadInput, NotFound
from triggerhub.model import Event, Invocation
from triggerhub.settings import Destination, Idempotency
from triggerhub.source import Accepted, Duplicate, Filtered
from triggerhub.store import Query
from triggerhub.stores.sqlite import open_store
from triggerhub.testing import FakeContext


async def echo(invocation: Invocation) -> Any:
    return json.loads(invocation.payload)


async def fail(invocation: Invocation) -> Any:
    raise Failure("no")


async def test_an_accepted_event_runs_and_succeeds(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}) as r:
        (answer,) = await r.emit("hand", {"n": 1})
        assert isinstance(answer, Accepted)
        assert await r.states(1) == ["succeeded"]
        detail = await r.hub.deliveries.get(answer.deliveries[0])
    assert detail.attempts[0].payload == b'{"n": 1}'
    assert detail.delivery.version == "work-1"
    assert [call.request_id for call in r.runtime.calls] == [answer.deliveries[0]]


async def test_one_event_is_owed_to_each_function(tmp_path: Path) -> None:
    async with rig(tmp_path, {"a": echo, "b": echo}, triggers=[trigger(functions=("a", "b"))]) as r:
        (answer,) = await r.emit("hand", {"n": 1})
        assert await r.states(2) == ["succeeded", "succeeded"]
    assert len(answer.deliveries) == 2
    assert sorted(call.function for call in r.runtime.calls) == ["a", "b"]


async def test_a_failure_is_retried_and_then_a_dead_letter_with_a_reason(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": fail}) as r:
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["dead"]
        detail = await r.hub.deliveries.get(answer.deliveries[0])
        assert (await r.store.stats()).drift == 0
    assert len(detail.attempts) == 3
    assert detail.delivery.reason is not None
    assert "3 of 3" in detail.delivery.reason
    assert detail.delivery.error is not None
    assert detail.delivery.error.type == "Failure"


async def test_a_crashed_worker_is_replaced_and_the_delivery_retried(tmp_path: Path) -> None:
    async def once(invocation: Invocation) -> Any:
        if invocation.attempt == 1:
            raise BrokenPipeError
        return "ok"

    async with rig(tmp_path, {"work": once}) as r:
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
    assert len(r.runtime.started) == 2


async def test_a_version_that_cannot_start_fails_its_deliveries(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}) as r:
        r.runtime.broken.add("work-1")
        (answer,) = await r.emit("hand", 1)
        assert await r.states(1) == ["dead"]
        detail = await r.hub.deliveries.get(answer.deliveries[0])
    assert detail.delivery.error is not None
    assert detail.delivery.error.type == "Runtime.ImportModuleError"


async def test_the_filter_and_the_key_decide_before_anything_is_stored(tmp_path: Path) -> None:
    picky = trigger(filter={"n": [{"numeric": [">", 0]}]}, key="$.n")
    async with rig(tmp_path, {"work": echo}, triggers=[picky]) as r:
        first, second, third = [(await r.emit("hand", {"n": n}))[0] for n in (0, 1, 1)]
        assert await r.states(1) == ["succeeded"]
    assert isinstance(first, Filtered)
    assert isinstance(second, Accepted)
    assert third == Duplicate(event=second.event, deliveries=second.deliveries)


async def test_a_key_over_one_kilobyte_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}, triggers=[trigger(key="$.n")]) as r:
        with pytest.raises(BadInput):
            await r.emit("hand", {"n": "x" * 2000})


async def test_a_full_backlog_refuses_who_will_not_wait(tmp_path: Path) -> None:
    release = anyio.Event()

    async def hold(invocation: Invocation) -> Any:
        await release.wait()

    async with rig(tmp_path, {"work": hold}, triggers=[trigger(backlog=2)]) as r:
        await r.emit("hand", 1, 2)
        with pytest.raises(BacklogFull):
            await r.emit("hand", 3)
        release.set()
        assert await r.states(2) == ["succeeded"] * 2
        await r.emit("hand", 3)
        assert await r.states(3) == ["succeeded"] * 3


async def test_never_more_calls_at_once_than_the_concurrency(tmp_path: Path) -> None:
    async def slow(invocation: Invocation) -> Any:
        await anyio.sleep(0.002)

    async with rig(tmp_path, {"work": slow}, functions=[function(concurrency=2)]) as r:
        await r.emit("hand", *range(30))
        assert await r.states(30) == ["succeeded"] * 30
    assert r.runtime.most == 2
    assert len(r.runtime.started) == 2


async def test_an_idempotency_key_runs_once_and_repeats_the_answer(tmp_path: Path) -> None:
    async def order(invocation: Invocation) -> Any:
        await anyio.sleep(0.01)
        return {"shipped": json.loads(invocation.payload)["id"]}

    functions = [function(idempotency=Idempotency(key="$.id"))]
    async with rig(tmp_path, {"work": order}, functions=functions) as r:
        await r.emit("hand", {"id": 7}, {"id": 7}, {"id": 8})
        assert await r.states(3) == ["succeeded"] * 3
        reasons = [row.reason for row in await r.store.page(Query())]
        answered = await r.hub.invoke("work", b'{"id": 7}')
    assert len(r.runtime.calls) == 2
    assert reasons.count("idempotent") == 1
    assert answered.outcome.payload == b'{"shipped": 7}'  # type: ignore[union-attr]


async def test_destinations_receive_the_record_of_success_and_of_failure(tmp_path: Path) -> None:
    got: list[Any] = []

    async def take(invocation: Invocation) -> Any:
        got.append(json.loads(invocation.payload))

    functions = [
        function("good", on_success=(Destination(kind="function", target="take"),)),
        function("bad", on_failure=(Destination(kind="queue", target="topic"),)),
        function("take"),
    ]
    triggers = [
        trigger("hand", functions=("good", "bad")),
        trigger("topic", type="queue", functions=("take",)),
    ]
    async with rig(tmp_path, {"good": echo, "bad": fail, "take": take}, functions=functions, triggers=triggers) as r:
        await r.emit("hand", {"n": 1})
        states = await r.states(4)
    assert sorted(states) == ["dead", "succeeded", "succeeded", "succeeded"]
    records = {one["requestContext"]["condition"]: one for one in (g.get("body", g) for g in got)}
    assert records["Success"]["responsePayload"] == {"n": 1}
    assert records["RetriesExhausted"]["requestContext"]["approximateInvokeCount"] == 3
    assert records["RetriesExhausted"]["requestPayload"] == {"n": 1}


async def test_a_file_destination_gets_one_line_per_outcome(tmp_path: Path) -> None:
    functions = [function(on_success=(Destination(kind="file", target="out/done.jsonl"),))]
    async with rig(tmp_path, {"work": echo}, functions=functions) as r:
        await r.emit("hand", {"n": 1}, {"n": 2})
        assert await r.states(4) == ["succeeded"] * 4
    lines = (tmp_path / "out" / "done.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["responsePayload"]["n"] for line in lines) == [1, 2]


async def test_a_chain_of_handlers_that_call_themselves_is_stopped(tmp_path: Path) -> None:
    functions = [
        function("a", on_success=(Destination(kind="function", target="b"),)),
        function("b", on_success=(Destination(kind="function", target="a"),)),
    ]

    async def silent(invocation: Invocation) -> Any:
        return None  # an echo would double the record with every hop

    handlers = {"a": silent, "b": silent}
    async with rig(tmp_path, handlers, functions=functions, triggers=[trigger(functions=("a",))]) as r:
        await r.emit("hand", 1)
        states = await r.states(18)
        (dead,) = [row for row in await r.store.page(Query()) if row.state == "dead"]
    assert states.count("succeeded") == 17
    assert "handlers' answers" in (dead.reason or "")


async def test_input_replaces_what_the_handler_receives(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}, triggers=[trigger(input=b'{"report":"daily"}')]) as r:
        await r.emit("hand", {"n": 1})
        await r.states(1)
    assert r.runtime.calls[0].payload == b'{"report":"daily"}'


async def test_a_delayed_send_waits_for_its_moment(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}) as r:
        answer = await r.hub.send("hand", b"1", delay=150)
        assert isinstance(answer, Accepted)
        detail = await r.hub.deliveries.get(answer.deliveries[0])
        assert detail.delivery.state == "queued"
        assert detail.delivery.due - detail.delivery.created >= 100
        assert await r.states(1) == ["succeeded"]


async def test_what_does_not_exist_is_named_with_what_does(tmp_path: Path) -> None:
    async with rig(tmp_path, {"work": echo}) as r:
        with pytest.raises(NotFound, match="no function 'wrok'") as caught:
            await r.hub.invoke("wrok", b"1")
        with pytest.raises(BadInput, match="Could not parse"):
            await r.hub.invoke("work", b"{")
        with pytest.raises(BadInput, match="Could not parse"):
            await r.hub.invoke("work", b"[" * 100_000)
    assert "work" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"data": "{}"}, "an event's data is bytes, got str"),
        ({"time": 1.5}, "an event's time is whole milliseconds since 1970, got '1.5'"),
        ({"time": 2**63}, "an event's time is whole milliseconds"),
        ({"due": "now"}, "an event's due is whole milliseconds since 1970, got 'now'"),
        ({"dedup_key": ["k"]}, "an event's dedup_key is a text, got list"),
    ],
)
async def test_a_source_that_gives_what_is_no_event_is_told_so(tmp_path: Path, wrong: Any, why: str) -> None:
    event = Event(**{"data": b"{}", "time": 0, **wrong})
    async with open_store(tmp_path / "data") as store, rig(tmp_path, {"work": echo}, store=store) as r:
        await r.emit("hand", 1)
        for ctx in (r.modules["hand"].contexts["hand"], FakeContext(trigger())):
            with pytest.raises(TypeError, match=re.escape(why)):
                await ctx.emit(event)
        assert await r.states(1) == ["succeeded"]
