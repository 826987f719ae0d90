"""A stream that obeys: Kinesis and DynamoDB Streams over HTTP, with shards that split and merge, and faults on demand.

moto's shards never end and its iterators never expire. Here a test says what is to happen, and when.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from anyio.from_thread import start_blocking_portal

REGION = "us-east-1"
ACCOUNT = "000000000000"
TABLE_STREAM = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/%s/stream/%s"
STREAM = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/%s"
HORIZON, LATEST = "TRIM_HORIZON", "LATEST"


@dataclass
class Record:
    sequence: int
    key: str
    body: Any
    arrived: float


@dataclass
class Shard:
    id: str
    parents: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)
    first: int = 0
    """What was before this index is trimmed."""
    closed: bool = False


@dataclass
class Fault:
    """What is to go wrong with the next request of an operation."""

    operation: str
    code: str = ""
    """An error's code; ``drop`` ends the connection within the answer, ``refuse`` before it."""
    status: int = 400
    times: int = 1


class Streams:
    """One stream, as both services tell it."""

    def __init__(self, name: str = "orders") -> None:
        self.name = name
        self.url = ""
        self.shards: dict[str, Shard] = {}
        self.former: dict[str, dict[str, Shard]] = {}
        """By ARN, the shards of streams that were disabled, and of which the records are kept for a day."""
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()
        self.down = False
        self.again = 0
        """So many records before those that are asked for are given once more."""
        self.generation = 1
        self.enabled = True
        self.missing = False
        self.gone = ""
        """A shard that is listed, and of which nothing is there any more."""
        self._number()
        self.shard()

    def _number(self) -> None:
        self._sequence = itertools.count(49_590_338_271_490_256_608_559_692)
        self._names = itertools.count()

    # what a test does

    def shard(self, *parents: str) -> str:
        """Make a shard and return its id."""
        made = Shard(f"shardId-{next(self._names):020}-{len(self.shards):08x}", parents)
        self.shards[made.id] = made
        return made.id

    def put(self, key: str, body: Any, shard: str | None = None, arrived: float | None = None) -> str:
        """Append a record to the shard, the first open one unless told; return its sequence number."""
        place = self.shards[shard] if shard else next(one for one in self.shards.values() if not one.closed)
        assert not place.closed
        record = Record(next(self._sequence), key, body, time.time() if arrived is None else arrived)
        place.records.append(record)
        return str(record.sequence)

    def close(self, *shards: str) -> None:
        for shard in shards:
            self.shards[shard].closed = True

    def split(self, shard: str) -> tuple[str, str]:
        self.close(shard)
        return self.shard(shard), self.shard(shard)

    def merge(self, one: str, other: str) -> str:
        self.close(one, other)
        return self.shard(one, other)

    def trim(self, shard: str, count: int) -> None:
        """Let the shard's first *count* records outlive the retention."""
        self.shards[shard].first = count

    def renew(self, *, kept: bool = False) -> None:
        """Delete the stream and make another one of its name; a table's former one may be *kept*, closed.

        Else shards and records are numbered from the beginning, as emulators do.
        """
        if kept:
            self.close(*self.shards)
            self.former[self.table_arn] = self.shards
        else:
            self._number()
        self.generation += 1
        self.shards = {}
        self.shard()

    def fail(self, operation: str, code: str, *, status: int = 400, times: int = 1) -> None:
        self.faults.append(Fault(operation, code, status, times))

    # what a client sees

    @property
    def arn(self) -> str:
        return STREAM % self.name

    @property
    def table_arn(self) -> str:
        return TABLE_STREAM % (self.name, f"2026-01-01T00:00:00.{self.generation:03}")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        service, operation = request.headers["X-Amz-Target"].split(".")
        asked = await request.json()
        self.calls[operation] += 1
        if self.down:
            return _cut(request)
        fault = next((one for one in self.faults if one.operation in ("*", operation)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            if fault.code == "refuse":
                return _cut(request)
            if fault.code != "drop":
                return _refusal(fault.code, fault.status)
        try:
            answer = getattr(self, f"_{operation}")(asked, service.startswith("Kinesis"))
        except Refused as refused:
            return _refusal(refused.code, 400)
        if fault is not None:
            return await _drop(request, answer)
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    def _DescribeTable(self, asked: Any, kinesis: bool) -> Any:
        if asked["TableName"] != self.name or self.missing:
            raise Refused("ResourceNotFoundException")
        found = {"LatestStreamArn": self.table_arn} if self.enabled else {}
        return {"Table": {"TableName": self.name, "TableStatus": "ACTIVE", **found}}

    def _DescribeStream(self, asked: Any, kinesis: bool) -> Any:
        described = {**self.former, self.table_arn: self.shards}.get(asked["StreamArn"])
        if described is None or self.missing:
            raise Refused("ResourceNotFoundException")
        # In pages of two, so that whoever asks must ask on.
        names = list(described)
        begin = names.index(asked["ExclusiveStartShardId"]) + 1 if "ExclusiveStartShardId" in asked else 0
        page = names[begin : begin + 2]
        more = {"LastEvaluatedShardId": page[-1]} if begin + 2 < len(names) else {}
        found = {"StreamArn": asked["StreamArn"], "Shards": [self._described(described[name]) for name in page], **more}
        return {"StreamDescription": {"StreamStatus": "ENABLED", **found}}

    def _DescribeStreamSummary(self, asked: Any, kinesis: bool) -> Any:
        self._check(asked)
        summary = {
            "StreamName": self.name,
            "StreamARN": self.arn,
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_767_225_600 + self.generation,
            "EnhancedMonitoring": [],
            "OpenShardCount": len(self.shards),
        }
        return {"StreamDescriptionSummary": summary}

    def _ListShards(self, asked: Any, kinesis: bool) -> Any:
        if "NextToken" not in asked:
            self._check(asked)
        names = list(self.shards)
        begin = int(asked.get("NextToken", 0))
        more = {"NextToken": str(begin + 2)} if begin + 2 < len(names) else {}
        return {"Shards": [self._described(self.shards[name]) for name in names[begin : begin + 2]], **more}

    def _check(self, asked: Any) -> None:
        if (
            self.missing
            or asked.get("StreamName", self.name) != self.name
            or asked.get("StreamARN", self.arn) != self.arn
        ):
            raise Refused("ResourceNotFoundException")

    def _described(self, shard: Shard) -> Any:
        parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
        numbers = {"StartingSequenceNumber": str(shard.records[0].sequence) if shard.records else "1"}
        if shard.closed:
            numbers["EndingSequenceNumber"] = str(shard.records[-1].sequence if shard.records else 1)
        hashes = {"StartingHashKey": "0", "EndingHashKey": "1"}
        return {"ShardId": shard.id, **parents, "SequenceNumberRange": numbers, "HashKeyRange": hashes}

    def _GetShardIterator(self, asked: Any, kinesis: bool) -> Any:
        if kinesis:
            self._check(asked)
        shard = self._shard(asked["ShardId"])
        if shard is None or shard.id == self.gone:
            raise Refused("ResourceNotFoundException")
        match asked["ShardIteratorType"]:
            case "TRIM_HORIZON":
                at = shard.first
            case "LATEST":
                at = len(shard.records)
            case "AT_TIMESTAMP":
                since = asked["Timestamp"]
                at = next((n for n, one in enumerate(shard.records) if one.arrived >= since), len(shard.records))
                at = max(at, shard.first)
            case _:
                after = int(asked["StartingSequenceNumber" if kinesis else "SequenceNumber"])
                at = next((n for n, one in enumerate(shard.records) if one.sequence > after), len(shard.records))
                if at < shard.first:
                    if not kinesis:
                        raise Refused("TrimmedDataAccessException")
                    at = shard.first
        return {"ShardIterator": f"{shard.id}|{at}"}

    def _GetRecords(self, asked: Any, kinesis: bool) -> Any:
        name, at = asked["ShardIterator"].split("|")
        shard = self._shard(name)
        if shard is None:
            raise Refused("ResourceNotFoundException")
        begin = max(int(at) - self.again, shard.first)
        found = shard.records[begin : int(at) + asked["Limit"]]
        following = begin + len(found)
        end = following >= len(shard.records)
        answer: dict[str, Any] = {"Records": [self._record(one, kinesis) for one in found]}
        if not (shard.closed and end):
            answer["NextShardIterator"] = f"{name}|{following}"
        if kinesis:
            answer["MillisBehindLatest"] = 0 if end else 1000
        return answer

    def _shard(self, name: str) -> Shard | None:
        return next((shards[name] for shards in (self.shards, *self.former.values()) if name in shards), None)

    def _record(self, one: Record, kinesis: bool) -> Any:
        if kinesis:
            return {
                "SequenceNumber": str(one.sequence),
                "ApproximateArrivalTimestamp": one.arrived,
                "Data": base64.b64encode(json.dumps(one.body).encode()).decode(),
                "PartitionKey": one.key,
            }
        return {
            "eventID": f"{one.sequence:032x}",
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": REGION,
            "dynamodb": {
                "ApproximateCreationDateTime": int(one.arrived),
                "Keys": {"id": {"S": one.key}},
                "NewImage": {"id": {"S": one.key}, "body": {"S": json.dumps(one.body)}},
                "SequenceNumber": str(one.sequence),
                "SizeBytes": 20,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }


class Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _refusal(code: str, status: int) -> web.Response:
    body = {"__type": f"com.amazonaws#{code}", "message": f"{code}, as the test wants it"}
    return web.json_response(body, status=status, content_type="application/x-amz-json-1.1")


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _drop(request: web.Request, answer: Any) -> web.StreamResponse:
    """Send half an answer, and end the connection."""
    body = json.dumps(answer).encode()
    response = web.StreamResponse(
        headers={"Content-Type": "application/x-amz-json-1.1", "Content-Length": str(len(body))}
    )
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0)
    assert request.transport is not None
    request.transport.abort()
    return response


@asynccontextmanager
async def serving(double: Streams) -> AsyncGenerator[Streams]:
    """Let the double answer at its ``url``."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/", double.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    double.url = f"http://127.0.0.1:{port}"
    try:
        yield double
    finally:
        await runner.cleanup()


@contextmanager
def threaded(double: Streams) -> Generator[Streams]:
    """Let the double answer from a thread of its own, for tests that wait for processes."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(double)):
        yield double
