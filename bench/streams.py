"""Measure what reading a stream costs: the third part of ``make bench``.

- engine: processor time for each record from a page of the service to its checkpoint: shape, filter, lanes, batch, outcome,
  position. The service and the hub answer at once and do nothing.
- hub: the same with the hub's own part, but for the function: keys, outcomes and history in a SQLite store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sources import dynamodb, kinesis
from tests.hub.rig import function, rig, trigger
from triggerhub.model import Returned
from triggerhub.policy.streaming import tree
from triggerhub.settings import Batch
from triggerhub.source import Handled
from triggerhub.stores.sqlite import open_store
from triggerhub.stream import keeper, option
from triggerhub.stream.endpoint import Described, Page
from triggerhub.testing import FakeContext

BODY = json.dumps({"note": "x" * 480}).encode()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ARNS = {
    "kinesis": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
    "dynamodb": "arn:aws:dynamodb:us-east-1:000000000000:table/bench/stream/2026-01-01T00:00:00.000",
}
PAGE = 1000


def given(kind: str, number: int) -> dict[str, Any]:
    """A record as botocore returns it, of half a kilobyte."""
    sequence, key = str(10**20 + number), f"key-{number % 97}"
    if kind == "kinesis":
        return {"SequenceNumber": sequence, "PartitionKey": key, "Data": BODY, "ApproximateArrivalTimestamp": NOW}
    keys = {"id": {"S": key}}
    change = {
        "ApproximateCreationDateTime": NOW, "Keys": keys, "NewImage": {**keys, "note": {"S": "x" * 480}},
        "SequenceNumber": sequence, "SizeBytes": 500, "StreamViewType": "NEW_AND_OLD_IMAGES",
    }  # fmt: skip
    return {"eventID": f"{number:032x}", "eventName": "MODIFY", "eventVersion": "1.1", "dynamodb": change}


class Endpoint:
    """A service without latency: one shard, a number of records, and then its end."""

    limit = PAGE

    def __init__(self, kind: str, count: int) -> None:
        self.service = kind
        self._records = [given(kind, number) for number in range(count)]
        options = {"kinesis": {"stream": "bench"}, "dynamodb": {"table": "bench"}}[kind]
        if kind == "kinesis":
            self.record = kinesis.Stream(kinesis.Options(**options), None).record  # type: ignore[arg-type]
        else:
            self.record = dynamodb.Table(dynamodb.Options(**options), None, None).record  # type: ignore[arg-type]

    def owns(self, generation: str) -> bool:
        return True

    async def describe(self, generation: str | None) -> Described:
        return Described(arn=ARNS[self.service], generation="bench", shards=[tree.Listed(id="shard", closed=True)])

    async def iterator(self, described: Described, shard: str, place: object) -> str:
        return "0"

    async def read(self, iterator: str, limit: int) -> Page:
        begin = int(iterator)
        found = self._records[begin : begin + limit]
        end = begin + len(found)
        return Page(records=found, next=str(end) if end < len(self._records) else None, more=True)


class Nothing(FakeContext):
    """A hub that has handled whatever it is given."""

    OUTCOME = Returned(payload=b"null")

    async def handle(
        self,
        *events: Any,
        payload: bytes | None = None,
        judge: Any = None,
        checkpoints: Callable[[Handled], Any] | None = None,
    ) -> Handled:
        each = judge(self.OUTCOME, "request", range(len(events))) if judge else [self.OUTCOME] * len(events)
        handled = Handled(outcome=self.OUTCOME, each=tuple(each))
        await self.set_checkpoints(checkpoints(handled) if checkpoints else {})
        return handled

    async def set_checkpoints(self, values: Mapping[str, str | None]) -> None:
        self.stored |= {key: value for key, value in values.items() if value}
        if any('"ended"' in value for value in self.stored.values()):
            self.ended.set()


def policies(kind: str, parallel: int) -> tuple[Any, Any]:
    options = option.Options(parallel=parallel)
    return options, trigger(
        "bench", type=kind, ack="handled", batch=Batch(size=100), functions=("work",), options=options
    )


async def engine(kind: str, count: int, parallel: int) -> float:
    """Return microseconds of processor time a record."""
    options, one = policies(kind, parallel)
    ctx = Nothing(one)
    ctx.ended = asyncio.Event()
    endpoint = Endpoint(kind, count)
    began = time.process_time()
    task = asyncio.create_task(
        keeper.keep(ctx, endpoint, option.WORDS["trim_horizon"], option.plan(options, one, ctx.retry))
    )
    await ctx.ended.wait()
    took = time.process_time() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return took / count * 1e6


async def hub(kind: str, count: int, parallel: int) -> float:
    """Return microseconds of processor time a record, the hub's own part included; the function costs nothing."""
    _, one = policies(kind, parallel)
    endpoint = Endpoint(kind, count)

    class Source:
        Options = option.Options
        acks = ("handled",)
        envelope = staticmethod(kinesis.envelope)
        began = 0.0

        @staticmethod
        async def run(ctx: Any, options: Any) -> None:
            Source.began = time.process_time()
            await keeper.keep(ctx, endpoint, option.WORDS["trim_horizon"], option.plan(options, one, ctx.retry))

    async def work(invocation: Any) -> Any:
        return None

    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_store(Path(folder) / "var") as store,
            rig(
                Path(folder) / "hub",
                {"work": work},
                functions=[function("work")],
                triggers=[one],
                more={kind: Source},
                store=store,
            ) as made,
        ):
            while not any('"ended"' in value for value in (await made.store.checkpoints("bench", "bench/")).values()):
                await asyncio.sleep(0.01)
            return (time.process_time() - Source.began) / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=20_000)
    options = parser.parse_args()
    # What is measured is what is done, and not the pace at which AWS may be asked.
    for name in ("BUSY", "BASE"):
        setattr(sys.modules["triggerhub.policy.streaming.pace"], name, 0)
    works: Sequence[tuple[str, Callable[[], Any]]] = [
        *((f"engine, {kind}, parallel {parallel}", lambda kind=kind, parallel=parallel: engine(kind, options.records, parallel))
          for kind in ARNS for parallel in (1, 10)),
        *((f"hub, {kind}", lambda kind=kind: hub(kind, options.records, 1)) for kind in ARNS),
    ]  # fmt: skip
    figures: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, measure in works:
            figures.setdefault(name, []).append(asyncio.run(measure()))
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}; {options.records} records of half a kilobyte, batch 100"
    )
    print(f"{'microseconds a record':<40}{'median':>10}{'lowest':>10}{'highest':>10}")
    for name, values in figures.items():
        print(f"{name:<40}{statistics.median(values):>10.1f}{min(values):>10.1f}{max(values):>10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
