"""The source sqs within a hub, against a queue that gets into trouble."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from sources import sqs
from tests.aws_double import wire
from tests.aws_double.sqs import Queue, SqsDouble
from tests.hub.rig import Failure, Rig, function, rig, trigger
from triggerhub import awsconsumer, awsfault, awsreceipt
from triggerhub import testing as triggers
from triggerhub.model import Invocation, State
from triggerhub.settings import Batch, Idempotency, RetryPolicy
from triggerhub.store import Query
from triggerhub.testing import FakeContext

pytestmark = pytest.mark.usefixtures("keys")

GUARD = 30
QUICK = RetryPolicy(initial=0, max=0, jitter=False)
Handler = Callable[[Invocation], Awaitable[Any]]
QUEUE = awsconsumer.Queue(
    url="u", arn="arn:aws:sqs:us-east-1:000000000000:orders", fifo=False, visibility=30, redrives=True
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rest for milliseconds where the real one rests for seconds."""
    monkeypatch.setattr(awsfault, "RESTS", RetryPolicy(initial=20, max=50))


class Seen:
    """What a handler was given, and what it is to make of it."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.failing: dict[str, int] = defaultdict(int)
        """How often a body still fails."""
        self.partly = False
        self.hold: anyio.Event | None = None
        self.running = self.most = 0

    async def __call__(self, invocation: Invocation) -> Any:
        records = json.loads(invocation.payload)["Records"]
        self.calls.append(records)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await anyio.sleep(0)
        finally:
            self.running -= 1
        failed = []
        for one in records:
            if self.failing[one["body"]] > 0:
                self.failing[one["body"]] -= 1
                failed.append({"itemIdentifier": one["messageId"]})
                if self.partly and "MessageGroupId" in one["attributes"]:
                    failed = [{"itemIdentifier": rest["messageId"]} for rest in records[records.index(one) :]]
                    break
        if failed and not self.partly:
            raise Failure("told to")
        return {"batchItemFailures": failed}

    @property
    def bodies(self) -> list[str]:
        return [one["body"] for call in self.calls for one in call]


@asynccontextmanager
async def polled(
    folder: Path,
    seen: Handler,
    double: SqsDouble | None = None,
    *,
    queue: str = "orders",
    ack: str = "handled",
    concurrency: int = 4,
    options: dict[str, Any] | None = None,
    made: dict[str, str] | None = None,
    drain: int = 30_000,
    more: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncGenerator[tuple[SqsDouble, Rig]]:
    """A hub that takes from a queue of the double."""
    double = double or SqsDouble()
    double.patience = 0.05
    if queue not in double.queues:
        double.do_CreateQueue(queue, made)
    async with double.serve() as address:
        chosen = sqs.Options(**{"queue": queue, "endpoint_url": address, "wait": "1s", **(options or {})})
        retry = {"work": settings.pop("retry", QUICK)}
        settings = {"batch": Batch(size=10), "retry": retry, **settings}
        one = trigger("orders", type="sqs", options=chosen, ack=ack, **settings)
        work = function("work", concurrency=concurrency, **(more or {}))
        sources = {"sqs": sqs}
        async with rig(folder, {"work": seen}, functions=[work], triggers=[one], more=sources, drain=drain) as hub:
            yield double, hub


def send(double: SqsDouble, *bodies: str, queue: str = "orders", group: str | None = None, **more: Any) -> None:
    for number, body in enumerate(bodies):
        fifo = {"MessageGroupId": group, "MessageDeduplicationId": f"{body}-{number}"} if group else {}
        double.do_SendMessage(queue, MessageBody=body, **fifo, **more)


async def until(condition: Callable[[], Any], what: str) -> None:
    with anyio.move_on_after(GUARD):
        while not condition():
            await anyio.sleep(0.005)
        return
    raise AssertionError(f"never: {what}")


async def emptied(double: SqsDouble, queue: str = "orders") -> None:
    await until(lambda: not double.queues[queue].messages, f"{queue} is empty: {double.queues[queue].messages}")


async def states(hub: Rig) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for one in await hub.store.page(Query(limit=10_000)):
        counts[one.state.value] += 1
    return dict(counts)


# what a handler gets


async def test_a_message_is_handled_and_then_deleted(tmp_path: Path) -> None:
    seen = Seen()
    async with polled(tmp_path, seen) as (double, hub):
        attributes = {
            "kind": {"DataType": "String", "StringValue": "new"},
            "seal": {"DataType": "Binary", "BinaryValue": "AAH/"},
        }
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
        seen.hold = anyio.Event()
        send(double, '{"total": 7}', MessageAttributes=attributes, MessageSystemAttributes=trace)
        await until(lambda: seen.calls, "the handler is called")
        assert double.queues["orders"].messages, "it is there until the function is done with it"
        seen.hold.set()
        await emptied(double)
        ((record,),) = seen.calls
        assert list(record) == [
            "messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody", "eventSource",
            "eventSourceARN", "awsRegion",
        ]  # fmt: skip
        assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:orders"
        assert record["attributes"]["ApproximateReceiveCount"] == "1"
        assert record["attributes"]["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
        assert record["messageAttributes"] == {
            "kind": {"stringValue": "new", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "seal": {"binaryValue": "AAH/", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        }
        assert hub.runtime.calls[0].trace == trace["AWSTraceHeader"]["StringValue"]
        (row,) = await hub.store.page(Query())
        assert (row.state, row.dedup_key) == (State.SUCCEEDED, record["messageId"])


async def test_a_stored_message_is_deleted_before_it_runs(tmp_path: Path) -> None:
    seen = Seen()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, ack="stored") as (double, hub):
        send(double, *"abc")
        await emptied(double)
        seen.hold.set()
        await hub.states(3)
        assert sorted(seen.bodies) == ["a", "b", "c"]


async def test_what_the_filter_refuses_is_deleted_and_not_run(tmp_path: Path) -> None:
    seen = Seen()
    pattern = {"body": {"total": [{"numeric": [">", 0]}]}}
    for count, ack in enumerate(("handled", "stored"), 1):
        async with polled(tmp_path, seen, ack=ack, filter=pattern) as (double, _):
            send(double, '{"total": 1}', '{"total": 0}', "no JSON", '{"other": 1}')
            await emptied(double)
            await until(lambda: len(seen.bodies) == count, "one is wanted")  # noqa: B023
    assert seen.bodies == ['{"total": 1}'] * 2


@pytest.mark.parametrize("named", ["arn:aws:sqs:us-east-1:000000000000:orders", "URL"])
async def test_a_queue_is_found_by_arn_and_by_url(tmp_path: Path, named: str) -> None:
    seen, double = Seen(), SqsDouble()
    double.patience = 0.05
    double.do_CreateQueue("orders")
    async with double.serve() as address:
        told = (
            {"queue": f"{address}/000000000000/orders"} if named == "URL" else {"queue": named, "endpoint_url": address}
        )
        one = trigger("orders", type="sqs", options=sqs.Options(**told), ack="handled")
        async with rig(tmp_path, {"work": seen}, triggers=[one], more={"sqs": sqs}):
            send(double, "a")
            await emptied(double)
    assert seen.bodies == ["a"]


# failures


async def test_a_failed_message_comes_again_as_the_same_delivery(tmp_path: Path) -> None:
    seen = Seen()
    seen.failing["a"] = 2
    async with polled(tmp_path, seen, batch=Batch()) as (double, hub):
        send(double, "a", "b")
        await emptied(double)
        rows = {one.state for one in await hub.store.page(Query())}
        assert rows == {State.SUCCEEDED}
        assert sorted(one.attempts for one in await hub.store.page(Query())) == [1, 3]
    assert sorted(seen.bodies) == ["a", "a", "a", "b"]


async def test_only_the_named_ones_come_again(tmp_path: Path) -> None:
    seen = Seen()
    seen.partly = True
    seen.failing["b"] = 1
    double = SqsDouble()
    double.do_CreateQueue("orders")
    send(double, *"abc")
    async with polled(tmp_path, seen, double, batch=Batch(size=10, partial_failures=True)):
        await emptied(double)
    assert [one["body"] for one in seen.calls[0]] == ["a", "b", "c"]
    assert sorted(seen.bodies) == ["a", "b", "b", "c"]


async def test_the_longer_it_fails_the_longer_it_is_hidden(tmp_path: Path) -> None:
    seen = Seen()
    seen.failing["a"] = 99
    policy = RetryPolicy(initial=1000, max=60_000, jitter=False)
    async with polled(tmp_path, seen, retry=policy) as (double, _):
        send(double, "a")
        for hidden in (1, 2, 4, 8):
            await until(lambda: double.moves, "it is hidden")
            assert double.moves.pop() == ("a", hidden)
            (message,) = double.queues["orders"].messages.values()
            message.visible = 0
            double.queues["orders"].arrived.set()


async def test_the_queue_itself_gives_up(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    seen.failing["a"] = 99
    double.do_CreateQueue("lost")
    policy = json.dumps({"maxReceiveCount": 3, "deadLetterTargetArn": double.queues["lost"].arn})
    async with polled(tmp_path, seen, double, made={"RedrivePolicy": policy}, batch=Batch()) as (_, hub):
        send(double, "a", "b")
        await emptied(double)
        assert [one.body for one in double.queues["lost"].messages.values()] == ["a"]
        assert await states(hub) == {"succeeded": 1, "cancelled": 1}
    assert seen.bodies.count("a") == 3


async def test_a_message_that_the_triggers_own_key_cannot_take_is_left_to_the_queue(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("lost")
    policy = json.dumps({"maxReceiveCount": 2, "deadLetterTargetArn": double.queues["lost"].arn})
    for ack in ("handled", "stored"):
        async with polled(tmp_path, seen, double, ack=ack, made={"RedrivePolicy": policy}, key="$.body"):
            send(double, "a" * 2000, "b" + ack)
            await emptied(double)
            await until(lambda ack=ack: "b" + ack in seen.bodies, "the other is taken")
    assert len(double.queues["lost"].messages) == 2
    assert seen.bodies == ["bhandled", "bstored"]


async def test_a_message_that_cannot_be_read_for_an_error_of_the_source_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sqs.events_of

    def stumbling(message: Mapping[str, Any], queue: awsconsumer.Queue) -> Any:
        return read(message, queue) if message["Body"] != "bad" else {}[message["Body"]]

    monkeypatch.setattr(sqs, "events_of", stumbling)
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("orders")
    send(double, "bad", "good")
    with structlog.testing.capture_logs() as lines:
        async with polled(tmp_path, seen, double) as (_, hub):
            await until(lambda: seen.bodies and len(double.queues["orders"].messages) == 1, "the good one is handled")
            row, *_ = await hub.hub.triggers()
    assert (seen.bodies, row["state"]) == (["good"], "running")
    assert [one["why"] for one in lines if "cannot be taken" in one["event"]] == [
        "it could not be read: KeyError('bad')"
    ]


async def test_many_messages_that_cannot_be_taken_are_one_line(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("orders")
    send(double, *("a" * 2000 for _ in range(5)))
    with structlog.testing.capture_logs() as lines:
        async with polled(tmp_path, seen, double, key="$.body"):
            await until(
                lambda: all(one.received > 2 for one in double.queues["orders"].messages.values()), "they come again"
            )
    assert [one["event"] for one in lines].count("a message cannot be taken") == 1


# order


async def test_a_group_keeps_its_order_and_fails_alone(tmp_path: Path) -> None:
    seen = Seen()
    seen.failing["a2"] = 3
    batch = Batch(size=3)
    async with polled(tmp_path, seen, queue="orders.fifo", batch=batch, options={"visibility": "30s"}) as (double, _):
        for number in range(1, 5):
            for group in "abc":
                send(double, f"{group}{number}", queue="orders.fifo", group=group)
        await emptied(double, "orders.fifo")
    for call in seen.calls:
        assert len({one["attributes"]["MessageGroupId"] for one in call}) == 1
    for group in "bc":
        own = [body for body in seen.bodies if body.startswith(group)]
        assert own == [f"{group}{number}" for number in range(1, 5)]
    done = [body for body in double.deleted if body.startswith("a")]
    assert done == ["a1", "a2", "a3", "a4"]
    assert seen.bodies.index("c4") < len(seen.bodies) - 1, "others do not wait for the failing group"


async def test_groups_run_side_by_side(tmp_path: Path) -> None:
    seen = Seen()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, queue="orders.fifo", concurrency=3) as (double, _):
        for group in "abc":
            send(double, f"{group}1", f"{group}2", queue="orders.fifo", group=group)
        await until(lambda: seen.running == 3, "three groups run")
        assert sorted(call[0]["body"] for call in seen.calls) == ["a1", "b1", "c1"]
        seen.hold.set()
        await emptied(double, "orders.fifo")
    assert [body for body in seen.bodies if body[0] == "a"] == ["a1", "a2"]


async def test_a_group_is_not_overtaken_where_it_is_seen_again_while_it_runs(tmp_path: Path) -> None:
    seen, name = Seen(), "orders.fifo"
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, queue=name, options={"visibility": "1s"}) as (double, _):
        double.trouble("deny", 1000, "ChangeMessageVisibilityBatch")
        send(double, "a1", queue=name, group="a")
        await until(lambda: seen.running == 1, "the first runs")
        send(double, "a2", queue=name, group="a")
        queue = double.queues[name]
        await until(lambda: any(one.received > 1 for one in queue.messages.values()), "it is seen again")
        for _ in range(20):
            await anyio.sleep(0.01)
            assert seen.bodies == ["a1"]
        double.faults.clear()
        seen.hold.set()
        await emptied(double, name)
    assert seen.bodies == ["a1", "a2"]


class Careless(SqsDouble):
    """Gives a group's messages while others of it are under way, as moto does to requests that ask at once."""

    def _take(self, queue: Queue, limit: int, visibility: int) -> list[dict[str, Any]]:
        now = time.monotonic()
        free = [one for one in queue.messages.values() if one.visible <= now][:limit]
        return [self._given(queue, one, now + visibility) for one in free]


