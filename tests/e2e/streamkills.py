"""Kill the hub at each step from reading a stream's records to storing how far they are handled.

``python -m tests.e2e.streamkills --kills 200``: nothing is lost, and no key's order is violated.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws_double.streams import Streams, threaded
from tests.e2e import kills as killing
from tests.e2e.daemon import Daemon, daemon, granted, until

POINTS = ("records-read", "handled", "inside-record", "recorded", "position-stored", "given-up")
POISON = 25
"""One record in so many fails always."""
TRIGGERS = ("changes", "clicks", "queued")
TOML = """
[defaults]
retry = {{ attempts = 2, initial = "10ms", max = "50ms" }}
env = {{ JOURNALS = "{journals}" }}
{granted}concurrency = 4

[triggers.clicks]
type = "kinesis"
stream = "orders"
start = "trim_horizon"
parallel = 3
bisect = true
batch = {{ size = 8 }}
endpoint_url = "{url}"
function = "clicks"

[triggers.changes]
type = "dynamodb"
table = "orders"
start = "trim_horizon"
batch = {{ size = 8, partial_failures = true }}
endpoint_url = "{url}"
function = "changes"

[triggers.queued]
type = "kinesis"
stream = "orders"
start = "trim_horizon"
ack = "stored"
batch = {{ size = 1 }}
endpoint_url = "{url}"
function = "queued"
"""
HANDLER = """
import base64, json, os
def read(record):
    if "kinesis" in record:
        return record["kinesis"]["partitionKey"], json.loads(base64.b64decode(record["kinesis"]["data"])), record["kinesis"]["sequenceNumber"]
    change = record["dynamodb"]
    return change["Keys"]["id"]["S"], json.loads(change["NewImage"]["body"]["S"]), change["SequenceNumber"]
def handler(event, context):
    with open(os.path.join(os.environ["JOURNALS"], context.function_name), "a", buffering=1) as journal:
        for record in event["Records"]:
            key, body, sequence = read(record)
            if body % %d == 0:
                if context.function_name != "changes":
                    raise ValueError(body)
                return {"batchItemFailures": [{"itemIdentifier": sequence}]}
            journal.write(f"{key} {body}\\n")
""".replace("%d", str(POISON))


@dataclass
class Report:
    """What a run came to."""

    kills: Counter[str] = field(default_factory=Counter)
    written: int = 0
    lost: int = 0
    disordered: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    drift: int = 0

    @property
    def well(self) -> bool:
        return not (self.lost or self.disordered or self.drift)

    def __str__(self) -> str:
        return (
            f"{killing.told(self.kills)}: {self.written} records to each of {len(TRIGGERS)} triggers, {self.lost} lost, "
            f"{self.disordered} out of order, repeated {dict(self.repeated)}, dead letters {dict(self.dead)}, "
            f"accounting drift {self.drift}"
        )


def run(folder: Path, kills: int, seed: int) -> Report:
    """Kill a hub so often, at random points, while records arrive and shards split; then let it finish."""
    draw = random.Random(seed)
    report = Report()
    journals = folder / "journals"
    journals.mkdir()
    handlers = {f"{name}.py": HANDLER for name in TRIGGERS}
    with (
        threaded(Streams()) as double,
        daemon(
            folder, TOML.format(url=double.url, journals=journals, granted=granted(journals)), handlers, start=False
        ) as hub,
    ):
        for number in range(kills):
            for _ in range(20):
                _write(double, report, draw)
            if number == kills // 2:
                double.split(next(iter(double.shards)))
            point = POINTS[number % len(POINTS)]
            if killing.killed(hub, point, draw.randrange(1, 6), lambda: _write(double, report, draw)):
                report.kills[point] += 1
        hub.start(environ=killing.environ())
        until(lambda: _behind(hub, report) is None, "everything is handled", within=900)
        report.drift = killing.drift(hub)
        _judge(hub, report, journals)
        hub.stop()
    return report


def _write(double: Streams, report: Report, draw: random.Random) -> None:
    """Write a record; a key goes on in a child of the shard that it was in."""
    report.written += 1
    key = draw.randrange(8)
    open_ = [one.id for one in double.shards.values() if not one.closed]
    double.put(f"k{key}", report.written, shard=open_[key % len(open_)])


def _behind(hub: Daemon, report: Report) -> str | None:
    """Name a trigger that has not finished every record."""
    for one in hub.api("GET", "/api/v1/triggers"):
        counts = one["counts"]
        if sum(counts.values()) < report.written or counts.get("queued", 0) or counts.get("running", 0):
            return str(one["name"])
        if counts.get("cancelled", 0):
            return str(one["name"])
    return None


def _judge(hub: Daemon, report: Report, journals: Path) -> None:
    wanted = {n for n in range(1, report.written + 1) if n % POISON}
    for name in TRIGGERS:
        journal = killing.read(journals / name)
        report.lost += len(wanted - journal.numbers)
        report.repeated[name] += journal.repeated
        report.disordered += journal.disordered
        report.dead[name] = killing.counts(hub, name).get("dead", 0)
        report.lost += abs(report.written // POISON - report.dead[name])


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, run))
