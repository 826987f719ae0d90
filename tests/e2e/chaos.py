"""Kill the hub again and again under load, and compare three ledgers.

One is what senders were told (an id for every 202, a name for every file put down), one is what handlers
did, in which life of the hub, and one is what the hub says of every delivery; after each kill the database
tells what was claimed and not settled. Run as ``python -m tests.e2e.chaos --kills 200 --seed 7``: exits
with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.e2e.daemon import Daemon, daemon, granted, until

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
READY = 2.0
"""Seconds within which a hub with a long queue takes events again, as the median of its starts."""
QUEUED = 10_000
SLOWEST = 50
"""Files a second that the last hub runs at the least, on a busy machine: a guard, no promise."""
TOML = """
[defaults]
retry = { attempts = 3, initial = "100ms", max = "1s" }
env = { LEDGER = "LEDGER_PATH", LIFE = "THIS_LIFE" }
GRANTED
[functions.once]
idempotency = { key = "$.body.order" }

[triggers.hook]
type = "webhook"
path = "/hook"
auth = "none"
functions = ["work", "flaky", "once"]

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


def note(context, **more):
    line = {"id": context.aws_request_id, "life": int(os.environ["LIFE"]), **more}
    os.write(LEDGER, (json.dumps(line) + "\\n").encode())


def handler(event, context):
    if "Records" in event and "s3" in event["Records"][0]:
        note(context, file=event["Records"][0]["s3"]["object"]["key"])
    else:
        note(context)
    return "done"
"""
FLAKY = (
    WORK
    + """

def handler(event, context):
    note(context)
    if hash(context.aws_request_id) % 5 == 0:
        note(context, raised=True)
        raise ValueError("one in five, at random")
"""
)
ONCE = (
    WORK
    + """

def handler(event, context):
    note(context, order=json.loads(event["body"])["order"])
"""
)
HANDLERS = {"work.py": WORK, "flaky.py": FLAKY, "once.py": ONCE}


@dataclass
class Told:
    """What senders were told."""

    accepted: set[str] = field(default_factory=set)
    orders: dict[str, str] = field(default_factory=dict)
    """The idempotency key of each delivery that has one."""
    files: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Run:
    """What handlers noted of one delivery in one life of the hub."""

    began: int = 0
    raised: int = 0


@dataclass
class Ledger:
    """What handlers did."""

    runs: defaultdict[str, dict[int, Run]] = field(default_factory=lambda: defaultdict(dict))
    """By delivery, by life."""
    files: Counter[str] = field(default_factory=Counter)
    orders: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By idempotency key, the deliveries that ran."""

    @classmethod
    def read(cls, path: Path) -> Ledger:
        ledger = cls()
        for text in path.read_text().splitlines():
            line = json.loads(text)
            run = ledger.runs[line["id"]].get(line["life"], Run())
            raised = "raised" in line
            ledger.runs[line["id"]][line["life"]] = Run(run.began + (not raised), run.raised + raised)
            if "file" in line:
                ledger.files[line["file"]] += 1
            if "order" in line:
                ledger.orders[line["order"]].append(line["id"])
        return ledger

    def executions(self, delivery: str) -> int:
        return sum(run.began for run in self.runs.get(delivery, {}).values())