@pytest.mark.parametrize("failing", [0, 1])
async def test_what_is_given_of_a_group_that_is_under_way_waits_for_it(tmp_path: Path, failing: int) -> None:
    seen, double, name = Seen(), Careless(), "orders.fifo"
    seen.hold, seen.failing["a1"] = anyio.Event(), failing
    async with polled(tmp_path, seen, double, queue=name, options={"visibility": "10m"}) as (_, hub):
        send(double, "a1", queue=name, group="a")
        await until(lambda: seen.running == 1, "the first runs")
        send(double, "a2", queue=name, group="a")
        await until(lambda: all(one.received for one in double.queues[name].messages.values()), "the second is given")
        assert seen.bodies == ["a1"]
        seen.hold.set()
        await emptied(double, name)
        assert await states(hub) == {"succeeded": 2}
    assert [body for body in seen.bodies if body == "a1"] == ["a1"] * (1 + failing)
    assert seen.bodies[0] == "a1"
    assert seen.bodies[-1] == "a2"
    assert double.deleted == ["a1", "a2"]


async def test_a_receive_of_a_group_that_nobody_answered_is_repeated(tmp_path: Path) -> None:
    seen, double, name = Seen(), SqsDouble(), "orders.fifo"
    double.do_CreateQueue(name)
    send(double, "a1", "a2", queue=name, group="a")
    # More often than the client itself asks again.
    double.trouble("drop", 8, "ReceiveMessage")
    async with polled(tmp_path, seen, double, queue=name, options={"visibility": "10m"}):
        await emptied(double, name)
    assert seen.bodies == ["a1", "a2"]


