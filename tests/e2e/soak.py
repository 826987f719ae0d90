"""Run the hub for long under an even load and see what grows: ``make soak MINUTES=20``.

Two hundred webhooks a second, each to a handler that notes when it began. Watched are the hub's memory,
descriptors and processes, its write-ahead log, and how long an event takes from its sending to its
handler. Exits with 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.daemon import Daemon, daemon, granted
from tests.e2e.toml import webhook

RATE = 200
SENDERS = 4
EVERY = 5.0
"""Seconds between two looks."""
WARM = 0.2
"""The part of the run that only warms up."""
MB = 1024 * 1024
TOML = """

[triggers.tick]
type = "cron"
schedule = "* * * * *"
function = "work"
""" + webhook("hook", "work")
WORK = """
import json, os, time

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def handler(event, context):
    now = time.time()
    print("working")
    if "body" in event:
        os.write(LEDGER, f"{json.loads(event['body'])['sent']} {now}\\n".encode())
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What the hub held at one moment."""

    at: float
    memory: int
    descriptors: int
    children: int
    workers: int
    log: int


@dataclass
class Told:
    """What the senders were answered."""

    accepted: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def look(hub: Daemon) -> Look:
    """Measure the hub's own process, and count those it says and those it has."""
    assert hub.process is not None
    pid = hub.process.pid
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    resident = int(rollup.split("Rss:")[1].split()[0]) * 1024
    children = sum(
        len(Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        for thread in os.listdir(f"/proc/{pid}/task")
    )
    workers = sum(row["workers"] for row in hub.api("GET", "/api/v1/functions"))
    log = hub.project / "var" / "hub.db-wal"
    return Look(time.time(), resident, len(os.listdir(f"/proc/{pid}/fd")), children, workers, log.stat().st_size)


def send(hub: Daemon, told: Told, until: float, rate: float) -> None:
    """POST at an even rate until the moment."""
    due = time.time()
    while (now := time.time()) < until:
        if now < due:
            time.sleep(due - now)
        due += 1 / rate
        try:
            status, _ = hub.post("/hook", json.dumps({"sent": time.time()}).encode())
        except OSError:
            status = 0
        with told.lock:
            told.accepted += status == 202
            told.refused += status != 202


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def soak(folder: Path, minutes: float) -> tuple[list[Look], list[tuple[float, float]], Told, dict[str, int]]:
    """Return the looks, (sent, begun) of every event, what was told and the hub's last counts."""
    ledger, told, looks = folder / "ledger", Told(), []
    toml = TOML + f'\n[functions.work]\nenv = {{ LEDGER = "{ledger}" }}\n' + granted(ledger)
    with daemon(folder, toml, {"work.py": WORK}) as hub:
        until = time.time() + minutes * 60
        senders = [
            threading.Thread(target=send, args=(hub, told, until, RATE / SENDERS), daemon=True) for _ in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        while time.time() < until:
            time.sleep(min(EVERY, max(0.1, until - time.time())))
            looks.append(look(hub))
        for sender in senders:
            sender.join(60)
        counts = hub.settled(120)
        assert hub.stop() == 0, hub.log()
    rows = [line.split() for line in ledger.read_text().splitlines()]
    return looks, sorted((float(sent), float(begun)) for sent, begun in rows), told, counts


def judge(looks: list[Look], events: list[tuple[float, float]], told: Told, counts: dict[str, int]) -> list[str]:
    """Print the table; return a sentence per broken bound."""
    warm = looks[int(len(looks) * WARM) :]
    grown = (max(one.memory for one in warm[-3:]) - statistics.median(one.memory for one in warm[:3])) / MB
    descriptors = [one.descriptors for one in warm]
    strays = max(one.children - one.workers for one in warm)
    log = max(one.log for one in looks) / MB
    delays = [begun - sent for sent, begun in events]
    tenth = max(1, len(delays) // 10)
    start = int(len(delays) * WARM)
    first, last = percentile(delays[start : start + tenth], 0.99), percentile(delays[-tenth:], 0.99)
    rows = [
        ("events accepted, handled", f"{told.accepted:,}, {len(events):,}", "the same", told.accepted <= len(events)),
        ("refused or cut", f"{told.refused:,}", "0", told.refused == 0),
        ("drift", str(counts["drift"]), "0", counts["drift"] == 0),
        ("memory grown after warm-up", f"{grown:+.1f} MB", "<= 5 MB", grown <= 5),
        ("memory at the end", f"{looks[-1].memory / MB:.1f} MB", "", True),
        ("descriptors", f"{min(descriptors)}-{max(descriptors)}", "+- 5", max(descriptors) - min(descriptors) <= 10),
        ("processes beyond workers", str(strays), "0", strays <= 0),
        ("write-ahead log", f"{log:.1f} MB", "<= 64 MB", log <= 64),
        ("p99 to the handler, first tenth", f"{first * 1000:.1f} ms", "", True),
        ("p99 to the handler, last tenth", f"{last * 1000:.1f} ms", "<= 1.25 x", last <= 1.25 * first),
    ]
    for name, value, bound, held in rows:
        print(f"{name:<34}{value:>20}   {bound:<10}{'' if held else '  BROKEN'}")
    return [f"{name}: {value}, expected {bound}" for name, value, bound, held in rows if not held]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broken = judge(*soak(Path(folder), options.minutes))
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
