"""Set the clock of a running hub, freeze it and thaw it, and take it through the nights on which clocks change.

``make clocks``. The clock is set by libfaketime (Debian, Ubuntu: apt install libfaketime); without it that
part is skipped with a word. Exits with 1 when a call was timed out for it, or a slot did not come once.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.daemon import Daemon, daemon, granted, until
from tests.e2e.sheet import Sheet
from tests.e2e.toml import webhook

HOUR, DAY = 3600, 86400
STEPS = (HOUR, -HOUR, HOUR, DAY, -HOUR)
FROZEN = 2.5
"""Seconds; more than the handler's timeout."""
TOML = (
    """
[defaults]
timeout = "2s"
GRANTEDretry = { attempts = 1 }
"""
    + webhook("hook", "linger")
    + webhook("ask", "linger", answers=True)
)
LINGER = """
import pathlib, time

def handler(event, context):
    pathlib.Path({began!r}, context.aws_request_id).touch()
    time.sleep(1)
    return "well"
"""
CRON = """
[triggers.{name}]
type = "cron"
schedule = "{schedule}"
timezone = "{zone}"
missed = "{missed}"
function = "tick"
"""
TICK = "def handler(event, context):\n    return event['time']\n"
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A schedule at a fixed time of day that clocks leave out, or show twice."""

    name: str
    zone: str
    schedule: str
    fires: str
    """When it fires in UTC: a time that is left out at the end of the gap, one that is shown twice the first time."""
    silent: str
    """When it would fire if the rule were another."""


NIGHTS = (
    Fixed("york-gap", NEW_YORK, "30 2 * * *", "2026-03-08T07:00", "2026-03-08T07:30"),
    Fixed("berlin-gap", BERLIN, "30 2 * * *", "2026-03-29T01:00", "2026-03-29T01:30"),
    Fixed("howe-twice", LORD_HOWE, "45 1 * * *", "2026-04-04T14:45", "2026-04-04T15:15"),
    Fixed("howe-gap", LORD_HOWE, "15 2 * * *", "2026-10-03T15:30", "2026-10-03T15:45"),
    Fixed("berlin-twice", BERLIN, "30 2 * * *", "2026-10-25T00:30", "2026-10-25T01:30"),
    Fixed("york-twice", NEW_YORK, "30 1 * * *", "2026-11-01T05:30", "2026-11-01T06:30"),
)


def library() -> Path | None:
    """Find libfaketime."""
    return next(iter(sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))), None)


@dataclass
class Hands:
    """The hands of a hub's clock; its monotonic clock is left alone, as by a real step."""

    folder: Path
    offset: float = 0.0
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "offset"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.step(0)

    def step(self, seconds: float) -> None:
        self.offset += seconds
        (self.folder / "draft").write_text(f"{self.offset:+.3f}")
        (self.folder / "draft").rename(self.folder / "offset")

    def set(self, moment: datetime) -> None:
        self.step(moment.timestamp() - self.now())

    def now(self) -> float:
        return time.time() + self.offset


def slots(hub: Daemon, trigger: str) -> list[datetime]:
    """Return the slots that fired, the oldest first; each row is a delivery, so a slot that fired twice is there twice."""
    return sorted(datetime.fromisoformat(row["dedup_key"].split(":", 2)[2]) for row in hub.deliveries(trigger=trigger))


class Asker:
    """Posts in the background and keeps what was answered."""

    def __init__(self, hub: Daemon) -> None:
        self._hub = hub
        self._threads: list[threading.Thread] = []
        self.answers: list[int] = []

    def post(self, path: str) -> None:
        def ask() -> None:
            self.answers.append(self._hub.post(path, b"{}")[0])

        self._threads.append(threading.Thread(target=ask))
        self._threads[-1].start()

    def all(self) -> str:
        """Wait for every answer; return how many there were of each status."""
        for thread in self._threads:
            thread.join(60)
        return ", ".join(f"{self.answers.count(status)} x {status}" for status in sorted(set(self.answers)))


@contextmanager
def started(folder: Path, toml: str, environ: dict[str, str] | None = None):
    """A hub whose handler takes a second and says when it began."""
    project, began = folder / "project", folder / "began"
    project.mkdir()
    began.mkdir()
    handlers = {"linger.py": LINGER.replace("{began!r}", repr(str(began))), "tick.py": TICK}
    toml = toml.replace("GRANTED", granted(began))
    with daemon(project, toml, handlers, start=False) as hub:
        hub.start(environ=environ)
        yield hub, lambda: len(list(began.iterdir()))


def under_way(asker: Asker, began: Callable[[], int]) -> None:
    """Have a call that waits for its answer and one from the queue run."""
    before = began()
    asker.post("/ask")
    asker.post("/hook")
    until(lambda: began() == before + 2, "both calls run")


def states(hub: Daemon, trigger: str) -> str:
    found = Counter(row["state"] for row in hub.deliveries(trigger=trigger))
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items()))


