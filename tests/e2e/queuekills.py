"""Kill the hub at each step from receiving a queue's messages to deleting them.

``python -m tests.e2e.queuekills --kills 200``: nothing is lost, no group's order is violated, and nothing runs again that
had been recorded.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws_double.sqs import SqsDouble, threaded
from tests.e2e import kills as killing
from tests.e2e.daemon import Daemon, daemon, granted, until
from triggerhub.awsconsumer import CLOSING

POINTS = ("received", "mid-handler", "handled", "inside-record", "recorded", "stored", "before-delete")
FAILING = 10
"""One message in so many fails at first."""
CONCURRENCY = 4
BACKLOG = 200
"""Above so many messages no more are sent while the hub is to die: a life of a moment handles few."""
TRIGGERS = ("grouped", "kept", "queued")
QUEUES = {"grouped": "grouped.fifo", "kept": "kept", "queued": "queued"}
TOML = """
[defaults]
retry = {{ attempts = 5, initial = "10ms", max = "50ms" }}
env = {{ JOURNALS = "{journals}" }}
{granted}concurrency = {concurrency}

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
    redriven: int = 0
    """Dead letters, since the hub had died ten times while they ran."""
    drift: int = 0

    @property
    def most(self) -> int:
        """How many runs may be repeated by so many kills: what ran or was being written, each call of five."""
        return 5 * (CONCURRENCY + CLOSING) * sum(self.kills.values())

    @property
    def well(self) -> bool:
        return not (self.lost or self.disordered or self.unfinished or self.drift) and all(
            count <= self.most for count in self.repeated.values()
        )

    def __str__(self) -> str:
        return (
            f"{killing.told(self.kills)}: {self.sent} messages to each of {len(TRIGGERS)} queues, {self.lost} lost, "
            f"{self.disordered} groups out of order, repeated {dict(self.repeated)}, {self.redriven} redriven, {self.unfinished} unfinished, accounting drift {self.drift}"
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
            folder,
            TOML.format(url=address, journals=journals, granted=granted(journals), concurrency=CONCURRENCY),
            handlers,
            start=False,
        ) as hub,
    ):
        for number in range(kills):
            _send(double, report, draw, 10)
            point = POINTS[number % len(POINTS)]
            if killing.killed(hub, point, draw.randrange(1, 4), lambda: _more(double, report, draw)):
                report.kills[point] += 1
        hub.start(environ=killing.environ())
        until(lambda: not any(queue.messages for queue in double.queues.values()), "the queues are empty", within=300)
        until(lambda: hub.counts()["queued"] == 0 and hub.counts()["running"] == 0, "everything is settled", within=120)
        _redrive(hub, report)
        _judge(hub, report, journals)
        hub.stop()
    return report


def _send(double: SqsDouble, report: Report, draw: random.Random, count: int) -> None:
    for _ in range(count):
        report.sent += 1
        body = str(report.sent)
        for name in ("kept", "queued"):
            double.do_SendMessage(name, MessageBody=body)
        group = {"MessageGroupId": f"g{draw.randrange(8)}", "MessageDeduplicationId": body}
        double.do_SendMessage("grouped.fifo", MessageBody=body, **group)


def _more(double: SqsDouble, report: Report, draw: random.Random) -> None:
    if len(double.queues["kept"].messages) < BACKLOG:
        _send(double, report, draw, 1)


def _redrive(hub: Daemon, report: Report) -> None:
    """Queue again what ran at the death of ten hubs, as whoever looks after a hub would; it is what the store owes."""
    dead = [one for one in hub.deliveries(state="dead") if "the hub died whenever it ran" in (one["reason"] or "")]
    report.redriven = len(dead)
    if dead:
        hub.cli("dlq", "redrive", "--yes", *(one["id"] for one in dead), check=True)
        until(lambda: hub.counts()["queued"] == 0 and hub.counts()["running"] == 0, "that is settled", within=120)


def _judge(hub: Daemon, report: Report, journals: Path) -> None:
    wanted = set(range(1, report.sent + 1))
    for name in TRIGGERS:
        journal = killing.read(journals / name)
        report.lost += len(wanted - journal.numbers)
        report.repeated[name] += journal.repeated
        if name == "grouped":
            report.disordered += journal.disordered
        report.unfinished += abs(report.sent - killing.counts(hub, name).get("succeeded", 0))
    report.drift = killing.drift(hub)


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, run))
