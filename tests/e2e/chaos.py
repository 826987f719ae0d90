"""Kill the hub again and again under load, and compare two ledgers.

One ledger is what senders were told (an id for every 202, a name for every file put down); the
other is what handlers did and what the hub says of every delivery. Run as
``python -m tests.e2e.chaos --kills 200 --seed 7``: exits with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.daemon import Daemon, daemon, until

POINTS = (
    "after-receive",
    "inside-commit",
    "after-commit",
    "after-claim",
    "mid-handler",
    "between-handler-and-settle",
    "inside-settle",
    "during-reload",
    "during-drain",
)
TOML = """
[defaults]
retry = { attempts = 3, initial = "100ms", max = "1s" }

[functions.work]
env = { LEDGER = "LEDGER_PATH" }
[functions.flaky]
env = { LEDGER = "LEDGER_PATH" }

[triggers.hook]
type = "webhook"
path = "/hook"
auth = "none"
functions = ["work", "flaky"]

[triggers.drop]
type = "files"
path = "drop"
settle = "100ms"
reconcile = "5s"
function = "work"

[triggers.topic]
type = "queue"
name = "topic"
function = "work"
"""
WORK = """
import json, os

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def handler(event, context):
    name = None
    if "Records" in event and "s3" in event["Records"][0]:
        name = event["Records"][0]["s3"]["object"]["key"]
    os.write(LEDGER, (json.dumps({"id": context.aws_request_id, "file": name}) + "\\n").encode())
    return "done"
"""
FLAKY = (
    WORK
    + """

_done = handler


def handler(event, context):
    _done(event, context)
    if hash(context.aws_request_id) % 5 == 0:
        raise ValueError("one in five, at random")
