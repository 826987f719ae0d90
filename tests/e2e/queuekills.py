"""Kill the hub at each step from receiving a queue's messages to deleting them.

``python -m tests.e2e.queuekills --kills 200``: nothing is lost, no group's order is violated, and nothing runs again that
had been recorded.
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

from tests.aws_double.sqs import SqsDouble, threaded
from tests.e2e.daemon import Daemon, daemon, granted, until

POINTS = ("received", "mid-handler", "handled", "inside-record", "recorded", "stored", "before-delete")
FAILING = 10
"""One message in so many fails at first."""
BACKLOG = 200
"""Above so many messages no more are sent while the hub is to die: a life of a moment handles few."""
TRIGGERS = ("grouped", "kept", "queued")
QUEUES = {"grouped": "grouped.fifo", "kept": "kept", "queued": "queued"}
TOML = """
[defaults]
retry = {{ attempts = 5, initial = "10ms", max = "50ms" }}
env = {{ JOURNALS = "{journals}" }}
{granted}concurrency = 4

[triggers.kept]
type = "sqs"
queue = "kept"
ack = "handled"
batch = {{ size = 5, partial_failures = true }}
endpoint_url = "{url}"
wait = "1s"
visibility = "1s"
function = "kept"

[triggers.grouped]
type = "sqs"
queue = "grouped.fifo"
ack = "handled"
batch = {{ size = 5 }}
endpoint_url = "{url}"
wait = "1s"
visibility = "1s"
function = "grouped"

[triggers.queued]
type = "sqs"
queue = "queued"
batch = {{ size = 1 }}
endpoint_url = "{url}"
wait = "1s"
visibility = "1s"
function = "queued"
"""
HANDLER = """
import os
JOURNALS = os.environ["JOURNALS"]
def fails(name, number):
    marker = os.path.join(JOURNALS, f"{name}-{number}")
    if number % %d or os.path.exists(marker):
        return False
    open(marker, "w").close()
    return True
def handler(event, context):
    name = context.function_name
    failed = [one["messageId"] for one in event["Records"] if fails(name, int(one["body"]))]
    if failed and name != "kept":
        raise ValueError(failed)
    with open(os.path.join(JOURNALS, name), "a", buffering=1) as journal:
        for one in event["Records"]:
            if one["messageId"] not in failed:
                journal.write(f"{one['attributes'].get('MessageGroupId', '-')} {one['body']}\\n")
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
""".replace("%d", str(FAILING))


@dataclass
class Report:
    """What a run came to."""

    kills: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    lost: int = 0
    disordered: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    drift: int = 0

    @property
    def most(self) -> int:
        """How many runs may be repeated by so many kills: what was under way, four calls of five."""
        return 20 * sum(self.kills.values())

    @property
    def well(self) -> bool:
        return not (self.lost or self.disordered or self.unfinished or self.drift) and all(
            count <= self.most for count in self.repeated.values()
        )

    def __str__(self) -> str:
        return (
            f"{sum(self.kills.values())} kills ({', '.join(f'{point} {n}' for point, n in sorted(self.kills.items()))}): "
            f"{self.sent} messages to each of {len(TRIGGERS)} queues, {self.lost} lost, {self.disordered} groups out of "
            f"order, repeated {dict(self.repeated)}, {self.unfinished} unfinished, accounting drift {self.drift}"
        )


def run(folder: Path, kills: int, seed: int) -> Report:
    """Kill a hub so often, at random moments of each step, while messages arrive; then let it finish."""
    draw = random.Random(seed)
    report = Report()
    journals = folder / "journals"
    journals.mkdir()
    double = SqsDouble()
    for name in QUEUES.values():
        double.do_CreateQueue(name)
    handlers = {f"{name}.py": HANDLER for name in TRIGGERS}
    with (
        threaded(double) as address,
        daemon(
            folder, TOML.format(url=address, journals=journals, granted=granted(journals)), handlers, start=False
        ) as hub,
    ):
        for number in range(kills):
            _send(double, report, draw, 10)
            point = POINTS[number % len(POINTS)]
            if _killed(hub, double, report, point, draw):
                report.kills[point] += 1
        hub.start(environ=environ())
        until(lambda: not any(queue.messages for queue in double.queues.values()), "the queues are empty", within=300)
        until(lambda: hub.counts()["queued"] == 0 and hub.counts()["running"] == 0, "everything is settled", within=120)
        _judge(hub, report, journals)
        hub.stop()
    return report


def environ(point: str = "", after: int = 1) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**keys, "TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(after)}


def _send(double: SqsDouble, report: Report, draw: random.Random, count: int) -> None:
    for _ in range(count):
        report.sent += 1
        body = str(report.sent)
        for name in ("kept", "queued"):
            double.do_SendMessage(name, MessageBody=body)
        group = {"MessageGroupId": f"g{draw.randrange(8)}", "MessageDeduplicationId": body}
        double.do_SendMessage("grouped.fifo", MessageBody=body, **group)


def _killed(hub: Daemon, double: SqsDouble, report: Report, point: str, draw: random.Random) -> bool:
    """Run the hub until it dies at the point; False where it did not within a while, and was killed by hand."""
    hub.start(ready=False, environ=environ(point, draw.randrange(1, 4)))
    deadline = time.monotonic() + 15
    while hub.alive and time.monotonic() < deadline:
        if len(double.queues["kept"].messages) < BACKLOG:
            _send(double, report, draw, 1)
        time.sleep(0.05)
    died = not hub.alive
    hub.kill()
    return died


def _judge(hub: Daemon, report: Report, journals: Path) -> None:
    wanted = set(range(1, report.sent + 1))
    for name in TRIGGERS:
        seen: set[int] = set()
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for line in (journals / name).read_text().splitlines():
            group, number = line.split()
            if int(number) in seen:
                report.repeated[name] += 1
                continue
            seen.add(int(number))
            groups[group].append(int(number))
        report.lost += len(wanted - seen)
        if name == "grouped":
            report.disordered += sum(numbers != sorted(numbers) for numbers in groups.values())
        counts = next(one["counts"] for one in hub.api("GET", "/api/v1/triggers") if one["name"] == name)
        report.unfinished += abs(report.sent - counts.get("succeeded", 0))
    status, page = hub.api("GET", "/metrics", raw=True)
    assert status == 200
    (line,) = (one for one in page.decode().splitlines() if one.startswith("triggerhub_accounting_drift "))
    report.drift = int(float(line.split()[1]))


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