async def test_a_stored_group_keeps_its_order_through_retries(tmp_path: Path) -> None:
    seen = Seen()
    seen.failing["a1"] = 1
    async with polled(tmp_path, seen, queue="orders.fifo", ack="stored", batch=Batch()) as (double, hub):
        send(double, "a1", "a2", "a3", queue="orders.fifo", group="a")
        await emptied(double, "orders.fifo")
        await hub.states(3)
    assert seen.bodies == ["a1", "a1", "a2", "a3"]


# batches


async def test_a_window_gathers_more_than_a_request_gives(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("orders")
    send(double, *map(str, range(25)))
    async with polled(tmp_path, seen, double, batch=Batch(size=25, window=20_000)):
        await emptied(double)
    assert [len(call) for call in seen.calls] == [25]


async def test_a_batch_is_split_at_what_a_call_can_carry(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("orders")
    send(double, *[letter * 900_000 for letter in "abcdefgh"])
    async with polled(tmp_path, seen, double):
        await emptied(double)
    assert sorted(body[0] for body in seen.bodies) == list("abcdefgh")
    assert [len(call) for call in seen.calls] == [6, 2]


# how much at once


async def test_a_message_over_what_a_call_carries_is_called_alone(tmp_path: Path) -> None:
    seen = Seen()
    large = "\x01" * (1024 * 1024)
    async with polled(tmp_path, seen, concurrency=1) as (double, _):
        send(double, "a", large, "b")
        await emptied(double)
    assert [large] in [[one["body"] for one in call] for call in seen.calls]
    assert sorted(map(len, seen.bodies)) == [1, 1, len(large)]


async def test_it_asks_only_while_a_place_is_free(tmp_path: Path) -> None:
    seen = Seen()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, concurrency=2, batch=Batch()) as (double, _):
        send(double, *map(str, range(20)))
        await until(lambda: seen.running == 2, "both places are taken")
        for _ in range(20):
            await anyio.sleep(0.01)
        received = [one for one in double.queues["orders"].messages.values() if one.received]
        assert len(received) == 2, "what cannot run now is left for others"
        seen.hold.set()
        await emptied(double)
    assert (seen.most, len(seen.bodies)) == (2, 20)


async def test_it_keeps_to_the_triggers_own_maximum(tmp_path: Path) -> None:
    seen = Seen()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, concurrency=8, maximum_concurrency=3, batch=Batch()) as (double, _):
        send(double, *map(str, range(20)))
        await until(lambda: seen.running == 3, "all its places are taken")
        seen.hold.set()
        await emptied(double)
    assert seen.most == 3


