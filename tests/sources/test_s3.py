"""The source s3: notifications in a queue, and a bucket that is listed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from sources import s3
from tests.aws_double.sqs import SqsDouble
from tests.hub.rig import rig, trigger
from triggerhub import awsfault
from triggerhub.awsclient import Connection, Options, connected
from triggerhub.awsfault import AwsFault
from triggerhub.model import Event, Invocation
from triggerhub.settings import Batch, RetryPolicy
from triggerhub.testing import FakeContext

pytestmark = pytest.mark.usefixtures("keys")

GUARD = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awsfault, "RESTS", RetryPolicy(initial=20, max=50))


@asynccontextmanager
async def bucket(moto: str, name: str) -> AsyncGenerator[Connection]:
    async with connected("s3", Options(endpoint_url=moto)) as client:
        await client.call("create_bucket", Bucket=name)
        yield client


@asynccontextmanager
async def listing(options: s3.Options, stored: dict[str, str] | None = None) -> AsyncGenerator[FakeContext]:
    """The source running on a bucket that is listed all the time."""
    ctx = FakeContext(trigger("t", options=options))
    ctx.stored |= stored or {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(s3.run, ctx, options)
        with anyio.fail_after(GUARD):
            while not ctx.has_begun and not ctx.reasons:
                await anyio.sleep(0.005)
        yield ctx
        tasks.cancel_scope.cancel()


def told(event: Event) -> tuple[str, str]:
    record = json.loads(event.data)
    return record["triggerhub"]["change"], record["s3"]["object"]["key"]


async def test_a_bucket_is_watched_by_listing_it(moto: str) -> None:
    async with bucket(moto, "watched") as client:
        await client.call("put_object", Bucket="watched", Key="in/old.txt", Body=b"1")
        await anyio.sleep(1.1)  # the bucket's clock has whole seconds: what is as old as the start is told
        options = s3.Options(
            bucket="watched", prefix="in/", suffix=".txt", endpoint_url=moto, every="20ms",
            events=("created", "modified", "deleted"),
        )  # fmt: skip
        async with listing(options) as ctx:
            assert ctx.events == []
            await client.call("put_object", Bucket="watched", Key="in/a b+ü.txt", Body=b"22")
            (made,) = await ctx.arrived(1)
            record = json.loads(made.data)
            assert record["eventName"] == "ObjectCreated:Put"
            assert record["s3"]["object"]["key"] == "in/a+b%2B%C3%BC.txt"
            assert (record["s3"]["object"]["size"], record["s3"]["bucket"]["name"]) == (2, "watched")
            for key in ("in/other.bin", "out/a.txt"):
                await client.call("put_object", Bucket="watched", Key=key, Body=b"3")
            await client.call("put_object", Bucket="watched", Key="in/old.txt", Body=b"other")
            await ctx.arrived(2)
            await client.call("delete_object", Bucket="watched", Key="in/old.txt")
            await ctx.arrived(3)
            assert [told(one) for one in ctx.events] == [
                ("created", "in/a+b%2B%C3%BC.txt"), ("modified", "in/old.txt"), ("deleted", "in/old.txt"),
            ]  # fmt: skip
            assert json.loads(ctx.events[2].data)["eventName"] == "ObjectRemoved:Delete"
            assert len({one.dedup_key for one in ctx.events}) == 3
            stored = ctx.stored
        # Away, and back: what changed meanwhile is told, and nothing else.
        await client.call("put_object", Bucket="watched", Key="in/new.txt", Body=b"4")
        await client.call("delete_object", Bucket="watched", Key="in/a b+ü.txt")
        async with listing(options, stored) as ctx:
            await ctx.arrived(2)
            assert sorted(told(one) for one in ctx.events) == [
                ("created", "in/new.txt"),
                ("deleted", "in/a+b%2B%C3%BC.txt"),
            ]


async def test_what_lies_there_is_told_where_it_is_asked_for(moto: str) -> None:
    async with bucket(moto, "lying") as client:
        for number in range(5):
            await client.call("put_object", Bucket="lying", Key=f"{number}", Body=b"1")
        options = s3.Options(bucket="lying", endpoint_url=moto, every="20ms", existing="emit")
        async with listing(options) as ctx:
            assert [told(one) for one in await ctx.arrived(5)] == [("created", str(number)) for number in range(5)]


class Dated:
    """A bucket of objects whose dates are chosen; it is asked in place of a connection."""

    def __init__(self) -> None:
        self.objects: dict[str, datetime] = {}

    async def call(self, _: str, /, **asked: Any) -> dict[str, Any]:
        await anyio.sleep(0)
        found = [
            {"Key": key, "ETag": '"1"', "Size": 1, "LastModified": at}
            for key, at in self.objects.items()
            if key.startswith(asked["Prefix"])
        ]
        return {"Contents": found, "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(START, usegmt=True)}}}


START = datetime(2026, 1, 2, tzinfo=UTC)
OLD = START - timedelta(hours=1)


async def test_an_object_that_comes_with_an_older_date_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Dated()
    monkeypatch.setattr(Connection, "call", lambda _, operation, **more: bucket.call(operation, **more))
    options = s3.Options(bucket="dated", prefix="in/", every="20ms", events=("created", "deleted"))
    bucket.objects = {"in/old": OLD, "out/old": OLD}
    async with listing(options) as ctx:
        bucket.objects["in/upload"] = OLD  # one of many parts has the date of its beginning
        await ctx.arrived(1)
        del bucket.objects["in/old"]
        await ctx.arrived(2)
        bucket.objects["in/old"] = OLD  # restored
        await ctx.arrived(3)
        assert [told(one) for one in ctx.events] == [
            ("created", "in/upload"), ("deleted", "in/old"), ("created", "in/old"),
        ]  # fmt: skip
        stored = ctx.stored
    bucket.objects |= {"in/later": OLD}
    async with listing(s3.Options(**{**options.model_dump(), "every": "20ms", "prefix": ""}), stored) as ctx:
        await ctx.arrived(1)
        assert [told(one) for one in ctx.events] == [("created", "in/later")], "what lay beside it is not told"
        bucket.objects["out/later"] = OLD
        await ctx.arrived(2)


async def test_what_was_left_out_for_a_while_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, given = Dated(), {"bucket": "dated", "every": "20ms"}
    monkeypatch.setattr(Connection, "call", lambda _, operation, **more: bucket.call(operation, **more))
    bucket.objects = {"in/old": OLD, "out/old": OLD}
    async with listing(s3.Options(**given)) as ctx:
        await ctx.until(lambda: s3.LISTED in ctx.stored)
        stored = ctx.stored
    ctx = FakeContext(trigger("t", options=None))
    ctx.stored |= stored
    await s3._known(ctx, s3.Options(**given, prefix="in/"))  # and it is changed back before it was listed
    async with listing(s3.Options(**given), ctx.stored) as ctx:
        bucket.objects["new"] = OLD
        await ctx.until(lambda: ctx.stored.get(s3.LISTED) == '["", ""]')
        assert {told(one) for one in ctx.events} <= {("created", "new")}


@pytest.mark.parametrize("change", [{"prefix": "in/"}, {"suffix": ".txt"}, {"bucket": "narrowed-other"}])
async def test_what_is_looked_at_no_longer_is_not_told_as_deleted(moto: str, change: dict[str, str]) -> None:
    (name,) = change
    given: dict[str, Any] = {"bucket": f"narrowed-{name}", "endpoint_url": moto, "every": "20ms", "existing": "emit"}
    given["events"] = ("created", "deleted")
    async with bucket(moto, given["bucket"]) as client, bucket(moto, "narrowed-other"):
        for key in ("in/a.txt", "out/b.bin"):
            await client.call("put_object", Bucket=given["bucket"], Key=key, Body=b"1")
        async with listing(s3.Options(**given)) as ctx:
            await ctx.arrived(2)
            stored = ctx.stored
        options = s3.Options(**given | change)
        async with listing(options, stored) as ctx:
            await client.call("put_object", Bucket=options.bucket, Key="in/c.txt", Body=b"1")
            await ctx.arrived(1)
            assert [told(one) for one in ctx.events] == [("created", "in/c.txt")]
            assert s3.KNOWN + "out/b.bin" not in {key for key, tag in ctx.stored.items() if tag is not None}


async def test_a_listing_of_many_pages_is_read_to_its_end(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Connection.call

    async def paged(self: Connection, operation: str, /, **more: Any) -> dict[str, Any]:
        if operation == "list_objects_v2":
            more["MaxKeys"] = 3
        return await call(self, operation, **more)

    monkeypatch.setattr(Connection, "call", paged)
    monkeypatch.setattr(s3, "PAGE", 2)
    async with bucket(moto, "paged") as client:
        for number in range(8):
            await client.call("put_object", Bucket="paged", Key=f"{number}", Body=b"1")
        options = s3.Options(
            bucket="paged", endpoint_url=moto, every="20ms", existing="emit", events=("created", "deleted")
        )
        async with listing(options) as ctx:
            await ctx.arrived(8)
            await client.call("delete_object", Bucket="paged", Key="7")
            await ctx.arrived(9)
            assert told(ctx.events[8]) == ("deleted", "7")


async def test_an_object_that_the_triggers_own_key_cannot_take_holds_up_no_other(moto: str, tmp_path: Path) -> None:
    async with bucket(moto, "long") as client:
        for key in ("a", "ü" * 400, "z"):
            await client.call("put_object", Bucket="long", Key=key, Body=b"1")
        seen: list[str] = []

        async def work(invocation: Invocation) -> bytes:
            seen.extend(one["s3"]["object"]["key"] for one in json.loads(invocation.payload)["Records"])
            return b"null"

        options = s3.Options(bucket="long", endpoint_url=moto, every="20ms", existing="emit")
        one = trigger("t", type="s3", options=options, key="$.s3.object.key")
        with structlog.testing.capture_logs() as lines:
            async with rig(tmp_path, {"work": work}, triggers=[one], more={"s3": s3}) as hub:
                await hub.states(2)
        assert sorted(seen) == ["a", "z"]
        (line,) = (line for line in lines if line["event"] == "the hub refuses an event")
        assert line["object"] == "ü" * 400


async def test_a_bucket_that_is_not_there_is_waited_for(moto: str) -> None:
    options = s3.Options(bucket="later", endpoint_url=moto, every="20ms", existing="emit")
    async with listing(options) as ctx:
        assert (ctx.reasons[0] or "").startswith("s3:ListObjectsV2: there is no such resource (NoSuchBucket)")
        async with bucket(moto, "later") as client:
            await client.call("put_object", Bucket="later", Key="a", Body=b"1")
            await ctx.arrived(1)
            await ctx.until(lambda: ctx.reasons[-1] is None)


async def test_notifications_of_a_bucket_are_handled(moto: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    async def work(invocation: Invocation) -> None:
        seen.extend(json.loads(invocation.payload)["Records"])

    async with bucket(moto, "notifies") as client, connected("sqs", Options(endpoint_url=moto)) as queues:
        url = (await queues.call("create_queue", QueueName="s3-notes"))["QueueUrl"]
        arn = "arn:aws:sqs:us-east-1:123456789012:s3-notes"
        wanted = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]}
        await client.call("put_bucket_notification_configuration", Bucket="notifies", NotificationConfiguration=wanted)
        options = s3.Options(bucket="notifies", prefix="in/", queue="s3-notes", endpoint_url=moto, wait="0s")
        one = trigger("t", type="s3", options=options, ack="handled")
        async with rig(tmp_path, {"work": work}, triggers=[one], more={"s3": s3}):
            for key in ("in/a.txt", "out/b.txt"):
                await client.call("put_object", Bucket="notifies", Key=key, Body=b"1")
            await client.call("delete_object", Bucket="notifies", Key="in/a.txt")
            with anyio.fail_after(GUARD):
                while True:
                    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
                    left = await queues.call("get_queue_attributes", QueueUrl=url, AttributeNames=names)
                    if seen and set(left["Attributes"].values()) == {"0"}:
                        break
                    await anyio.sleep(0.05)
    assert [(one["eventName"], one["s3"]["bucket"]["name"]) for one in seen] == [("ObjectCreated:Put", "notifies")]


def note(key: str, name: str = "ObjectCreated:Put", bucket: str = "mine", sequencer: str = "01") -> dict[str, Any]:
    thing = {"key": key, "sequencer": sequencer}
    return {
        "eventName": name,
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {"bucket": {"name": bucket}, "object": thing},
    }


@pytest.mark.parametrize("ack", ["handled", "stored"])
async def test_only_what_is_wanted_is_handled_and_what_is_none_is_left(tmp_path: Path, ack: str) -> None:
    seen: list[str] = []

    async def work(invocation: Invocation) -> None:
        seen.extend(one["s3"]["object"]["key"] for one in json.loads(invocation.payload)["Records"])

    double = SqsDouble()
    double.patience = 0.05
    double.do_CreateQueue("lost")
    policy = json.dumps({"maxReceiveCount": 1, "deadLetterTargetArn": double.queues["lost"].arn})
    double.do_CreateQueue("notes", {"RedrivePolicy": policy})
    bodies = [
        {"Records": [note("in/\ud800.jpg")]},
        {"Event": "s3:TestEvent"},
        {"Records": [note("in/a.jpg"), note("in/b.txt"), note("in/c.jpg", bucket="other")]},
        {"Message": json.dumps({"Records": [note("in/d.jpg"), note("in/e.jpg", "ObjectRemoved:Delete")]})},
        {"Records": [note("in/a.jpg")]},
        {"hello": "world"},
    ]
    for body in bodies:
        double.do_SendMessage("notes", MessageBody=json.dumps(body))
    async with double.serve() as address:
        options = s3.Options(
            bucket="mine", prefix="in/", suffix=".jpg", queue="notes", endpoint_url=address, wait="1s", visibility="10m"
        )
        retry = {"work": RetryPolicy(initial=0, max=0)}
        one = trigger("t", type="s3", options=options, ack=ack, batch=Batch(size=1), retry=retry)
        async with rig(tmp_path, {"work": work}, triggers=[one], more={"s3": s3}):
            with anyio.fail_after(GUARD):
                while double.queues["notes"].messages or len(seen) < 2:
                    await anyio.sleep(0.01)
    assert sorted(seen) == ["in/a.jpg", "in/d.jpg"]
    assert [one.body for one in double.queues["lost"].messages.values()] == [
        json.dumps(bodies[0]),
        '{"hello": "world"}',
    ]


@pytest.mark.parametrize(
    ("options", "settings", "found"),
    [
        ({}, {}, []),
        ({"every": "5s", "existing": "emit"}, {}, []),
        ({"wait": "5s", "visibility": "5s"}, {}, [("wait", "bucket-mode"), ("visibility", "bucket-mode")]),
        ({"queue": "q", "every": "5s"}, {}, [("every", "bucket-mode")]),
        ({"every": "10ms"}, {}, [("every", "bucket-mode")]),
        ({}, {"ack": "handled"}, [("ack", "bad-ack")]),
        ({"queue": "q"}, {"ack": "handled"}, []),
        ({"queue": "q"}, {"ack": "handled", "batch": Batch(size=20)}, [("batch", "bad-batch")]),
        ({"queue": "q"}, {"ack": "handled", "written": frozenset({"on_failure"})}, [("on_failure", "bad-ack")]),
        ({}, {"key": "header:X"}, [("key", "no-headers")]),
    ],
)
def test_what_check_finds(options: dict[str, Any], settings: dict[str, Any], found: list[tuple[str, str]]) -> None:
    made = trigger("t", **settings)
    assert [(one.option, one.code) for one in s3.check(s3.Options(bucket="bucket", **options), made)] == found


async def test_a_probe_says_what_it_reached(moto: str) -> None:
    options = s3.Options(bucket="probed", prefix="in/", endpoint_url=moto)
    with pytest.raises(AwsFault, match="NoSuchBucket"):
        await s3.probe(FakeContext(trigger(options=options)), options)
    async with bucket(moto, "probed"):
        assert (await s3.probe(FakeContext(trigger(options=options)), options)).startswith(
            "s3://probed/in/ as arn:aws:"
        )


def test_objects_by_hand() -> None:
    options = s3.Options(bucket="bucket", prefix="in/", suffix=".jpg")
    record = json.loads(s3.wrap(options, "t", b"a b.jpg\n", 1000).data)
    assert record["s3"]["object"]["key"] == "a+b.jpg"
    assert set(s3.samples(options, "t", 1)) == {"created", "modified", "deleted"}
    with pytest.raises(s3.BadInput, match="expected the key of an object"):
        s3.wrap(options, "t", b"\xff", 1)
    assert len(s3.dedup_key("b", "k" * 1024, "01")) < 100
