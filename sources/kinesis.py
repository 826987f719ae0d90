"""Follow a Kinesis stream.

What is done with its records is :mod:`triggerhub.stream`'s; here is how Kinesis is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from triggerhub import settings, source
from triggerhub.aws import arn, kinesis
from triggerhub.aws.records import records
from triggerhub.awsclient import Connection, connected
from triggerhub.model import Event, Json, Millis
from triggerhub.policy.streaming import Record
from triggerhub.policy.streaming.tree import Listed
from triggerhub.stream import keeper, option
from triggerhub.stream.endpoint import After, At, Described, Latest, Page, Place
from triggerhub.stream.failing import clock, translated

acks = ("handled", "stored")
batch_size = 100

CONNECTIONS = 50
"""Shards that are asked at one time."""

_NAME = r"[A-Za-z0-9_.-]{1,128}"
_stream = option.shaped(
    rf"{_NAME}|arn:[a-z-]+:kinesis:[a-z0-9-]+:\d{{12}}:stream/{_NAME}",
    "a stream's name or an ARN like arn:aws:kinesis:REGION:ACCOUNT:stream/NAME",
)


class Options(option.Options):
    """What ``type = "kinesis"`` takes."""

    stream: Annotated[str, _stream]
    """The stream's name or its ARN."""
    start: option.BeginningOrMoment = option.WORDS["latest"]
    """Where to begin a stream that was never read: ``latest``, ``trim_horizon`` (its oldest record), or a moment."""


async def run(ctx: source.Context, options: Options) -> None:
    """Handle the records until cancelled."""
    async with _connected(options) as connection:
        plan = option.plan(options, ctx.trigger, ctx.retry)
        await keeper.keep(ctx, Stream(options, connection), options.start, plan)


async def probe(ctx: source.Context, options: Options) -> str:
    """Ask for the stream, and read from it. Raises AwsFault, GoneError."""
    async with _connected(options) as connection:
        who = await connection.asker()
        return f"{await keeper.probe(Stream(options, connection))} as {who}"


def envelope(given: Sequence[bytes]) -> bytes:
    """Return ``{"Records":[…]}``."""
    return records(given)


def identifier(record: Json) -> str:
    """Return the sequence number, which names a record in ``batchItemFailures``."""
    sequence: str = record["kinesis"]["sequenceNumber"]
    return sequence


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find options that contradict one another."""
    yield from option.check(options, trigger, options.stream)


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Return the event of a record that carries *body*."""
    stream = options.stream
    if not stream.startswith("arn:"):
        stream = f"arn:aws:kinesis:{arn.REGION}:{arn.ACCOUNT}:stream/{stream}"
    given = {
        "SequenceNumber": str(49_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000 + now),
        "PartitionKey": "1",
        "Data": body,
        "ApproximateArrivalTimestamp": datetime.fromtimestamp(now / 1000, UTC),
    }
    region = stream.split(":")[3]
    data = kinesis.record(given, shard="shardId-000000000000", stream_arn=stream, region=region, identity=IDENTITY)
    return Event(data=data, time=now)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return one record of JSON and one of plain text."""
    bodies = {"json": b'{"orderId":"4711","total":25}', "text": b"Hello, this is a test."}
    return {name: wrap(options, trigger, body, now) for name, body in bodies.items()}


IDENTITY = f"arn:aws:iam::{arn.ACCOUNT}:role/triggerhub"
"""Who is said to have invoked, where no role is assumed."""


def _connected(options: Options) -> AbstractAsyncContextManager[Connection]:
    return connected("kinesis", option.located(options, options.stream), connections=CONNECTIONS)


class Stream:
    """A stream; an ``Endpoint``."""

    service: ClassVar[Literal["kinesis"]] = "kinesis"
    limit: ClassVar[int] = 10_000

    def __init__(self, options: Options, connection: Connection) -> None:
        self._connection = connection
        self._identity = options.role or IDENTITY
        self._stream = options.stream
        self._named = {"StreamARN" if options.stream.startswith("arn:") else "StreamName": options.stream}

    def owns(self, generation: str) -> bool:
        return generation.rpartition("@")[0] == self._stream

    async def describe(self, generation: str | None) -> Described:
        with translated():
            answer = await self._connection.call("describe_stream_summary", **self._named)
            summary = answer["StreamDescriptionSummary"]
            listed: list[Listed] = []
            asked: dict[str, Any] = {**self._named}
            while True:
                page = await self._connection.call("list_shards", **asked)
                listed += [_listed(one) for one in page["Shards"]]
                if not (token := page.get("NextToken")):
                    break
                asked = {"NextToken": token}
        created = int(summary["StreamCreationTimestamp"].timestamp())
        return Described(
            arn=summary["StreamARN"], generation=f"{self._stream}@{created}", shards=listed, now=clock(answer)
        )

    async def iterator(self, described: Described, shard: str, place: Place) -> str:
        asked: dict[str, Any] = {**self._named, "ShardId": shard}
        match place:
            case After(sequence):
                asked |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence}
            case Latest():
                asked["ShardIteratorType"] = "LATEST"
            case At(moment):
                asked |= {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(moment / 1000, UTC)}
            case _:
                asked["ShardIteratorType"] = "TRIM_HORIZON"
        with translated():
            answer = await self._connection.call("get_shard_iterator", **asked)
        found: str = answer["ShardIterator"]
        return found

    async def read(self, iterator: str, limit: int) -> Page:
        with translated():
            answer = await self._connection.call("get_records", ShardIterator=iterator, Limit=limit)
        behind = answer.get("MillisBehindLatest") or 0
        return Page(records=answer["Records"], next=answer.get("NextShardIterator"), more=behind > 0, now=clock(answer))

    def record(self, given: Any, described: Described, shard: str) -> Record:
        data = kinesis.record(
            given,
            shard=shard,
            stream_arn=described.arn,
            region=described.arn.split(":")[3],
            identity=self._identity,
        )
        name = kinesis.name(given, shard)
        return Record(given["SequenceNumber"], given["PartitionKey"], kinesis.arrived(given), data, name)


def _listed(one: Mapping[str, Any]) -> Listed:
    parents = (one.get("ParentShardId"), one.get("AdjacentParentShardId"))
    return Listed(
        id=one["ShardId"],
        parents=tuple(parent for parent in parents if parent),
        closed=bool(one.get("SequenceNumberRange", {}).get("EndingSequenceNumber")),
    )