@pytest.mark.parametrize("bound", ["batches", "bytes"])
async def test_what_is_being_written_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    seen, most = Seen(), 12
    monkeypatch.setattr(awsconsumer, "CLOSING", most if bound == "batches" else 10_000)
    async with polled(tmp_path, seen, concurrency=2, batch=Batch()) as (double, hub):
        written, record = anyio.Event(), hub.store.record

        async def held(*what: Any, **more: Any) -> Any:
            await written.wait()
            return await record(*what, **more)

        hub.store.record = held  # type: ignore[method-assign]
        double.do_SendMessage("orders", MessageBody="m00")
        size = len(sqs.events_of(double._take(double.queues["orders"], 1, 0)[0], QUEUE)[0].data)
        monkeypatch.setattr(awsconsumer, "CLOSING_BYTES", size * most if bound == "bytes" else 10**9)
        send(double, *(f"m{number:02}" for number in range(1, 60)))
        await until(lambda: len(seen.calls) >= most, "others are run while some are written")
        await anyio.sleep(0.1)
        assert len(seen.calls) <= most + 2, "no more are run than can be written"
        assert len(double.queues["orders"].messages) == 60
        written.set()
        await emptied(double)
        assert sorted(seen.bodies) == [f"m{number:02}" for number in range(60)]


