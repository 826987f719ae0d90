"""Kill the hub at each step from reading a stream's records to storing how far they are handled.

``python -m tests.e2e.streamkills --kills 200``: nothing is lost, and no key's order is violated.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws_double.streams import Streams, threaded
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
            f"{sum(self.kills.values())} kills ({', '.join(f'{point} {n}' for point, n in sorted(self.kills.items()))}): "
            f"{self.written} records to each of {len(TRIGGERS)} triggers, {self.lost} lost, "
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
            if _killed(hub, double, report, point, draw):
                report.kills[point] += 1
        hub.start(environ=_environ())
        until(lambda: _behind(hub, double, report) is None, "everything is handled", within=900)
        report.drift = _drift(hub)
        _judge(hub, report, journals)
        hub.stop()
    return report


def _environ(point: str = "", after: int = 1) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**keys, "TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(after)}


def _write(double: Streams, report: Report, draw: random.Random) -> None:
    """Write a record; a key goes on in a child of the shard that it was in."""
    report.written += 1
    key = draw.randrange(8)
    open_ = [one.id for one in double.shards.values() if not one.closed]
    double.put(f"k{key}", report.written, shard=open_[key % len(open_)])


def _killed(hub: Daemon, double: Streams, report: Report, point: str, draw: random.Random) -> bool:
    """Run the hub until it dies at the point; False where it did not within a while, and was killed by hand."""
    hub.start(ready=False, environ=_environ(point, draw.randrange(1, 6)))
    deadline = time.monotonic() + 15
    while hub.alive and time.monotonic() < deadline:
        _write(double, report, draw)
        time.sleep(0.05)
    died = not hub.alive
    hub.kill()
    return died


def _behind(hub: Daemon, double: Streams, report: Report) -> str | None:
    """Name a trigger that has not finished every record."""
    for one in hub.api("GET", "/api/v1/triggers"):
        counts = one["counts"]
        if sum(counts.values()) < report.written or counts.get("queued", 0) or counts.get("running", 0):
            return str(one["name"])
        if counts.get("cancelled", 0):
            return str(one["name"])
    return None


def _drift(hub: Daemon) -> int:
    status, page = hub.api("GET", "/metrics", raw=True)
    assert status == 200
    (line,) = (one for one in page.decode().splitlines() if one.startswith("triggerhub_accounting_drift "))
    return int(float(line.split()[1]))


def _judge(hub: Daemon, report: Report, journals: Path) -> None:
    wanted = {n for n in range(1, report.written + 1) if n % POISON}
    for name in TRIGGERS:
        first: defaultdict[str, list[int]] = defaultdict(list)
        seen: set[int] = set()
        for line in (journals / name).read_text().splitlines():
            key, body = line.split()
            if int(body) in seen:
                report.repeated[name] += 1
                continue
            seen.add(int(body))
            first[key].append(int(body))
        report.lost += len(wanted - seen)
        report.disordered += sum(bodies != sorted(bodies) for bodies in first.values())
        counts = next(one["counts"] for one in hub.api("GET", "/api/v1/triggers") if one["name"] == name)
        report.dead[name] = counts.get("dead", 0)
        report.lost += abs(report.written // POISON - report.dead[name])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), arguments.kills, arguments.seed)
    print(report)
    return 0 if report.well else 1


if __name__ == "__main__":
    sys.exit(main())
