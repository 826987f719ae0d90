"""Flood a hub, let functions hang and die, take its descriptors: what is accepted is done, and nobody else suffers.

``make floods MINUTES=10``. Exits with 1 when a bound is broken; the ratio of times is only judged here, never
by the suite: it needs a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import resource
import socket
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

from tests.e2e.chaos import held
from tests.e2e.daemon import GUARD, Daemon, daemon, granted, until
from tests.e2e.sheet import Sheet
from tests.e2e.soak import percentile
from tests.e2e.toml import webhook

MB = 1024 * 1024
RUNS = """
import os

RUNS = os.open({runs!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def ran(context):
    os.write(RUNS, (context.aws_request_id + "\\n").encode())
"""


@dataclass
class Client:
    """One connection that is kept; it is made anew when it was cut."""

    port: int
    connection: http.client.HTTPConnection | None = None

    def post(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, str | None]:
        """Return the status, the body and Retry-After. OSError where there was no answer."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD)
        try:
            self.connection.request("POST", path, b"{}", {"Content-Type": "application/json", **(headers or {})})
            answer = self.connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        if answer.will_close:
            self.close()
        return answer.status, body, answer.getheader("retry-after")

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def threads(count: int, target: Callable[[], None]) -> Iterator[None]:
    """Run *target* so many times at once; leaving waits for all."""
    made = [threading.Thread(target=target, daemon=True) for _ in range(count)]
    for one in made:
        one.start()
    yield
    for one in made:
        one.join(300)
        assert not one.is_alive()


def resident(hub: Daemon) -> int:
    assert hub.process is not None
    rollup = Path(f"/proc/{hub.process.pid}/smaps_rollup").read_text()
    return int(rollup.split("Rss:")[1].split()[0]) * 1024


def busy(hub: Daemon, seconds: float) -> float:
    """Return the part of a core that the hub takes."""
    assert hub.process is not None
    stat = Path(f"/proc/{hub.process.pid}/stat")

    def taken() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = taken(), time.monotonic()
    time.sleep(seconds)
    return (taken() - before) / (time.monotonic() - began)


# neighbours


def hung_neighbour(folder: Path, sheet: Sheet, rounds: int = 20, calls: int = 500) -> None:
    """Time the calls of one function while another hangs on all of its workers, and while it does not, in turn.

    Rounds are short and many, and their medians are compared: whatever else the machine does spoils some of them,
    of either kind. How far the rounds without a hung function are from one another says what a ratio is worth.
    """
    gates = folder / "gates"
    gates.mkdir()
    toml = (
        '[functions.hang]\ntimeout = "15m"\n'
        + granted(gates)
        + webhook("hang", "hang")
        + webhook("quick", "quick", answers=True)
    )
    gate = gates / "gate"
    # Waits in the kernel: one that looks every now and then takes the processor from those that are measured.
    hang = f"""
        import fcntl
        def handler(event, context):
            with open({str(gate)!r}) as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
    """
    handlers = {"hang.py": textwrap.dedent(hang), "quick.py": "def handler(event, context):\n    return 1\n"}
    late: dict[bool, list[float]] = {True: [], False: []}
    with daemon(folder / "project", toml, handlers) as hub, Client(hub.listen) as client, gate.open("w") as shut:
        gate.chmod(0o644)
        # Each round without a hung function stands between two with one, and the other way round.
        for hangs in [False, True, True, False] * (rounds // 2):
            if hangs:
                fcntl.flock(shut, fcntl.LOCK_EX)
                for _ in range(200):
                    assert client.post("/hang")[0] == 202
                until(lambda: hub.counts()["running"] >= 4, "it hangs on all of its workers", 10)
            late[hangs].append(percentile([timed(client) for _ in range(calls)], 0.99) * 1000)
            fcntl.flock(shut, fcntl.LOCK_UN)
            hub.settled()
    alone, beside = (median(late[hangs]) for hangs in (False, True))
    low, _, high = quantiles(late[False], n=4)
    sheet.row(f"p99 of {calls} calls, no other function", f"{alone:.2f} ms")
    sheet.row(f"  the middle half of {rounds} rounds", f"{low:.2f} to {high:.2f} ms")
    sheet.row("p99, another function hung on all its workers", f"{beside:.2f} ms")
    sheet.row("  ratio of the medians", f"{beside / alone:.2f}", "<= 1.2", held=beside <= 1.2 * alone)


def timed(client: Client) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    assert client.post("/quick")[0] == 200
    return time.perf_counter() - began


POISONS = {
    "segfault": ("import ctypes\n    ctypes.string_at(0)", "Runtime.ExitError", "signal: segmentation fault"),
    "memory": ("kept = [bytearray(b'x' * (16 << 20)) for _ in range(64)]", "Runtime.OutOfMemory", "signal: killed"),
    "late": ("import time\n    time.sleep(60)", "Sandbox.Timedout", "timed out after 1.00 seconds"),
    "silent": ("os._exit(0)", "Runtime.ExitError", "without providing a reason"),
}
# Where the kernel refuses the handler memory before the hub finds that it has too much.
REFUSED = ("MemoryError", "")
ATTEMPTS = 2


def poisonous(folder: Path, sheet: Sheet, events: int = 5) -> None:
    """Send events to functions that kill their worker, while a neighbour is called evenly."""
    project, runs = folder / "project", folder / "runs"
    runs.mkdir()
    toml = f'[defaults]\nmemory = "128MB"\nretry = {{ attempts = {ATTEMPTS}, initial = "100ms" }}\n' + granted(runs)
    handlers = {"well.py": "def handler(event, context):\n    return 1\n"}
    for name, (deed, _, _) in POISONS.items():
        # The others are not to be late on a busy machine.
        toml += f'[functions.{name}]\ntimeout = "{"1s" if name == "late" else "30s"}"\n' + webhook(name, name)
        note = RUNS.replace("{runs!r}", repr(str(runs / name)))
        handlers[f"{name}.py"] = f"{note}\n\ndef handler(event, context):\n    ran(context)\n    {deed}\n"
    toml += webhook("well", "well")
    with daemon(project, toml, handlers) as hub, Client(hub.listen) as client:
        sent = 0
        for _ in range(events):
            for name in POISONS:
                assert client.post(f"/{name}")[0] == 202
        while (counts := hub.counts())["queued"] + counts["running"] > 0:
            assert client.post("/well")[0] == 202
            sent += 1
            time.sleep(0.02)
            assert sent < 50 * GUARD, counts
        hub.settled()
        levels = {row["name"]: row["level"] for row in hub.api("GET", "/api/v1/functions")}
        sheet.row("poison, its functions run at the level", ", ".join(sorted({str(levels[name]) for name in POISONS})))
        for name, (_, kind, word) in POISONS.items():
            rows = hub.deliveries(function=name)
            ran = len((runs / name).read_text().splitlines())
            told = {(row["state"], row["attempts"], (row["error"] or {}).get("type")) for row in rows}
            ends = [(kind, word)] + [REFUSED] * (name == "memory")
            right = told <= {("dead", ATTEMPTS, one) for one, _ in ends} and all(
                any(row["error"]["type"] == one and text in row["error"]["message"] for one, text in ends)
                for row in rows
            )
            sheet.row(f"{name}: {len(rows)} events, runs", ran, str(events * ATTEMPTS), held=ran == events * ATTEMPTS)
            sheet.row("  all dead of", kind if right else str(told), kind, held=right)
        rows = hub.deliveries(function="well")
        well = sum((row["state"], row["attempts"]) == ("succeeded", 1) for row in rows)
        sheet.row("  a neighbour's events, at the first attempt", well, str(sent), held=well == sent)
        sheet.same("  drift", hub.counts()["drift"], 0)
        assert hub.stop() == 0, hub.log()


# floods


@dataclass
class Tally:
    """What clients were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    hastes: int = 0
    """Refusals without a Retry-After of at least a second."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, status: int, retry: str | None = "1") -> None:
        with self.lock:
            self.statuses[status] += 1
            self.hastes += status == 429 and (retry is None or int(retry) < 1)


def overloaded(folder: Path, sheet: Sheet, seconds: float, backlog: int = 500, senders: int = 8) -> None:
    """Send ten times what the workers can do; what is not refused is done, and the hub does not grow."""
    pause, concurrency = 0.05, 2
    capacity = concurrency / pause
    toml = f"[functions.work]\nconcurrency = {concurrency}\n" + webhook("work", "work", f"backlog = {backlog}")
    work = f"import time\n\ndef handler(event, context):\n    time.sleep({pause})\n"
    with daemon(folder / "project", toml, {"work.py": work}) as hub:
        tally, stop = Tally(), threading.Event()

        def send() -> None:
            due = time.monotonic()
            with Client(hub.listen) as client:
                while not stop.is_set():
                    due += senders / (10 * capacity)
                    time.sleep(max(0.0, due - time.monotonic()))
                    try:
                        status, _, retry = client.post("/work")
                    except OSError:
                        status, retry = 0, "1"
                    tally.add(status, retry)

        looks: list[int] = []
        began = time.monotonic()
        with threads(senders, send):
            until(lambda: tally.statuses[429], "the backlog is full", 120)
            while time.monotonic() - began < seconds:
                time.sleep(min(1.0, seconds))
                looks.append(resident(hub))
            took = time.monotonic() - began
            stop.set()
        counts = hub.settled(120)
        sent = sum(tally.statuses.values())
        memory = [f"{one / MB:.0f}" for one in (looks[0], looks[len(looks) // 2], looks[-1])]
        grown = (max(looks[-3:]) - looks[0]) / MB
        sheet.row("overload: seconds, events", f"{took:.0f}, {sent:,}")
        sheet.row("  times what the workers can do", f"{sent / took / capacity:.1f}", "about 10")
        sheet.row("  answered 202, 429", f"{tally.statuses[202]:,}, {tally.statuses[429]:,}", "nothing else",
                  held=set(tally.statuses) == {202, 429})  # fmt: skip
        sheet.same("  429 without Retry-After", tally.hastes, 0)
        settled = counts["succeeded"]
        sheet.row("  accepted, done", f"{counts['accepted']:,}, {settled:,}", "as answered",
                  held=counts["accepted"] == settled == tally.statuses[202])  # fmt: skip
        sheet.same("  drift", counts["drift"], 0)
        sheet.row("  memory with a full backlog: at first, midway, last", f"{', '.join(memory)} MB")
        # SQLite keeps up to 16 MB of pages, and takes them as the history grows.
        sheet.row("  grown", f"{grown:+.1f} MB", "<= 32 MB", held=grown <= 32)
        assert hub.stop() == 0, hub.log()


def few_descriptors(folder: Path, sheet: Sheet, clients: int = 500, seconds: float = 3.0) -> None:
    """Have more clients than the hub has descriptors, by its own bound and where even that is too many."""
    toml = "[defaults]\nretry = { attempts = 1 }\n" + webhook("ask", "ask", answers=True)
    toml += webhook("hook", "hook") + webhook("fresh", "fresh")
    plain = "def handler(event, context):\n    return 1\n"
    handlers = {"ask.py": plain, "hook.py": plain, "fresh.py": plain}
    with daemon(folder / "project", toml, handlers, start=False) as hub:
        hub.start(under=("prlimit", "--nofile=256:256"))
        assert hub.process is not None
        with Client(hub.listen) as client:
            assert client.post("/ask")[0] == 200
        for limit in (256, len(os.listdir(f"/proc/{hub.process.pid}/fd")) + 20):
            resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE, (limit, 256))
            silent = [connected(hub.listen) for _ in range(clients)]
            share = busy(hub, seconds)
            for one in silent:
                one.close()
            began = time.monotonic()
            with Client(hub.listen) as client:
                until(lambda client=client: answered(client, "/ask") == 200, "it answers again")
            took = time.monotonic() - began
            sheet.row(f"{clients} silent clients at {limit} descriptors: share of a core", f"{share:.1%}", "< 20 %",
                      held=share < 0.2)  # fmt: skip
            sheet.row("  answers again after", f"{took:.2f} s", "<= 2 s", held=took <= 2)
        # All at once, each for itself, at the lower bound still: what is accepted is done.
        tally = Tally()

        def send() -> None:
            with Client(hub.listen) as client:
                for _ in range(20):
                    tally.add(answered(client, "/hook"))

        with threads(64, send):
            pass
        counts = hub.settled()
        sheet.row("  events accepted, done", f"{tally.statuses[202]}, {counts['succeeded']}", "the same",
                  held=tally.statuses[202] <= counts["succeeded"] == counts["accepted"])  # fmt: skip
        dead = counts["dead"]
        sheet.same("  dead for want of descriptors", dead, 0)
        # Room for a client, and for no worker.
        used = len(os.listdir(f"/proc/{hub.process.pid}/fd"))
        resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE, (used + 3, 256))
        with Client(hub.listen) as client:
            assert client.post("/fresh")[0] == 202
        until(lambda: "the host has no room for a worker" in hub.log(), "no worker can be started")
        resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        hub.settled()
        (row,) = hub.deliveries(function="fresh")
        told = f"{row['state']}, attempts {row['attempts']}"
        sheet.same("an event whose worker the host had no room for", told, "succeeded, attempts 1")
        assert hub.stop() == 0, hub.log()


def connected(port: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    with suppress(BlockingIOError):
        made.connect(("127.0.0.1", port))
    return made


def answered(client: Client, path: str) -> int:
    """Return the status; 0 where there was no answer."""
    try:
        return client.post(path)[0]
    except OSError:
        return 0


def again_and_again(folder: Path, sheet: Sheet, times: int = 1000, connections: int = 20) -> None:
    """Send the same delivery from many connections at once, and kill the hub meanwhile."""
    runs = folder / "runs"
    note = RUNS.replace("{runs!r}", repr(str(runs)))
    work = f"{note}\n\ndef handler(event, context):\n    ran(context)\n"
    toml = "[defaults]\n" + granted(runs) + webhook("work", "work")
    with daemon(folder / "project", toml, {"work.py": work}) as hub:
        tally, told = Tally(), set[str]()
        killed = threading.Event()

        def told_one(client: Client) -> None:
            while True:
                try:
                    status, body, _ = client.post("/work", {"Idempotency-Key": "the-same"})
                except OSError:
                    time.sleep(0.02)
                    continue
                tally.add(status)
                if status < 300:
                    told.update(json.loads(body)["deliveries"])
                    return

        def send() -> None:
            with Client(hub.listen) as client:
                for _ in range(times // connections):
                    told_one(client)
                    if sum(tally.statuses.values()) > times // 3:
                        killed.wait(GUARD)

        with threads(connections, send):
            until(lambda: sum(tally.statuses.values()) > times // 3, "a third was answered")
            hub.settled()
            hub.kill()
            cut = held(hub.project)
            killed.set()
            hub.start()
        hub.settled()
        rows = hub.deliveries()
        sheet.row(f"the same delivery from {connections} connections over a kill", f"{sum(tally.statuses.values()):,}")
        sheet.row("  answered 202, 200", f"{tally.statuses[202]}, {tally.statuses[200]}", "one, all others",
                  held=tally.statuses[202] == 1 and set(tally.statuses) <= {200, 202, 503})  # fmt: skip
        sheet.same("  ids that were told", len(told), 1)
        sheet.same("  deliveries", len(rows), 1)
        sheet.same("  cut by the kill", len(cut), 0)
        sheet.same("  runs", len(runs.read_text().splitlines()), 1)
        assert hub.stop() == 0, hub.log()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of overload")
    options = parser.parse_args()
    sheet = Sheet()
    parts: list[Callable[[Path], Any]] = [
        lambda folder: hung_neighbour(folder, sheet),
        lambda folder: poisonous(folder, sheet),
        lambda folder: few_descriptors(folder, sheet),
        lambda folder: again_and_again(folder, sheet),
        lambda folder: overloaded(folder, sheet, options.minutes * 60),
    ]
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "project").mkdir()
            part(Path(folder))
    return sheet.code()


if __name__ == "__main__":
    sys.exit(main())