async def test_one_place_is_enough(tmp_path: Path) -> None:
    seen = Seen()
    async with polled(tmp_path, seen, concurrency=1) as (double, _):
        send(double, *(f"m{number}" for number in range(50)))
        await emptied(double)
        assert seen.most == 1


async def test_a_long_handler_keeps_its_messages_hidden(tmp_path: Path) -> None:
    seen = Seen()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, options={"visibility": "1s"}) as (double, _):
        send(double, "a")
        await until(lambda: len(double.moves) >= 4, "its time in hiding is renewed")
        assert {seconds for _, seconds in double.moves} == {1}
        seen.hold.set()
        await emptied(double)
    assert seen.bodies == ["a"]


class Stuck(SqsDouble):
    """Lets requests of one operation wait: the *first* ones, until they are let go."""

    def __init__(self, operation: str, first: int) -> None:
        super().__init__()
        self.operation, self.first, self.go = operation, first, anyio.Event()

    async def _answer(self, request: wire.Request) -> wire.Answer:
        if request.headers.get("x-amz-target", "").endswith(f".{self.operation}") and self.first:
            self.first -= 1
            await self.go.wait()
        return await super()._answer(request)


@pytest.mark.parametrize("first", [1, 2])
async def test_a_large_batch_stays_hidden_whatever_becomes_of_a_request(tmp_path: Path, first: int) -> None:
    seen, double = Seen(), Stuck("ChangeMessageVisibilityBatch", first)
    seen.hold = anyio.Event()
    bodies = {f"m{number}" for number in range(25)}
    batch = Batch(size=25, window=20_000)
    async with polled(tmp_path, seen, double, batch=batch, options={"visibility": "1s"}):
        send(double, *sorted(bodies))
        await until(lambda: seen.calls, "the function is called")
        await until(
            lambda: {body for body, _ in double.moves} == bodies, "all are renewed, those of that request later"
        )
        double.go.set()
        seen.hold.set()
        await emptied(double)


async def test_what_is_done_stays_hidden_until_it_is_deleted(tmp_path: Path) -> None:
    seen, double = Seen(), Stuck("DeleteMessageBatch", 1)
    async with polled(tmp_path, seen, double, options={"visibility": "1s"}):
        send(double, "a")
        await until(lambda: len(double.moves) >= 4, "its time in hiding is renewed")
        double.go.set()
        await emptied(double)
    assert seen.bodies == ["a"]