@dataclass
class Report:
    """What came of it."""

    seed: int
    told: Told
    rows: dict[str, dict[str, Any]]
    """What the hub says of every delivery."""
    ledger: Ledger
    drift: int = 0
    audit: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    held: dict[int, frozenset[str]] = field(default_factory=dict)
    """By life, what was claimed and not settled at its end."""
    starts: list[float] = field(default_factory=list)
    """Seconds from each start to ready."""

    def lost(self) -> list[str]:
        files = self.told.files - set(self.ledger.files)
        return sorted(one for one in self.told.accepted if one not in self.rows) + sorted(files)

    def stuck(self) -> list[str]:
        return [one for one, row in self.rows.items() if row["state"] not in ("succeeded", "dead")]

    def hollow(self) -> list[str]:
        """What succeeded and never ran; what an idempotency key answered must have run for that key."""

        def answered(one: str) -> bool:
            order = self.told.orders.get(one)
            return self.rows[one]["reason"] == "idempotent" and (order is None or order in self.ledger.orders)

        return [
            one
            for one, row in self.rows.items()
            if row["state"] == "succeeded" and not self.ledger.executions(one) and not answered(one)
        ]

    def repeated(self) -> list[str]:
        """What ran more than once though it had neither raised nor was claimed and not settled at a kill."""
        found = []
        for one, lives in self.ledger.runs.items():
            last = max(lives)
            for life, run in lives.items():
                again = run.began > 1 + run.raised
                later = life < last and run.raised < run.began and one not in self.held.get(life, ())
                if again or later:
                    found.append(one)
        for runs in self.ledger.orders.values():
            cut = [one for one in set(runs) if any(one in held for held in self.held.values())]
            if len(set(runs)) > 1 + len(cut):
                found += runs
        return sorted(set(found))

    def broken(self) -> list[str]:
        """One sentence per broken promise."""
        kinds = (
            (self.lost(), "accepted deliveries or files are not known any more"),
            (self.stuck(), "deliveries are stuck"),
            (self.hollow(), "deliveries succeeded without running"),
            (self.repeated(), "deliveries ran again that no kill had cut"),
        )
        found = [f"{len(those)} {what}: {those[:3]}" for those, what in kinds if those]
        if self.drift:
            found.append(f"the ledger drifts by {self.drift}")
        return found + self.audit

    def table(self) -> str:
        runs = [run for lives in self.ledger.runs.values() for run in lives.values()]
        began, raised = sum(run.began for run in runs), sum(run.raised for run in runs)
        extra = began - len(self.ledger.runs)
        hits = sum(row["reason"] == "idempotent" for row in self.rows.values())
        cut = sum(map(len, self.held.values()))
        rows = [
            ("kills", f"{sum(self.kills.values()):,}"),
            *((f"  {kind}", f"{self.kills[kind]:,}") for kind in (*POINTS, "random")),
            ("accepted: deliveries, files", f"{len(self.told.accepted):,}, {len(self.told.files):,}"),
            ("executions", f"{began:,}"),
            ("  beyond a delivery's first", f"{extra:,}, after {raised:,} failures and {cut:,} cut by a kill"),
            ("  answered by an idempotency key", f"{hits:,}"),
            ("lost", f"{len(self.lost()):,}"),
            ("stuck", f"{len(self.stuck()):,}"),
            ("drift", f"{self.drift:,}"),
            ("succeeded without running", f"{len(self.hollow()):,}"),
            ("ran again though no kill had cut it", f"{len(self.repeated()):,}"),
            ("from start to ready", f"p50 {statistics.median(self.starts):.2f} s, longest {max(self.starts):.2f} s"),
        ]
        return "\n".join(f"{name:<38}{value}" for name, value in rows)


def send_hooks(hub: Daemon, told: Told, stop: threading.Event, rate: float) -> None:
    """POST at *rate* a second; only a 202 counts as accepted."""
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        try:
            # Every third order is sent again a little later.
            order = str(number if number % 3 else number - 8)
            status, body = hub.post("/hook", json.dumps({"order": order, "pad": "x" * 200}).encode())
        except OSError:
            continue
        if status == 202:
            deliveries = json.loads(body)["deliveries"]
            with told.lock:
                told.accepted.update(deliveries)
                told.orders.update(dict.fromkeys(deliveries, order))


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


def deck(draw: random.Random) -> list[str]:
    """Every named point once and three moments, shuffled: each comes as often as the others."""
    cards = [*POINTS, "random", "random", "random"]
    draw.shuffle(cards)
    return cards


