"""Both sources of streams against a double that obeys: shards, faults, and what is handled."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import pytest

from sources import dynamodb, kinesis
from tests.aws_double.streams import Streams, serving
from tests.sources import streamrig
from tests.sources.streamrig import hurry, looked
from triggerhub.errors import BadInput
from triggerhub.model import Event, Interrupted
from triggerhub.settings import Batch
from triggerhub.source import Handled
from triggerhub.stream import keeper
from triggerhub.testing import FakeContext


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(params=[dynamodb, kinesis], ids=["dynamodb", "kinesis"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def double() -> AsyncGenerator[Streams]:
    async with serving(Streams()) as made:
        yield made


def Function(module: Any, double: Streams, start: str = "trim_horizon", **changes: Any) -> streamrig.Function:  # noqa: N802
    return streamrig.Function(module, double.name, double.url, start, **changes)


async def test_records_are_handled_in_order_and_the_position_is_kept(module: Any, double: Streams) -> None:
    for n in range(250):
        double.put(f"k{n % 5}", n)
    function = Function(module, double)
    async with function.running():
        await function.saw(250)
        await function.until(lambda: any('"after"' in value for value in function.stored.values()))
    assert function.seen == list(range(250))
    assert [len(one) for one in function.handled][:2] == [100, 100]
    double.put("k0", "later")
    anew = Function(module, double)
    anew.stored = function.stored
    async with anew.running():
        await anew.saw(1)
    assert anew.seen == ["later"]


async def test_children_wait_for_their_parents_through_a_split_and_a_merge(module: Any, double: Streams) -> None:
    (first,) = double.shards
    for n in range(30):
        double.put("k", n)
    one, other = double.split(first)
    for n in range(30, 60):
        double.put("k", n, shard=one)
        double.put("other", n, shard=other)
    function = Function(module, double)
    async with function.running():
        await function.saw(90)
        if module is kinesis:  # a table's shards have one parent
            merged = double.merge(one, other)
            double.put("k", 60, shard=merged)
            double.put("other", 60, shard=merged)
            await function.saw(92)
    assert function.order["k"] == list(range(61 if module is kinesis else 60))
    assert function.order["other"] == list(range(30, 61 if module is kinesis else 60))
    ended = [key for key, value in function.stored.items() if '"ended"' in value]
    assert len(ended) == (3 if module is kinesis else 1)


async def test_latest_begins_at_the_end_and_leaves_no_gap_when_the_hub_is_killed(module: Any, double: Streams) -> None:
    (closed,) = double.shards
    double.put("k", "long ago", arrived=1000)
    shard, _ = double.split(closed)
    double.put("k", "before", shard=shard, arrived=2000)
    function = Function(module, double, start="latest")
    async with function.running():
        await looked(lambda: function.has_begun and double.calls["GetRecords"] >= 2)
    assert function.seen == []
    double.put("k", "while it was away", shard=shard)
    anew = Function(module, double, start="latest")
    anew.stored = function.stored
    async with anew.running():
        await anew.saw(1)
    assert anew.seen == ["while it was away"]


async def test_a_moment_to_begin_at(double: Streams) -> None:
    double.put("k", "before", arrived=1_767_225_599)
    double.put("k", "after", arrived=1_767_225_601)
    function = Function(kinesis, double, start="2026-01-01T00:00:00Z")
    async with function.running():
        await function.saw(1)
    assert function.seen == ["after"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ExpiredIteratorException", 400),
        ("ProvisionedThroughputExceededException", 400),
        ("InternalFailure", 500),
        ("drop", 0),
    ],
)
async def test_what_fails_on_the_way_loses_nothing_and_repeats_nothing(
    module: Any, double: Streams, code: str, status: int
) -> None:
    for n in range(20):
        double.put("k", n)
    double.fail("GetRecords", code, status=status, times=2)
    function = Function(module, double)
    async with function.running():
        await function.saw(20)
        for n in range(20, 40):
            double.put("k", n)
            if n == 30:
                double.fail("GetRecords", code, status=status)
        await function.saw(40)
    assert function.seen == list(range(40))


async def test_records_that_are_given_twice_are_handled_once(module: Any, double: Streams) -> None:
    double.again = 3
    function = Function(module, double)
    async with function.running():
        for n in range(30):
            double.put("k", n)
            await function.saw(n)
        await function.saw(30)
    assert function.seen == list(range(30))


async def test_an_outage_is_told_once_and_borne(module: Any, double: Streams) -> None:
    double.put("k", 0)
    function = Function(module, double)
    async with function.running():
        await function.saw(1)
        double.down = True
        double.put("k", 1)
        await function.until(lambda: function.reasons)
        await anyio.sleep(0.3)
        assert len(function.reasons) == 1
        assert "no answer" in (function.reasons[0] or "")
        double.down = False
        await function.saw(2)
        await function.until(lambda: function.reasons[-1] is None)
    assert function.seen == [0, 1]
    assert len(function.reasons) == 2


async def test_what_outlived_the_retention_is_told_and_the_rest_is_handled(
    module: Any, double: Streams, capsys: pytest.CaptureFixture[str]
) -> None:
    (shard,) = double.shards
    double.put("k", 0)
    function = Function(module, double)
    async with function.running():
        await function.saw(1)
        await function.until(lambda: any('"after"' in value for value in function.stored.values()))
    for n in range(1, 6):
        double.put("k", n)
    double.trim(shard, 3)
    anew = Function(module, double)
    anew.stored = function.stored
    async with anew.running():
        await anew.saw(3)
    assert anew.seen == [3, 4, 5]
    if module is dynamodb:  # Kinesis does not say so
        assert "outlived the stream's retention" in capsys.readouterr().out


async def test_a_failing_batch_is_tried_again_in_its_place_and_then_given_up(module: Any, double: Streams) -> None:
    for n in range(3):
        double.put("k", n)

    def behave(bodies: list[Any]) -> None:
        if 0 in bodies:
            raise ValueError("no")

    function = Function(module, double, batch=Batch(size=2))
    function.behave = behave
    async with function.running():
        await function.saw(1)
    assert function.calls == [[0, 1]] * 3 + [[2]]
    assert [function.body(one) for one, _, _ in function.buried] == [0, 1]
    (why, told) = {(why, body) for _, why, body in function.buried}.pop()
    assert why == "failed 3 calls, and the attempts are spent"
    failure = json.loads(told or b"")
    assert failure["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert failure["requestContext"]["approximateInvokeCount"] == 3
    info = failure["DDBStreamBatchInfo" if module is dynamodb else "KinesisBatchInfo"]
    sequences = [module.identifier(json.loads(one.data)) for one, _, _ in function.buried]
    assert [info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"]] == [*sequences, 2]


async def test_a_poison_record_is_isolated_by_bisecting(module: Any, double: Streams) -> None:
    for n in range(100):
        double.put("k", n)

    def behave(bodies: list[Any]) -> None:
        if 37 in bodies:
            raise ValueError("no")

    function = Function(module, double, bisect=True)
    function.behave = behave
    async with function.running():
        await function.saw(99)
    assert function.seen == [n for n in range(100) if n != 37]
    assert sum(37 in one for one in function.calls) <= 7 + 3
    assert [function.body(one) for one, _, _ in function.buried] == [37]


async def test_a_partial_answer_goes_on_at_the_record_that_failed(module: Any, double: Streams) -> None:
    names = [double.put("k", n) for n in range(6)]
    failing = {2, 4}

    def behave(bodies: list[Any]) -> Any:
        for body in bodies:
            if body in failing:
                failing.discard(body)
                return {"batchItemFailures": [{"itemIdentifier": names[body]}]}
        return {"batchItemFailures": []}

    function = Function(module, double, batch=Batch(size=10, partial_failures=True))
    function.behave = behave
    async with function.running():
        await function.until(lambda: len(function.calls) >= 3)
    assert function.calls == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [4, 5]]
    assert function.buried == []


async def test_parallel_calls_keep_the_order_of_each_key(module: Any, double: Streams) -> None:
    for n in range(300):
        double.put(f"k{n % 7}", n)
    function = Function(module, double, parallel=5, batch=Batch(size=10))
    async with function.running():
        await function.saw(300)
    for key, bodies in function.order.items():
        assert bodies == [n for n in range(300) if f"k{n % 7}" == key]


async def test_filtered_records_are_passed_over_and_the_position_moves(module: Any, double: Streams) -> None:
    pattern = {"data": {"n": [7]}} if module is kinesis else {"dynamodb": {"Keys": {"id": {"S": ["k7"]}}}}
    last = [double.put(f"k{n}", {"n": n}) for n in range(20)][-1]
    function = Function(module, double, filter=pattern)
    async with function.running():
        await function.saw(1)
        await function.until(lambda: any(last in value for value in function.stored.values()))
    assert function.seen == [{"n": 7}]
    assert len(function.handled) == 1


@pytest.mark.parametrize("ended", [True, False], ids=["the shard ends", "nothing more comes"])
async def test_a_tumbling_window_hands_its_state_on_and_is_closed(module: Any, double: Streams, ended: bool) -> None:
    for n, second in enumerate((1, 2, 61, 62, 200)):
        double.put("k", n, arrived=1_767_225_600 + second)
    if ended:
        double.close(*double.shards)
    function = Function(module, double, tumbling="1m", batch=Batch(size=1))
    total = 0

    def behave(bodies: list[Any]) -> Any:
        nonlocal total
        event = json.loads(function.payload or b"")
        total = event["state"].get("sum", 0) + sum(bodies)
        return {"state": {"sum": total}}

    answer = function.handle_answer

    def answered(events: Sequence[Event], payload: bytes | None) -> Handled:
        function.payload = payload
        return answer(events, payload)

    function.handle_answer = answered  # type: ignore[method-assign]
    function.behave = behave
    async with function.running():
        await function.until(lambda: len(function.payloads) == 8)
    events = [json.loads(one or b"") for one in function.payloads]
    assert [(len(one["Records"]), one["isFinalInvokeForWindow"], one["state"].get("sum")) for one in events] == [
        (1, False, None), (1, False, 0), (0, True, 1), (1, False, None), (1, False, 2), (0, True, 5), (1, False, None),
        (0, True, 4),
    ]  # fmt: skip
    assert events[0]["window"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"}
    assert events[0]["shardId"] == next(iter(double.shards))


async def test_records_past_their_age_are_dead_letters(module: Any, double: Streams) -> None:
    double.put("k", "old", arrived=1_767_225_600)
    double.put("k", "new")
    function = Function(module, double, max_age="1h")
    async with function.running():
        await function.saw(1)
    assert function.seen == ["new"]
    ((event, why, body),) = function.buried
    assert function.body(event) == "old"
    assert why == "older than the limit on its age"
    failure = json.loads(body or b"")
    assert failure["requestContext"]["condition"] == "RecordAgeExceeded"
    assert "responseContext" not in failure


async def test_calls_that_do_not_come_about_are_made_again(module: Any, double: Streams) -> None:
    double.put("k", 0)
    function = Function(module, double)
    function.behave = lambda bodies: Interrupted() if len(function.calls) < 3 else None
    async with function.running():
        await function.until(lambda: len(function.calls) == 3, within=15)
    assert function.buried == []


async def test_stored_at_once_each_key_is_ordered_by_the_queue(module: Any, double: Streams) -> None:
    (first,) = double.shards
    for n in range(20):
        double.put(f"k{n % 2}", n)
    one, _ = double.split(first)
    double.put("k0", 20, shard=one)
    double.fail("GetRecords", "ExpiredIteratorException")
    double.again = 2
    function = Function(module, double, ack="stored")
    async with function.running():
        await function.arrived(21)
        await function.until(lambda: sum('"ended"' in value for value in function.stored.values()) == 1)
    assert [function.body(one) for one in function.events] == list(range(21))
    assert len({one.ordering_key for one in function.events}) == 2
    assert len({one.dedup_key for one in function.events}) == 21
    double.put("k0", 21, shard=one)
    anew = Function(module, double, ack="stored")
    anew.stored = function.stored
    async with anew.running():
        await anew.arrived(1)
    assert [anew.body(one) for one in anew.events] == [21]


async def test_latest_stored_at_once_leaves_no_gap_either(module: Any, double: Streams) -> None:
    double.put("k", "before", arrived=2000)
    function = Function(module, double, start="latest", ack="stored")
    async with function.running():
        await looked(lambda: function.has_begun and double.calls["GetRecords"] >= 2)
    double.put("k", "while it was away")
    anew = Function(module, double, start="latest", ack="stored")
    anew.stored = function.stored
    async with anew.running():
        await anew.arrived(1)
    assert [anew.body(one) for one in anew.events] == ["while it was away"]


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(module: Any, double: Streams) -> None:
    double.put("k", "old")
    function = Function(module, double, start="latest")
    async with function.running():
        await looked(lambda: function.has_begun and double.calls["GetRecords"] >= 2)
    double.renew()
    double.put("k", "new")
    anew = Function(module, double, start="latest")
    anew.stored = function.stored
    async with anew.running():
        await anew.saw(1)
    assert anew.seen == ["new"]


async def test_records_of_a_stream_that_was_made_anew_are_not_taken_for_those_before(
    module: Any, double: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK", 0.1)
    double.put("k", "old")
    function = Function(module, double, ack="stored")
    async with function.running():
        await function.arrived(1)
        double.renew()
        double.put("k", "new")
        await function.arrived(2)
    assert [function.body(one) for one in function.events] == ["old", "new"]
    old, new = function.events
    assert json.loads(old.data)["eventID"] == json.loads(new.data)["eventID"] == old.dedup_key
    anew = Function(module, double, ack="stored")
    anew.stored = {key: value for key, value in function.stored.items() if "/shardId" not in key}
    async with anew.running():
        (again,) = await anew.arrived(1)
    assert again.dedup_key == new.dedup_key


async def test_a_trimmed_shard_keeps_nobody_from_the_next_stream(
    double: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK", 0.1)
    (first,) = double.shards
    double.put("k", "old")
    function = Function(dynamodb, double)
    async with function.running():
        await function.until(lambda: any('"after"' in value for value in function.stored.values()))
    second, _ = double.split(first)
    del double.shards[first]
    double.put("k", "of its child", shard=second)
    anew = Function(dynamodb, double)
    anew.stored = function.stored
    async with anew.running():
        await anew.saw(1)
        double.put("k", "its last", shard=second)
        double.renew(kept=True)
        double.put("k", "of the next stream")
        await anew.saw(3)
    assert anew.seen == ["of its child", "its last", "of the next stream"]


async def test_a_stream_that_is_not_there_is_waited_for(module: Any, double: Streams) -> None:
    double.missing = True
    function = Function(module, double)
    async with function.running():
        await function.until(lambda: function.reasons)
        assert "no such resource" in (function.reasons[0] or "")
        double.missing = False
        double.put("k", 0)
        await function.saw(1)
        assert function.reasons[-1] is None


async def test_a_table_without_a_stream_says_what_to_do(double: Streams) -> None:
    double.enabled = False
    function = Function(dynamodb, double)
    async with function.running():
        await function.until(lambda: function.reasons)
    assert function.reasons[0] == "the table orders has no stream; Enable one, best with new and old images."


@pytest.mark.parametrize("before", ["arn:aws:dynamodb:us-east-1:0:table/other/stream/x", "other@1"])
async def test_another_stream_is_begun_as_the_trigger_says(module: Any, double: Streams, before: str) -> None:
    function = Function(module, double, start="latest")
    function.stored[keeper.GENERATION] = before
    double.put("k", "before", arrived=2000)
    async with function.running():
        await looked(lambda: function.has_begun and double.calls["GetRecords"] >= 2)
    assert function.seen == []


async def test_what_arrives_while_the_latest_is_lost_is_not_passed_over(module: Any, double: Streams) -> None:
    double.put("k", "before", arrived=2000)
    double.fail("GetRecords", "ExpiredIteratorException")
    function = Function(module, double, start="latest")
    asked = double.answer

    async def answer(request: Any) -> Any:
        if request.headers["X-Amz-Target"].endswith("GetRecords") and double.calls["GetRecords"] == 0:
            double.put("k", "between")
        return await asked(request)

    double.answer = answer  # type: ignore[method-assign]
    async with serving(double):
        function = Function(module, double, start="latest")
        async with function.running():
            await function.saw(1)
    assert function.seen == ["between"]


async def test_a_stream_without_shards_yet_is_read_from_its_first_record(module: Any, double: Streams) -> None:
    double.shards.clear()
    function = Function(module, double, start="latest")
    async with function.running():
        await looked(lambda: function.has_begun)
        double.put("k", "first", shard=double.shard())
        await function.saw(1)
    assert function.seen == ["first"]


async def test_a_record_whose_key_cannot_be_kept_is_told_and_passed_over(module: Any, double: Streams) -> None:
    class Refusing(FakeContext):
        async def filtered(self, *events: Event) -> Any:
            if any(b"long" in one.data for one in events):
                raise BadInput("the key has 2000 bytes")
            return [None] * len(events)

    double.put("k", "a")
    double.put("long", "b")
    double.put("k", "c")
    function = Function(module, double)
    function.filtered = lambda *events: Refusing.filtered(function, *events)  # type: ignore[method-assign]
    async with function.running():
        await function.saw(2)
    assert function.seen == ["a", "c"]