async def test_a_large_batch_is_deleted_in_several_requests_at_once(tmp_path: Path) -> None:
    seen, double = Seen(), Stuck("DeleteMessageBatch", 3)
    async with polled(tmp_path, seen, double, batch=Batch(size=25, window=20_000)):
        send(double, *map(str, range(25)))
        await until(lambda: not double.first, "all are asked for before one is answered")
        double.go.set()
        await emptied(double)


# trouble


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("throttle", "ReceiveMessage"),
        ("fail", "ReceiveMessage"),
        ("drop", "ReceiveMessage"),
        ("refuse", "ReceiveMessage"),
        ("fail", "DeleteMessageBatch"),
        ("drop", "DeleteMessageBatch"),
        ("refuse", "ChangeMessageVisibilityBatch"),
    ],
)
async def test_no_trouble_loses_a_message(tmp_path: Path, kind: str, operation: str) -> None:
    seen, double = Seen(), SqsDouble()
    seen.failing["3"] = 1
    double.do_CreateQueue("orders")
    send(double, *map(str, range(8)))
    double.trouble(kind, 5, operation)
    async with polled(tmp_path, seen, double, batch=Batch(), options={"visibility": "1s"}) as (_, hub):
        await emptied(double)
        assert await states(hub) == {"succeeded": 8}
    assert {body: seen.bodies.count(body) for body in "01234567"} == {**dict.fromkeys("01234567", 1), "3": 2}