def set_back_and_forth(folder: Path, sheet: Sheet, steps: Sequence[int] = STEPS) -> None:
    """Step the clock while calls run, and a schedule for each way to deal with missed slots."""
    policies = ("all", "once", "skip")
    cron = "".join(CRON.format(name=one, schedule="*/5 * * * *", zone="UTC", missed=one) for one in policies)
    hands = Hands(folder)
    with started(folder, TOML + cron, hands.environ) as (hub, began):
        asker, first, last = Asker(hub), datetime.fromtimestamp(hands.now(), UTC), 0.0
        for step in steps:
            under_way(asker, began)
            hands.step(step)
            asker.all()
            last = max(last, hands.now())
            due = datetime.fromtimestamp(last // 300 * 300, UTC)
            if due > first:
                until(lambda due=due: due in slots(hub, "all") and due in slots(hub, "once"), f"the slot {due} came")
        hub.settled()
        every = slots(hub, "all")
        expected = [first.replace(minute=0, second=0, microsecond=0) + timedelta(minutes=5 * n) for n in range(2000)]
        expected = [one for one in expected if first < one and one <= every[-1]]
        name = ", ".join(f"{step // HOUR:+} h" for step in steps)
        sheet.same(f"the clock set by {name}: answers", asker.all(), f"{len(steps)} x 200, {len(steps)} x 202")
        sheet.same("  queued calls", states(hub, "hook"), f"{len(steps)} succeeded")
        sheet.row("  slots, all missed ones made up for", len(every), f"{len(expected)}, once", held=every == expected)
        once, skip = slots(hub, "once"), slots(hub, "skip")
        forward = sum(step > 0 for step in steps)
        sheet.row("  slots, the newest missed one", len(once), f"<= {2 * forward}, once", held=len(once) <= 2 * forward)
        sheet.row("  slots, missed ones skipped", len(skip), f"<= {forward}, once", held=len(skip) <= forward)
        twice = len(once) - len(set(once)) + len(skip) - len(set(skip))
        sheet.same("  slots that came twice", twice, 0)
        sheet.same("  drift", hub.counts()["drift"], 0)
        assert hub.stop() == 0, hub.log()


def changing_nights(folder: Path, sheet: Sheet, nights: Sequence[Fixed] = NIGHTS) -> None:
    """Take one hub to each moment at which a fixed time fires, and to the one at which it must not."""
    cron = CRON.format(name="quarters", schedule="*/15 * * * *", zone="UTC", missed="skip")
    cron += "".join(CRON.format(name=one.name, schedule=one.schedule, zone=one.zone, missed="skip") for one in nights)
    hands = Hands(folder)
    hands.set(datetime.fromisoformat(nights[0].fires).replace(tzinfo=UTC) - timedelta(days=1))
    with started(folder, TOML + cron, hands.environ) as (hub, _):
        for night in nights:
            for text, fires in ((night.fires, True), (night.silent, False)):
                moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
                before = slots(hub, night.name)
                hands.set(moment - timedelta(seconds=2))
                # Every quarter comes whatever clocks do: once it is there, the other had its time.
                until(lambda moment=moment: moment in slots(hub, "quarters"), f"the quarter {moment} came", 30)
                hub.settled()
                came = [f"{one:%H:%M}" for one in slots(hub, night.name) if one not in before]
                zone = night.zone.rpartition("/")[2]
                name = f"{zone}, {night.schedule.rpartition(' * * *')[0]}, {moment:%d %b %H:%M}Z"
                sheet.same(name, ",".join(came) or "nothing", f"{moment:%H:%M}" if fires else "nothing")
        quarters = slots(hub, "quarters")
        sheet.same("quarters of an hour that came, for each night two", len(set(quarters)), 2 * len(nights))
        sheet.same("  that came twice", len(quarters) - len(set(quarters)), 0)
        assert hub.stop() == 0, hub.log()


def frozen_and_thawed(folder: Path, sheet: Sheet) -> None:
    """Stop the hub, and then the hub with its workers, for longer than the handler may take."""
    with started(folder, TOML) as (hub, began):
        assert hub.process is not None
        asker, pid = Asker(hub), hub.process.pid
        for with_workers in (False, True):
            under_way(asker, began)
            workers = [one for one in children(pid) if with_workers]
            for one in (pid, *workers):
                os.kill(one, signal.SIGSTOP)
            for _ in range(10):
                asker.post("/hook")
            if not with_workers:
                second = hub.cli("run")
                sheet.same("a second hub on a frozen one's data exits with", second.returncode, 3)
                sheet.row("  and names", f"process {pid}", "it", held=f"process {pid}" in second.stderr)
            time.sleep(FROZEN)
            os.kill(pid, signal.SIGCONT)
            if workers:
                until(hub.is_ready, "the hub is back")
                time.sleep(0.5)
                for one in workers:
                    with suppress(ProcessLookupError):  # the hub has taken it for late, and ended it
                        os.kill(one, signal.SIGCONT)
            asker.all()
            hub.settled()
        sheet.same("frozen for longer than the timeout: answers", asker.all(), "2 x 200, 22 x 202")
        sheet.same("  queued calls", states(hub, "hook"), "22 succeeded")
        sheet.same("  most attempts of one", max(row["attempts"] for row in hub.deliveries()), 1)
        sheet.same("  drift", hub.counts()["drift"], 0)
        assert hub.stop() == 0, hub.log()


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def main() -> int:
    sheet = Sheet()
    parts = [frozen_and_thawed]
    if library() is None:
        print("skipped: the clock is not set, for libfaketime is missing (Debian, Ubuntu: apt install libfaketime)")
    else:
        parts += [set_back_and_forth, changing_nights]
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder), sheet)
    return sheet.code()


if __name__ == "__main__":
    sys.exit(main())
