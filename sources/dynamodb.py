"""Follow the changes of a DynamoDB table, as its stream tells them.

What is done with them is :mod:`triggerhub.stream`'s; here is how DynamoDB is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from triggerhub import settings, source
from triggerhub.aws import arn, dynamodb
from triggerhub.aws.records import records
from triggerhub.awsclient import Connection, connected
from triggerhub.model import Event, Json, Millis
from triggerhub.policy.streaming import Record
from triggerhub.policy.streaming.tree import Listed
from triggerhub.stream import keeper, option
from triggerhub.stream.endpoint import After, Described, GoneError, Latest, Page, Place
from triggerhub.stream.failing import clock, translated

acks = ("handled", "stored")
batch_size = 100

CONNECTIONS = 50
"""Shards that are asked at one time."""

_table_name = option.shaped(r"[A-Za-z0-9_.-]{3,255}", 'a table\'s name, of letters, digits, "_", "-" and "."')
_stream_arn = option.shaped(
    r"arn:[a-z-]+:dynamodb:[a-z0-9-]+:\d{12}:table/[A-Za-z0-9_.-]{3,255}/stream/[^/\s]+",
    "the ARN of a table's stream, like arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/MOMENT",
)


class Options(option.Options):
    """What ``type = "dynamodb"`` takes."""

    table: Annotated[str, _table_name] | None = None
    """The table whose changes are followed; it must have a stream. Or, instead of it:"""
    stream: Annotated[str, _stream_arn] | None = None
    """The ARN of one stream of a table."""
    start: option.Beginning = option.WORDS["latest"]
    """Where to begin a stream that was never read: ``latest``, or ``trim_horizon``, its oldest record."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.stream is None):
            raise ValueError("write either table or stream")
        return self


async def run(ctx: source.Context, options: Options) -> None:
    """Handle the changes until cancelled."""
    async with _table(options) as table:
        await keeper.keep(ctx, table, options.start, option.plan(options, ctx.trigger, ctx.retry))


async def probe(ctx: source.Context, options: Options) -> str:
    """Ask for the stream, and read from it. Raises AwsFault, GoneError."""
    async with _table(options) as table:
        who = await table.streams.asker()
        return f"{await keeper.probe(table)} as {who}"


def envelope(changes: Sequence[bytes]) -> bytes:
    """Return ``{"Records":[…]}``."""
    return records(changes)


def identifier(record: Json) -> str:
    """Return the sequence number, which names a record in ``batchItemFailures``."""
    sequence: str = record["dynamodb"]["SequenceNumber"]
    return sequence


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find options that contradict one another."""
    yield from option.check(options, trigger, options.stream)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return an item that was put, one that was changed and one that was deleted."""
    stream = options.stream or f"arn:aws:dynamodb:{arn.REGION}:{arn.ACCOUNT}:table/{options.table}/stream/{_MOMENT}"
    old, new = {"id": {"S": "4711"}, "state": {"S": "new"}}, {"id": {"S": "4711"}, "state": {"S": "paid"}}
    images: dict[str, dict[str, Json]] = {
        "insert": {"NewImage": old},
        "modify": {"OldImage": old, "NewImage": new},
        "remove": {"OldImage": new},
    }
    made = {}
    for number, (name, image) in enumerate(images.items(), 1):
        given = {
            "eventID": f"{number:032x}",
            "eventName": name.upper(),
            "dynamodb": {
                "ApproximateCreationDateTime": now // 1000,
                "Keys": {"id": {"S": "4711"}},
                **image,
                "SequenceNumber": str(100_000_000_000_000_000_000 + number),
                "SizeBytes": 26,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
        data = dynamodb.record(given, stream_arn=stream, region=stream.split(":")[3])
        made[name] = Event(data=data, time=now)
    return made


_MOMENT = "2026-01-01T00:00:00.000"


@asynccontextmanager
async def _table(options: Options) -> AsyncGenerator[Table]:
    located = option.located(options, options.stream)
    async with (
        connected("dynamodb", located) as tables,
        connected("dynamodbstreams", located, connections=CONNECTIONS) as streams,
    ):
        yield Table(options, tables, streams)


class Table:
    """The stream of a table; an ``Endpoint``."""

    service: ClassVar[Literal["dynamodb"]] = "dynamodb"
    limit: ClassVar[int] = 1000

    def __init__(self, options: Options, tables: Connection, streams: Connection) -> None:
        self._options = options
        self._tables = tables
        self.streams = streams

    def owns(self, generation: str) -> bool:
        if self._options.stream is not None:
            return generation == self._options.stream
        return f":table/{self._options.table}/stream/" in generation

    async def describe(self, generation: str | None) -> Described:
        if generation is not None:
            try:
                return await self._describe(generation)
            except GoneError:
                # A stream that was disabled is there for another day, and then no more.
                if self._options.stream is not None:
                    raise
        return await self._describe(await self._current())

    async def _current(self) -> str:
        if self._options.stream is not None:
            return self._options.stream
        with translated():
            answer = await self._tables.call("describe_table", TableName=self._options.table)
        found: str | None = answer["Table"].get("LatestStreamArn")
        if found is None:
            raise GoneError(
                f"the table {self._options.table} has no stream", hint="Enable one, best with new and old images."
            )
        return found

    async def _describe(self, stream: str) -> Described:
        listed: list[Listed] = []
        asked: dict[str, Any] = {"StreamArn": stream}
        while True:
            with translated():
                answer = await self.streams.call("describe_stream", **asked)
            description = answer["StreamDescription"]
            listed += [
                Listed(
                    id=one["ShardId"],
                    parents=(one["ParentShardId"],) if one.get("ParentShardId") else (),
                    closed="EndingSequenceNumber" in one.get("SequenceNumberRange", {}),
                )
                for one in description["Shards"]
            ]
            if not (last := description.get("LastEvaluatedShardId")):
                return Described(arn=stream, generation=stream, shards=listed, now=clock(answer))
            asked["ExclusiveStartShardId"] = last

    async def iterator(self, described: Described, shard: str, place: Place) -> str:
        asked = {"StreamArn": described.arn, "ShardId": shard}
        match place:
            case After(sequence):
                asked |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": sequence}
            case Latest():
                asked["ShardIteratorType"] = "LATEST"
            case _:  # it knows no moments: what is too early is passed over later
                asked["ShardIteratorType"] = "TRIM_HORIZON"
        with translated():
            answer = await self.streams.call("get_shard_iterator", **asked)
        found: str = answer["ShardIterator"]
        return found

    async def read(self, iterator: str, limit: int) -> Page:
        with translated():
            answer = await self.streams.call("get_records", ShardIterator=iterator, Limit=limit)
        found = answer["Records"]
        return Page(records=found, next=answer.get("NextShardIterator"), more=bool(found), now=clock(answer))

    def record(self, given: Any, described: Described, shard: str) -> Record:
        change = given["dynamodb"]
        data = dynamodb.record(given, stream_arn=described.arn, region=described.arn.split(":")[3])
        return Record(change["SequenceNumber"], dynamodb.key(given), dynamodb.arrived(given), data, given["eventID"])