def one_life(hub: Daemon, draw: random.Random, point: str, starts: list[float]) -> str:
    """Start the hub, let it die at a point or at a moment, and say which."""
    environ = {}
    if point != "random":
        environ = {"TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(draw.randint(1, 40))}
        if point.startswith("during-"):
            environ["TRIGGERHUB_CRASH_AFTER"] = "1"
    began = time.monotonic()
    hub.start(ready=False, environ=environ)
    until(lambda: not hub.alive or hub.is_ready(), "the hub is ready or dead")
    if hub.alive:
        starts.append(time.monotonic() - began)
    if hub.alive and point == "during-reload":
        hub.project.joinpath("handlers", "extra.py").write_text(
            f"def handler(event, context):\n    return {draw.random()}\n"
        )
    if hub.alive and point == "during-drain":
        assert hub.process is not None
        hub.process.terminate()
    deadline = time.monotonic() + (draw.uniform(0.05, 0.6) if point == "random" else 15.0)
    while hub.alive and time.monotonic() < deadline:
        time.sleep(0.005)
    if hub.alive:
        hub.kill()
        return "random"
    return point


def held(project: Path) -> frozenset[str]:
    """Ask the database of a killed hub what was claimed and not settled; nothing is written to it."""
    with closing(sqlite3.connect(f"file:{project}/var/hub.db?mode=ro", uri=True)) as db:
        lanes = db.execute("SELECT function, trigger FROM tally WHERE entry = 'running'").fetchall()
        query = "SELECT id FROM delivery WHERE function = ? AND trigger = ? AND state = 1"
        return frozenset(row[0] for lane in lanes for row in db.execute(query, lane))


def rampage(project: Path, kills: int, seed: int, rate: float = 200.0) -> Report:
    """Run *kills* lives and a last one that may finish; return all ledgers."""
    draw = random.Random(seed)
    ledger = project / "ledger.jsonl"
    (project / "drop").mkdir()
    toml = TOML.replace("LEDGER_PATH", str(ledger)).replace("GRANTED", granted(ledger))
    stop, cards = threading.Event(), list[str]()
    report = Report(seed, Told(), {}, Ledger())
    with daemon(project, toml.replace("THIS_LIFE", "0"), HANDLERS, start=False) as hub:
        hub.start()  # the first start takes the inventory of the folder
        hub.kill()
        report.kills["random"] += 1
        senders = [
            threading.Thread(target=target, args=(hub, report.told, stop, rate / 3), daemon=True)
            for target in (send_hooks, send_topic, put_files)
        ]
        for sender in senders:
            sender.start()
        for life in range(1, kills):
            cards = cards or deck(draw)
            hub.write(toml.replace("THIS_LIFE", str(life)))
            report.kills[one_life(hub, draw, cards.pop(), report.starts)] += 1
            report.held[life] = held(project)
        stop.set()
        for sender in senders:
            sender.join(30)
        hub.write(toml.replace("THIS_LIFE", str(kills)))
        hub.start()
        hub.settled(300)
        with ledger.open("rb") as lines:
            # What is new is read, and no more: a long ledger takes a minute.
            ran: set[str] = set()
            # Of a thousand short lives most files are left: no hub lived to the end of its list.
            within = 120 + len(report.told.files) / SLOWEST
            until(lambda: report.told.files <= further(ran, lines), "every file has run", within)
        report.drift = hub.settled(300)["drift"]
        report.rows = {row["id"]: row for row in hub.deliveries()}
        report.audit = hub.api("GET", "/api/v1/audit")
        code = hub.stop()
        assert code == 0, hub.log()
    report.ledger = Ledger.read(ledger)
    return report


def further(ran: set[str], ledger: IO[bytes]) -> set[str]:
    """Add to the files that ran those that further lines of a ledger name; one that is being written comes later."""
    found = ledger.read()
    whole = found[: found.rfind(b"\n") + 1]
    ledger.seek(len(whole) - len(found), os.SEEK_CUR)
    ran.update(json.loads(line)["file"] for line in whole.splitlines() if b'"file"' in line)
    return ran


def crowded(project: Path, queued: int, times: int = 5) -> list[float]:
    """Kill a hub that has *queued* deliveries, again and again; return the seconds from each start to ready."""
    toml = '[functions.stay]\ntimeout = "15m"\n[triggers.topic]\ntype = "queue"\nname = "topic"\nfunction = "stay"\n'
    took = []
    with daemon(
        project, toml, {"stay.py": "import time\n\ndef handler(event, context):\n    time.sleep(3600)\n"}
    ) as hub:

        def fill(count: int) -> None:
            for _ in range(count):
                hub.api("POST", "/api/v1/triggers/topic/send", b"hello")

        senders = [threading.Thread(target=fill, args=(queued // 8 + 1,), daemon=True) for _ in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(600)
        counts = hub.counts()
        assert counts["queued"] + counts["running"] >= queued, counts
        for _ in range(times):
            hub.kill()
            began = time.monotonic()
            hub.start()
            took.append(time.monotonic() - began)
        assert hub.counts()["drift"] == 0
        hub.kill()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--queued", type=int, default=QUEUED, help="so many wait where the start is timed")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = rampage(Path(folder), options.kills, options.seed)
    print(report.table(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        took = crowded(Path(folder), options.queued)
    times = ", ".join(f"{one:.2f}" for one in took)
    print(f"{f'ready with {options.queued:,} queued':<38}{times} s after each start")
    found = report.broken() + never(report.kills, options.kills)
    if statistics.median(took) > READY:
        found.append(
            f"ready after {statistics.median(took):.2f} s with {options.queued:,} queued, expected {READY:.0f}"
        )
    for sentence in found:
        print(f"BROKEN: {sentence}")
    return 1 if found else 0


def never(kills: Counter[str], count: int) -> list[str]:
    """Name the points at which the hub never died though there were kills enough: then nothing was tried there."""
    if count < 2 * (len(POINTS) + 3):
        return []
    return [f"no kill came at {point}" for point in POINTS if not kills[point]]


if __name__ == "__main__":
    sys.exit(main())
