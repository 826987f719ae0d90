"""Where outcomes go: each destination gets AWS's record, and one that fails is retried like any delivery."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.hub.rig import Failure, Rig, echoing, function, rig, trigger
from triggerhub import ids
from triggerhub.hub.outlet import append_line
from triggerhub.model import Event, Invocation
from triggerhub.settings import Batch, Destination, RetryPolicy, Secret, Trigger
from triggerhub.store import Intake, Lane, Owed, Query, Want
from triggerhub.stores.memory import MemoryStore

ONCE = RetryPolicy(attempts=1)


@dataclass
class Receiver:
    """A web server that answers as told."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path_qs)
        self.got.append((dict(request.headers), await request.json()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status // 100 == 3 else None)


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}/hook?t=1"
        yield receiver
    finally:
        await runner.cleanup()


def to(kind: Any, target: str) -> tuple[Destination, ...]:
    return (Destination(kind=kind, target=target),)


async def fail(invocation: Invocation) -> Any:
    raise Failure("no")


async def test_a_webhook_gets_the_record_with_a_key_against_repetition(tmp_path: Path) -> None:
    async with receiving() as receiver:
        functions = [function(on_success=to("webhook", receiver.url))]
        async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
            (answer,) = await r.emit("hand", {"n": 1}, trace="Root=1-2-3")
            assert await r.states(2) == ["succeeded"] * 2
            made = await r.store.page(Query(trigger="destination:work"))
    ((headers, record),) = receiver.got
    assert record["requestContext"] == {
        "requestId": answer.deliveries[0],
        "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:work:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert (record["version"], record["requestPayload"], record["responsePayload"]) == ("1.0", {"n": 1}, {"n": 1})
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == made[0].id
    assert headers["X-Amzn-Trace-Id"] == "Root=1-2-3"


async def test_a_secret_in_the_url_of_a_webhook_is_known_to_its_receiver_alone(tmp_path: Path) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500]
        base = receiver.url.removesuffix("/hook?t=1")
        shown = f"{base}/{{secret:HOOK}}?t={{secret:KEY}}"
        secrets = (("HOOK", Secret("T0/B0/hush")), ("KEY", Secret("k")))
        hook = Destination(kind="webhook", target=shown, secrets=secrets)
        async with rig(tmp_path, {"work": echoing}, functions=[function(on_success=(hook,))]) as r:
            quicken(r, f"webhook:{shown}")
            await r.emit("hand", 1)
            assert await r.states(2) == ["succeeded"] * 2
            (row,) = await r.store.page(Query(trigger="destination:work"))
            detail = await r.hub.deliveries.get(row.id)
    assert receiver.paths == ["/T0/B0/hush?t=k"] * 2
    assert row.function == f"webhook:{shown}"
    assert detail.attempts[0].error is not None
    assert detail.attempts[0].error.message == f"{shown} answered 500"
    assert "hush" not in f"{detail} {hook!r} {r.hub.project!r}"


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_a_webhook_that_refuses_is_tried_again(tmp_path: Path, status: int) -> None:
    async with receiving() as receiver:
        receiver.statuses = [status]
        functions = [function(on_success=to("webhook", receiver.url))]
        async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
            quicken(r, f"webhook:{receiver.url}")
            await r.emit("hand", 1)
            assert await r.states(2) == ["succeeded"] * 2
            (row,) = await r.store.page(Query(trigger="destination:work"))
            detail = await r.hub.deliveries.get(row.id)
    assert [attempt.outcome for attempt in detail.attempts] == ["raised", "returned"]
    assert f"answered {status}" in (detail.attempts[0].error.message if detail.attempts[0].error else "")
    assert receiver.got[0][0]["Idempotency-Key"] == receiver.got[1][0]["Idempotency-Key"]


async def test_a_webhook_that_is_not_there_becomes_a_dead_letter_of_its_own(tmp_path: Path) -> None:
    async with receiving() as receiver:
        url = receiver.url
    functions = [function(on_success=to("webhook", url))]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        quicken(r, f"webhook:{url}", attempts=2)
        await r.emit("hand", 1)
        assert sorted(await r.states(2)) == ["dead", "succeeded"]
        (row,) = await r.store.page(Query(trigger="destination:work"))
        assert (row.function, row.attempts) == (f"webhook:{url}", 2)
        assert row.error is not None
        assert row.error.type == "ClientConnectorError"


def quicken(r: Rig, name: str, attempts: int = 3) -> None:
    """Let a destination be tried again at once."""
    dispatcher = r.hub._wiring.dispatchers[name]
    function_, retry = dispatcher.function, RetryPolicy(attempts=attempts, initial=1, max=1)
    plans = {lane: replace(plan, retry=retry) for lane, plan in dispatcher._turns.plans.items()}
    dispatcher.configure(function_, plans)


@pytest.mark.parametrize(
    ("retry", "condition", "count"),
    [
        pytest.param(RetryPolicy(attempts=2, initial=1), "RetriesExhausted", 2, id="attempts"),
        pytest.param(RetryPolicy(attempts=9, initial=100, max_age=1, jitter=False), "EventAgeExceeded", 1, id="age"),
    ],
)
async def test_a_dead_letter_tells_why(tmp_path: Path, retry: RetryPolicy, condition: str, count: int) -> None:
    functions = [function(retry=retry, on_failure=to("function", "take")), function("take")]
    async with rig(tmp_path, {"work": fail, "take": echoing}, functions=functions) as r:
        await r.emit("hand", {"n": 1})
        assert sorted(await r.states(2)) == ["dead", "succeeded"]
    record = json.loads(r.runtime.calls[-1].payload)
    assert record["requestContext"]["condition"] == condition
    assert record["requestContext"]["approximateInvokeCount"] == count
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"] == {"errorType": "Failure"}


async def test_what_the_hub_keeps_dying_under_is_given_up_and_told(tmp_path: Path) -> None:
    functions, store = [function(on_failure=to("function", "take")), function("take")], MemoryStore()
    made = [
        Intake(event=Event(data=b"1", time=0, trigger="hand", id=ids.event_id(1, n, 1)), owed=(Owed(function="work"),))
        for n in range(2)
    ]
    await store.append(made, now=1)
    for _ in range(10):
        await store.reap()
        await store.claim([Want(lane=Lane("hand", "work"), limit=1)], now=1)
        store.reopen()
    async with rig(tmp_path, {"work": echoing, "take": echoing}, functions=functions, store=store) as r:
        assert await r.states(3) == ["dead", "succeeded", "succeeded"]
        row = await r.row(ids.delivery_id(made[0].event.id, 1))
        assert row.reason == "lost 10 times: the hub died whenever it ran"
        assert r.hub._depth["hand"] == 0
        page = (await r.hub.metrics()).decode()
    assert 'triggerhub_dead_letters_total{function="work"} 1.0' in page
    (record,) = [json.loads(call.payload) for call in r.runtime.calls if call.function == "take"]
    assert record["requestPayload"] == 1
    assert "responsePayload" not in record


async def test_a_triggers_on_failure_replaces_its_functions(tmp_path: Path) -> None:
    def fed(name: str, on_failure: tuple[Destination, ...] | None) -> Trigger:
        return trigger(name, functions=("work",), on_failure=on_failure)

    functions = [function(retry=ONCE, on_failure=to("function", "own")), function("own"), function("other")]
    triggers = [fed("plain", None), fed("told", to("function", "other")), fed("silent", ())]
    handlers = {"work": fail, "own": echoing, "other": echoing}
    async with rig(tmp_path, handlers, functions=functions, triggers=triggers) as r:
        for name in ("plain", "told", "silent"):
            await r.emit(name, name)
        await r.states(5)
    sent = {
        json.loads(call.payload)["requestPayload"]: call.function for call in r.runtime.calls if call.function != "work"
    }
    assert sent == {"plain": "own", "told": "other"}


async def test_each_record_of_a_batch_has_its_own_outcome_sent(tmp_path: Path) -> None:
    async def one_fails(invocation: Invocation) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": "2"}]}

    functions = [
        function(retry=ONCE, on_success=to("function", "good"), on_failure=to("function", "bad")),
        function("good"),
        function("bad"),
    ]
    triggers = [trigger(batch=Batch(size=3, window=60_000, partial_failures=True))]
    handlers = {"work": one_fails, "good": echoing, "bad": echoing}
    async with rig(tmp_path, handlers, functions=functions, triggers=triggers) as r:
        r.modules["hand"].identifier = str  # type: ignore[attr-defined]
        await r.reload(functions, triggers)
        await r.emit("hand", 1, 2, 3)
        await r.states(6)
    sent = sorted((call.function, json.loads(call.payload)["requestPayload"]) for call in r.runtime.calls[1:])
    assert sent == [("bad", 2), ("good", 1), ("good", 3)]


async def test_a_chain_that_doubles_its_record_ends_before_the_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.hub.outlet.RECORD_LIMIT", 10_000)
    async with rig(tmp_path, {"work": echoing}, functions=[function(on_success=to("function", "work"))]) as r:
        await r.emit("hand", "x" * 1000)
        states = await r.states()
        last = max(await r.store.page(Query()), key=lambda row: row.id)
        page = (await r.hub.metrics()).decode()
    assert set(states) == {"succeeded"}
    assert len(states) < 6
    assert "function:work took no record: it would have" in (last.reason or "")
    assert 'triggerhub_destination_failures_total{function="work"} 1.0' in page


async def test_an_asynchronous_invoke_has_destinations_and_a_waiting_caller_none(tmp_path: Path) -> None:
    functions = [function(on_success=to("function", "take")), function("take")]
    async with rig(tmp_path, {"work": echoing, "take": echoing}, functions=functions) as r:
        await r.hub.invoke("work", b"1")
        await r.hub.invoke_async("work", b"2")
        await r.states(2)
    assert [call.function for call in r.runtime.calls] == ["work", "work", "take"]


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    functions = [function(on_success=to("file", "out"))]
    async with rig(tmp_path, {"work": echoing}, functions=functions) as r:
        quicken(r, "file:out", attempts=500)
        await r.emit("hand", 1)
        await r.until(lambda: len(r.store.rows) == 2, "the record waits")
        (row,) = await r.store.page(Query(trigger="destination:work"))
        await r.until(lambda: r.store.rows[row.id].attempts, "it was tried")
        (tmp_path / "out").rmdir()
        assert await r.states(2) == ["succeeded"] * 2
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_a_line_after_half_a_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.jsonl"
    append_line(path, b'{"n":1}')
    with path.open("ab") as file:
        file.write(b'{"n":2,"torn')
    append_line(path, b'{\n"n":\r\n3}')
    assert path.read_bytes() == b'{"n":1}\n{"n":2,"torn\n{ "n":  3}\n'


async def test_a_handlers_raw_bytes_become_a_string_in_the_record(tmp_path: Path) -> None:
    functions = [function(on_success=to("function", "take")), function("take")]

    async def raw(invocation: Invocation) -> Any:
        return b"\xff not JSON"

    async with rig(tmp_path, {"work": raw, "take": echoing}, functions=functions) as r:
        await r.emit("hand", 1)
        await r.states(2)
    assert json.loads(r.runtime.calls[-1].payload)["responsePayload"] == "\ufffd not JSON"


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("arn", "triggerhub_destination_failures_total"), ("dead", "triggerhub_dead_letter_errors_total")],
)
async def test_what_aws_does_not_take_is_a_dead_letter_and_counted_as_aws_counts_it(
    tmp_path: Path, kind: Any, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        queue = "aws:sqs:eu-central-1:123456789012:dead"
        one = Destination(kind=kind, target=queue if kind == "arn" else f"arn:{queue}")
        async with rig(tmp_path, {"work": fail}, functions=[function(on_failure=(one,), retry=ONCE)]) as r:
            quicken(r, str(one), attempts=2)
            await r.emit("hand", 1)
            assert await r.states(2) == ["dead", "dead"]
            (row,) = await r.store.page(Query(trigger="destination:work"))
            assert (row.function, row.attempts) == (str(one), 2)
            assert row.error is not None
            assert "no answer" in row.error.message
            assert f'{metric}{{function="work"}} 1.0' in (await r.hub.metrics()).decode()


@contextmanager
def closed_port() -> Generator[int]:
    """A port that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