"""
)


@dataclass
class Told:
    """What senders were told."""

    accepted: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Report:
    """What came of it."""

    seed: int
    kills: Counter[str]
    told: Told
    rows: dict[str, dict[str, object]]
    executions: Counter[str]
    files: Counter[str]
    lost_by_hub: int
    drift: int
    audit: list[str]

    def broken(self) -> list[str]:
        """One sentence per broken promise."""
        found = []
        if lost := [one for one in self.told.accepted if one not in self.rows]:
            found.append(f"{len(lost)} accepted deliveries are not known any more: {lost[:3]}")
        if missed := self.told.files - set(self.files):
            found.append(f"{len(missed)} files never ran: {sorted(missed)[:3]}")
        stuck = [one for one, row in self.rows.items() if row["state"] not in ("succeeded", "dead")]
        if stuck:
            found.append(f"{len(stuck)} deliveries are stuck: {stuck[:3]}")
        hollow = [one for one, row in self.rows.items() if row["state"] == "succeeded" and not self.executions[one]]
        if hollow:
            found.append(f"{len(hollow)} deliveries succeeded without running: {hollow[:3]}")
        if self.drift:
            found.append(f"the ledger drifts by {self.drift}")
        return found + self.audit

    def table(self) -> str:
        extra = sum(max(0, count - 1) for count in self.executions.values())
        lines = [
            f"seed {self.seed}",
            f"kills {sum(self.kills.values())}: " + ", ".join(f"{k} {v}" for k, v in sorted(self.kills.items())),
            f"told accepted {len(self.told.accepted)} deliveries and {len(self.told.files)} files",
            f"executions {sum(self.executions.values())}, of them {extra} beyond the first (retries and kills)",
            f"lost {sum(one not in self.rows for one in self.told.accepted) + len(self.told.files - set(self.files))}, stuck {sum(row['state'] not in ('succeeded', 'dead') for row in self.rows.values())}, drift {self.drift}",
        ]
        return "\n".join(lines)


def send_hooks(hub: Daemon, told: Told, stop: threading.Event, rate: float) -> None:
    """POST at *rate* a second; only a 202 counts as accepted."""
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        try:
            status, body = hub.post("/hook", json.dumps({"n": number, "pad": "x" * 200}).encode())
        except OSError:
            continue
        if status == 202:
            with told.lock:
                told.accepted.update(json.loads(body)["deliveries"])


def send_topic(hub: Daemon, told: Told, stop: threading.Event, rate: float) -> None:
    """Send to the queue through the admin API."""
    while not stop.wait(1 / rate):
        try:
            status, body = hub.api("POST", "/api/v1/triggers/topic/send", b"hello", raw=True, timeout=10)
        except OSError:
            continue
        if status < 300:
            with told.lock:
                told.accepted.update(json.loads(body)["deliveries"])


def put_files(hub: Daemon, told: Told, stop: threading.Event, rate: float) -> None:
    """Put files down, half of them by rename."""
    folder = hub.project / "drop"
    folder.mkdir(exist_ok=True)
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        name = f"{number:06d}.txt"
        if number % 2:
            (folder / f".{name}").write_text("whole")
            (folder / f".{name}").rename(folder / name)
        else:
            (folder / name).write_text("whole")
        told.files.add(name)


def one_life(hub: Daemon, draw: random.Random) -> str:
    """Start the hub, let it die at a point or at a moment, and say which."""
    point = draw.choice((*POINTS, "random", "random", "random"))
    environ = {}
    if point != "random":
        environ = {"TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(draw.randint(1, 40))}
        if point.startswith("during-"):
            environ["TRIGGERHUB_CRASH_AFTER"] = "1"
    hub.start(ready=False, environ=environ)
    until(lambda: not hub.alive or hub.is_ready(), "the hub is ready or dead")
    if hub.alive and point == "during-reload":
        hub.project.joinpath("handlers", "extra.py").write_text(
            f"def handler(event, context):\n    return {draw.random()}\n"
        )
    if hub.alive and point == "during-drain":
        assert hub.process is not None
        hub.process.terminate()
    deadline = time.monotonic() + (draw.uniform(0.05, 0.6) if point == "random" else 3.0)
    while hub.alive and time.monotonic() < deadline:
        time.sleep(0.005)
    if hub.alive:
        hub.kill()
        return "random"
    return point


def rampage(project: Path, kills: int, seed: int, rate: float = 200.0) -> Report:
    """Run *kills* lives and a last one that may finish; return both ledgers."""
    draw = random.Random(seed)
    ledger = project / "ledger.jsonl"
    ledger.touch()
    (project / "drop").mkdir()
    told, stop, how = Told(), threading.Event(), Counter[str]()
    with daemon(
        project, TOML.replace("LEDGER_PATH", str(ledger)), {"work.py": WORK, "flaky.py": FLAKY}, start=False
    ) as hub:
        hub.start()  # the first start takes the inventory of the folder
        hub.kill()
        how["random"] += 1
        senders = [
            threading.Thread(target=target, args=(hub, told, stop, rate / 3), daemon=True)
            for target in (send_hooks, send_topic, put_files)
        ]
        for sender in senders:
            sender.start()
        for _ in range(kills - 1):
            how[one_life(hub, draw)] += 1
        stop.set()
        for sender in senders:
            sender.join(30)
        hub.start()
        hub.settled(300)
        until(lambda: told.files <= set(executed(ledger)[1]), "every file has run", 120)
        counts = hub.settled(300)
        rows = {row["id"]: row for row in hub.deliveries()}
        audit = hub.api("GET", "/api/v1/audit")
        code = hub.stop()
        assert code == 0, hub.log()
    executions, files = executed(ledger)
    return Report(
        seed=seed,
        kills=how,
        told=told,
        rows=rows,
        executions=executions,
        files=files,
        lost_by_hub=0,
        drift=counts["drift"],
        audit=audit,
    )


def executed(ledger: Path) -> tuple[Counter[str], Counter[str]]:
    """Count what handlers wrote: by delivery, and by file."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines() if line.endswith("}")]
    return Counter(line["id"] for line in lines), Counter(line["file"] for line in lines if line["file"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = rampage(Path(folder), options.kills, options.seed)
    print(report.table())
    for sentence in report.broken():
        print(f"BROKEN: {sentence}")
    return 1 if report.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
