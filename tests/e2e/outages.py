"""Take the endpoint of AWS away from a hub for a while, and give it back.

``python -m tests.e2e.outages --seconds 60``: what arrives meanwhile is handled once it is back, after one rest between
tries at the latest; nothing is lost, and the log has a line a minute.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws_double.sqs import SqsDouble
from tests.aws_double.sqs import threaded as queues
from tests.aws_double.streams import Streams
from tests.aws_double.streams import threaded as streams
from tests.e2e import kills as killing
from tests.e2e.daemon import Daemon, daemon, granted, until
from triggerhub.awsclient import ANSWER
from triggerhub.awsfault import RESTS, TOLD

TRIGGERS = ("orders", "clicks")
TOML = """
[defaults]
env = {{ JOURNALS = "{journals}" }}
{granted}
[triggers.orders]
type = "sqs"
queue = "orders"
ack = "handled"
endpoint_url = "{queues}"
wait = "1s"
visibility = "5s"
function = "orders"

[triggers.clicks]
type = "kinesis"
stream = "orders"
start = "trim_horizon"
endpoint_url = "{streams}"
function = "clicks"
"""
HANDLER = """
import base64, json, os
def handler(event, context):
    with open(os.path.join(os.environ["JOURNALS"], context.function_name), "a", buffering=1) as journal:
        for one in event["Records"]:
            journal.write(f"k {one['body'] if 'body' in one else json.loads(base64.b64decode(one['kinesis']['data']))}\\n")
"""


@dataclass
class Report:
    """What an outage came to."""

    seconds: float
    sent: int = 0
    lost: int = 0
    repeated: int = 0
    lines: int = 0
    """Of the hub's log, about both triggers, from the beginning of the outage to the last record handled."""
    back: dict[str, float] = field(default_factory=dict)
    """Seconds from the endpoint's return until all that had waited was handled, by trigger."""

    @property
    def most(self) -> int:
        """How many lines there may be: that it is degraded, once more each minute, and that it is well again."""
        return len(TRIGGERS) * (math.ceil(self.seconds / TOLD) + 1)

    @property
    def well(self) -> bool:
        patience = RESTS.max / 1000 + ANSWER  # the longest rest, and a request that it ends with
        return not (self.lost or self.repeated) and self.lines <= self.most and max(self.back.values()) <= patience

    def __str__(self) -> str:
        back = ", ".join(f"{name} after {seconds:.1f} s" for name, seconds in self.back.items())
        return (
            f"{self.seconds:.0f} s without an endpoint: {self.sent} records to each of {len(TRIGGERS)} triggers, "
            f"{self.lost} lost, {self.repeated} repeated, {self.lines} lines of log, all handled: {back}"
        )


def run(folder: Path, seconds: float) -> Report:
    report = Report(seconds)
    journals = folder / "journals"
    journals.mkdir()
    double = SqsDouble()
    double.do_CreateQueue("orders")
    with queues(double) as address, streams(Streams()) as stream:
        toml = TOML.format(queues=address, streams=stream.url, journals=journals, granted=granted(journals))
        with daemon(folder, toml, {f"{name}.py": HANDLER for name in TRIGGERS}, start=False) as hub:
            hub.start(environ=killing.environ())
            _send(double, stream, report, 20)
            until(lambda: all(_handled(journals, name) == 20 for name in TRIGGERS), "both are at work")
            before = len(hub.log().splitlines())
            double.down = stream.down = True
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                _send(double, stream, report, 1)
                time.sleep(0.1)
            double.down = stream.down = False
            began = time.monotonic()
            until(lambda: _back(journals, report, began), "what had waited is handled")
            _judge(hub, journals, report, before)
            hub.stop()
    return report


def _send(double: SqsDouble, stream: Streams, report: Report, count: int) -> None:
    for _ in range(count):
        report.sent += 1
        double.do_SendMessage("orders", MessageBody=str(report.sent))
        stream.put("k", report.sent)


def _handled(journals: Path, name: str) -> int:
    path = journals / name
    return len(killing.read(path).numbers) if path.exists() else 0


def _back(journals: Path, report: Report, began: float) -> bool:
    for name in TRIGGERS:
        if name not in report.back and _handled(journals, name) == report.sent:
            report.back[name] = time.monotonic() - began
    return len(report.back) == len(TRIGGERS)


def _judge(hub: Daemon, journals: Path, report: Report, before: int) -> None:
    for name in TRIGGERS:
        journal = killing.read(journals / name)
        report.lost += report.sent - len(journal.numbers)
        report.repeated += journal.repeated
    until(lambda: all(not one.get("why") for one in hub.api("GET", "/api/v1/triggers")), "both are shown as well")
    report.lines = len(hub.log().splitlines()) - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), parser.parse_args().seconds)
    print(report)
    return 0 if report.well else 1


if __name__ == "__main__":
    sys.exit(main())