class Odd(SqsDouble):
    """Answers a receive with something else, once."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: bytes | None = None

    async def _answer(self, request: wire.Request) -> wire.Answer:
        if self.odd is not None and request.headers.get("x-amz-target", "").endswith(".ReceiveMessage"):
            odd, self.odd = self.odd, None
            return wire.Answer(odd)
        return await super()._answer(request)


async def test_an_answer_that_is_none_cuts_no_call(tmp_path: Path) -> None:
    seen, double = Seen(), Odd()
    seen.hold = anyio.Event()
    async with polled(tmp_path, seen, double, batch=Batch()):
        send(double, "a")
        await until(lambda: seen.running == 1, "it runs")
        double.odd = b'{"Messages": [{}]}'
        await until(lambda: double.odd is None, "it is answered")
        send(double, "b")
        await until(lambda: seen.running == 2, "it asks again, and the first still runs")
        seen.hold.set()
        await emptied(double)
    assert seen.bodies == ["a", "b"]


async def test_a_message_given_twice_runs_once(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue("orders")
    double.duplicate = 10
    send(double, *map(str, range(10)))
    async with polled(tmp_path, seen, double, batch=Batch()):
        await emptied(double)
    assert sorted(seen.bodies) == sorted(map(str, range(10)))


async def test_an_outage_is_told_once_and_ends_by_itself(tmp_path: Path) -> None:
    seen = Seen()
    async with polled(tmp_path, seen, batch=Batch(), options={"visibility": "1s"}) as (double, hub):
        send(double, *map(str, range(10)))
        await emptied(double)
        supervised = hub.hub._wiring.sources["orders"]
        double.down = True
        send(double, *map(str, range(10, 20)))
        await until(lambda: supervised.why, "it is degraded")
        why = supervised.why
        assert why is not None
        assert why.startswith("sqs:ReceiveMessage: no answer")
        assert "from http://127.0.0.1:" in why
        for _ in range(30):
            await anyio.sleep(0.01)
            assert supervised.why == why
        double.down = False
        await emptied(double)
        assert supervised.why is None
        assert await states(hub) == {"succeeded": 20}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("expire", "the credentials are not accepted (ExpiredToken)"),
        ("deny", "the permission sqs:receivemessage on arn:aws:sqs:us-east-1:000000000000:orders is missing"),
    ],
)
async def test_what_credentials_lack_is_said_and_waited_for(tmp_path: Path, kind: str, says: str) -> None:
    seen = Seen()
    async with polled(tmp_path, seen) as (double, hub):
        supervised = hub.hub._wiring.sources["orders"]
        await until(lambda: double.calls["ReceiveMessage"], "it asks")
        double.trouble(kind, 3, "ReceiveMessage")
        await until(lambda: supervised.why, "it is degraded")
        assert says in (supervised.why or "")
        send(double, "a")
        await emptied(double)
        await until(lambda: supervised.why is None, "it is well again")


async def test_a_queue_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    double.patience = 0.05
    async with double.serve() as address:
        chosen = sqs.Options(queue="later", endpoint_url=address, wait="1s")
        one = trigger("orders", type="sqs", options=chosen, ack="handled")
        async with rig(tmp_path, {"work": seen}, triggers=[one], more={"sqs": sqs}) as hub:
            supervised = hub.hub._wiring.sources["orders"]
            await until(lambda: supervised.why, "it is degraded")
            assert (supervised.why or "").startswith("sqs:GetQueueUrl: there is no such resource")
            double.do_CreateQueue("later")
            send(double, "a", queue="later")
            await emptied(double, "later")
    assert seen.bodies == ["a"]


# stopping


async def test_a_stop_lets_what_was_received_end_and_be_deleted(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    seen.hold = anyio.Event()

    async def let_go(hub: Rig, held: anyio.Event) -> None:
        await until(lambda: hub.hub.phase == "stopping", "it stops")
        held.set()

    with anyio.fail_after(GUARD):
        async with (
            anyio.create_task_group() as tasks,
            polled(tmp_path, seen, double, concurrency=1, batch=Batch()) as (_, hub),
        ):
            send(double, "a", "b")
            await until(lambda: seen.running == 1, "one runs")
            tasks.start_soon(let_go, hub, seen.hold)
    assert double.deleted == ["a"]
    (left,) = double.queues["orders"].messages.values()
    assert (left.body, left.received) == ("b", 0)


async def test_what_the_drain_cuts_is_given_back_at_once(tmp_path: Path) -> None:
    seen, double = Seen(), SqsDouble()
    seen.hold = anyio.Event()
    with anyio.fail_after(GUARD):
        async with polled(tmp_path, seen, double, drain=100, batch=Batch()):
            send(double, "a")
            await until(lambda: seen.running == 1, "it runs")
    assert double.moves[-1] == ("a", 0)
    async with polled(tmp_path, after := Seen(), double):
        await emptied(double)
    assert after.bodies == ["a"]


async def test_a_paused_function_takes_nothing(tmp_path: Path) -> None:
    seen = Seen()
    async with polled(tmp_path, seen) as (double, hub):
        await until(lambda: double.calls["ReceiveMessage"], "it asks")
        await hub.hub.pause("function", "work")
        send(double, "a")
        for _ in range(20):
            await anyio.sleep(0.01)
        assert seen.calls == []
        await hub.hub.resume("function", "work")
        await emptied(double)
    assert [(one["body"], one["attributes"]["ApproximateReceiveCount"]) for one in seen.calls[0]] == [("a", "1")]


def test_constants_are_sqs_own() -> None:
    assert (awsreceipt.REQUEST, awsreceipt.LONGEST) == (10, 43_200)


@pytest.mark.parametrize("which", ["key", "idempotency"])
async def test_what_another_call_has_is_kept_and_not_received_again(tmp_path: Path, which: str) -> None:
    seen, path = Seen(), "$.body.order"
    seen.hold = anyio.Event()
    key = {"key": path} if which == "key" else {"more": {"idempotency": Idempotency(key=path)}}
    async with polled(tmp_path, seen, batch=Batch(), options={"visibility": "1s"}, **key) as (double, hub):
        first, second = '{"order": 1, "n": 1}', '{"order": 1, "n": 2}'
        send(double, first)
        await until(lambda: seen.running == 1, "one runs")
        send(double, second)
        await until(lambda: double.moves.count((second, 1)) >= 3, "the other is kept hidden")
        asked = double.calls["ReceiveMessage"]
        await until(lambda: double.calls["ReceiveMessage"] > asked + 5, "it goes on asking")
        assert [one.received for one in double.queues["orders"].messages.values()] == [1, 1]
        seen.hold.set()
        await emptied(double)
        assert await states(hub) == {"succeeded": 1 if which == "key" else 2}
    assert len(seen.bodies) == 1


async def test_what_waits_for_a_key_does_not_overtake_what_failed_before_it(tmp_path: Path) -> None:
    double, hold, runs, name = SqsDouble(), anyio.Event(), list[str](), "orders.fifo"
    double.do_CreateQueue(name)

    async def work(invocation: Invocation) -> Any:
        records = json.loads(invocation.payload)["Records"]
        runs.extend(one["attributes"]["MessageGroupId"] for one in records)
        if runs[-1] == "holder":
            await hold.wait()
        failed = [one["messageId"] for one in records if runs == ["holder", "g"]]
        return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}

    held, ahead, behind = '{"order": 1, "n": 1}', '{"order": 2}', '{"order": 1, "n": 2}'
    batch, key = Batch(size=10, partial_failures=True), {"idempotency": Idempotency(key="$.body.order")}
    async with polled(tmp_path, work, double, queue=name, batch=batch, more=key):
        send(double, held, queue=name, group="holder")
        await until(lambda: runs, "it has the key")
        send(double, ahead, behind, queue=name, group="g")
        await until(lambda: runs == ["holder", "g", "g"], "what failed is run again, before what waits for the key")
        hold.set()
        await emptied(double, name)
    assert double.deleted.index(ahead) < double.deleted.index(behind)


async def test_a_probe_needs_no_sts_and_names_a_permission(tmp_path: Path) -> None:
    double = SqsDouble()
    double.do_CreateQueue("orders")
    async with double.serve() as address:
        options = sqs.Options(queue="orders", endpoint_url=address)
        ctx = FakeContext(triggers.trigger("t", options=options))
        told = await sqs.probe(ctx, options)
        assert told.startswith("arn:aws:sqs:us-east-1:000000000000:orders as somebody unknown (sts:GetCallerIdentity: ")
        double.trouble("deny", 1, "DeleteMessage")
        with pytest.raises(awsfault.AwsFault, match="the permission sqs:deletemessage on arn:aws:sqs:us-east-1"):
            await sqs.probe(ctx, options)


async def test_a_batch_that_fills_slowly_stays_hidden(tmp_path: Path) -> None:
    seen = Seen()
    batch = Batch(size=3, window=20_000)
    async with polled(tmp_path, seen, batch=batch, options={"visibility": "1s"}) as (double, _):
        send(double, "a")
        await until(lambda: len(double.moves) >= 4, "its time in hiding is renewed while others are waited for")
        send(double, "b", "c")
        await emptied(double)
        assert [one.received for one in double.queues["orders"].messages.values()] == []
    assert [len(call) for call in seen.calls] == [3]
    assert {one["attributes"]["ApproximateReceiveCount"] for one in seen.calls[0]} == {"1"}


@pytest.mark.parametrize("ack", ["handled", "stored"])
async def test_a_group_waits_behind_a_message_that_cannot_be_taken(tmp_path: Path, ack: str) -> None:
    seen, double, name = Seen(), SqsDouble(), "orders.fifo"
    double.do_CreateQueue(name)
    for group in "ab":
        send(double, f"{group}1", ("x" * 2000) if group == "a" else "b2", f"{group}3", queue=name, group=group)
    async with polled(tmp_path, seen, double, queue=name, ack=ack, key="$.body"):
        await until(lambda: len(seen.bodies) == 4, "all but it and what is behind it are handled")
        await until(lambda: max(one.received for one in double.queues[name].messages.values()) > 3, "it is tried")
        assert sorted(seen.bodies) == ["a1", "b1", "b2", "b3"]
        (stuck,) = (one.id for one in double.queues[name].messages.values() if len(one.body) == 2000)
        del double.queues[name].messages[stuck]
        await emptied(double, name)
        await until(lambda: "a3" in seen.bodies, "then it goes on")


@pytest.mark.parametrize("ack", ["handled", "stored"])
async def test_a_group_waits_behind_a_message_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ack: str
) -> None:
    read, bad, name = sqs.events_of, ["a2"], "orders.fifo"

    def stumbling(message: Mapping[str, Any], queue: awsconsumer.Queue) -> Any:
        return read(message, queue) if message["Body"] not in bad else {}[message["Body"]]

    monkeypatch.setattr(sqs, "events_of", stumbling)
    seen, double = Seen(), SqsDouble()
    double.do_CreateQueue(name)
    for body in ("a1", "a2", "a3", "b1", "b2"):
        send(double, body, queue=name, group=body[0])
    async with polled(tmp_path, seen, double, queue=name, ack=ack):
        await until(lambda: max(one.received for one in double.queues[name].messages.values()) > 3, "it is tried")
        await until(lambda: len(seen.bodies) == 3, "the others are handled")
        assert sorted(seen.bodies) == ["a1", "b1", "b2"]
        bad.clear()
        await until(lambda: len(seen.bodies) == 5, "then it goes on")
        await emptied(double, name)
    assert [body for body in seen.bodies if body[0] == "a"] == ["a1", "a2", "a3"]
