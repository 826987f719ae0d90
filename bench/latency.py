"""Measure how late things begin, and what the hub takes when nothing happens: the second part of ``make bench``.

- start: an event is sent to a durable webhook 200 times a second; from before it is sent until its handler runs.
- accept: the same events until their 202, beside what one fdatasync of the same disk takes.
- file: a file is closed; until its handler runs, beyond the trigger's ``settle``.
- cron: 10,000 schedules; how long after its slot each is accepted, and what they take while none is due.
- idle: ten triggers, no call; memory of the hub and of what it started, processor time, start to ready.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.e2e.daemon import Daemon, daemon, until

EVENTS, RATE = 2_000, 200
FILES, SETTLE = 100, 0.2
SCHEDULES, LISTEN = 10_000, 40.0
SETTLED = 15.0
"""Percent of a core below which the hub has read what it was given."""
IDLE = 20.0
STARTS = 5
HOOK = '[triggers.durable]\ntype = "webhook"\npath = "/durable"\nauth = "none"\nfunction = "stamp"\n'
DROP = f'[triggers.drop]\ntype = "files"\npath = "drop"\nfunction = "stamp"\nsettle = "{SETTLE * 1000:.0f}ms"\n'
STAMP = "import time\nNOW = time.time\n\ndef handler(event, context):\n    print('began', NOW())\n"
QUIET = "def handler(event, context):\n    pass\n"


@dataclass
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    target: float | None = None

    def __str__(self) -> str:
        target = "" if self.target is None else f"at most {self.target:g}"
        return f"{self.what:<66}{self.value:>10,.2f} {self.unit:<4}{target:>16}"


def at(values: Sequence[float], share: float) -> float:
    """Return the value that this share of *values* does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def processes(pid: int) -> list[int]:
    """Return a process and all that came of it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def busy(pids: Sequence[int]) -> float:
    """Return the processor seconds that these have taken."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pids: Sequence[int]) -> float:
    """Return their proportional share of memory in MB."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def idle_share(hub: Daemon, seconds: float) -> float:
    """Return what the hub and its processes take while they are left alone, in percent of a core."""
    assert hub.process is not None
    before = busy(processes(hub.process.pid))
    time.sleep(seconds)
    return (busy(processes(hub.process.pid)) - before) / seconds * 100


def began(hub: Daemon, count: int) -> dict[str, float]:
    """Return when the handler of each delivery ran, by delivery."""
    said = hub.cli("logs", "stamp", "--json", "--limit", str(count * 5), check=True).stdout
    lines = [line for line in json.loads(said) if line["text"].startswith("began ")]
    return {line["request_id"]: float(line["text"].split()[1]) for line in lines}


def sync(folder: Path) -> float:
    """Return the median of an fdatasync after 4 KB, in milliseconds."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def events(folder: Path) -> list[Figure]:
    with daemon(folder, HOOK, {"stamp.py": STAMP}) as hub:
        client = http.client.HTTPConnection("127.0.0.1", hub.listen, timeout=60)
        sent: dict[str, float] = {}
        accepted = []
        due = time.time()
        for _ in range(EVENTS):
            due += 1 / RATE
            while (left := due - time.time()) > 0:
                time.sleep(left)
            start = time.time()
            client.request("POST", "/durable", b'{"pad":"%s"}' % (b"x" * 1000), {"Content-Type": "application/json"})
            answer = client.getresponse()
            body = answer.read()
            accepted.append((time.time() - start) * 1000)
            assert answer.status == 202, body
            sent[json.loads(body)["deliveries"][0]] = start
        hub.settled(120)
        ran = began(hub, EVENTS)
        late = [(ran[one] - start) * 1000 for one, start in sent.items()]
    one_sync = sync(folder)
    return [
        Figure("sent to handler begun, 200 a second, p50", at(late, 0.5), "ms", 2),
        Figure("sent to handler begun, 200 a second, p99", at(late, 0.99), "ms", 25),
        Figure("sent to 202, 200 a second, p50", at(accepted, 0.5), "ms"),
        Figure("the same in fdatasyncs of this disk", at(accepted, 0.5) / one_sync, "x", 4),
    ]


def files(folder: Path) -> list[Figure]:
    (folder / "drop").mkdir()
    with daemon(folder, DROP, {"stamp.py": STAMP}) as hub:
        closed: dict[str, float] = {}
        for number in range(FILES + 1):
            with (folder / "drop" / f"{number}.txt").open("w") as file:
                file.write("x" * 1000)
            closed[f"{number}.txt"] = time.time()
            time.sleep(0.05)
        until(lambda: len(began(hub, FILES)) > FILES, "every file was handled", 60)
        ran = began(hub, FILES)
        late = []
        for row in hub.deliveries(trigger="drop"):
            name = row["dedup_key"].split("\n")[0].split(":")[0].rpartition("/")[2]
            if name != "0.txt":  # its worker had to be started first
                late.append((ran[row["id"]] - closed[name] - SETTLE) * 1000)
    return [
        Figure("file closed to handler begun, beyond settle, p50", at(late, 0.5), "ms", 10),
        Figure("file closed to handler begun, beyond settle, p99", at(late, 0.99), "ms"),
    ]


def cron(folder: Path) -> list[Figure]:
    hour = (time.gmtime().tm_hour + 12) % 24
    entry = '[triggers.t{n}]\ntype = "cron"\nfunction = "quiet"\nschedule = "{schedule}"\nseconds_first = true\n'

    def schedules(hours: str) -> str:
        return "".join(entry.format(n=n, schedule=f"{n % 60} {n // 60 % 60} {hours} * * *") for n in range(SCHEDULES))

    with daemon(folder, schedules(str(hour)), {"quiet.py": QUIET}, start=False) as hub:
        began = time.monotonic()
        hub.start()
        until(lambda: idle_share(hub, 1) < SETTLED, "every schedule was read", 300)
        took = time.monotonic() - began
        share = idle_share(hub, IDLE)
        hub.stop()
        hub.write(schedules("*"))
        hub.start()
        until(lambda: idle_share(hub, 1) < SETTLED, "every schedule was read", 300)
        begun = time.time()
        time.sleep(LISTEN)
        rows = [row for row in hub.deliveries() if _moment(row["created"]) > begun]
    late = [(_moment(row["created"]) - round(_moment(row["created"]) - 0.4)) * 1000 for row in rows]
    return [
        Figure("10,000 schedules, slot to accepted, p50", at(late, 0.5), "ms"),
        Figure(f"10,000 schedules, slot to accepted, p99 of {len(late)}", at(late, 0.99), "ms", 20),
        Figure("10,000 schedules, none due: share of a core", share, "%", 2),
        Figure("10,000 schedules, process started to all of them read", took, "s"),
    ]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def idle(folder: Path) -> list[Figure]:
    hooks = "".join(
        f'[triggers.h{n}]\ntype = "webhook"\npath = "/h{n}"\nauth = "none"\nfunction = "quiet"\n' for n in range(6)
    )
    ticks = "".join(f'[triggers.c{n}]\ntype = "cron"\nschedule = "0 0 1 1 *"\nfunction = "quiet"\n' for n in range(2))
    drops = "".join(f'[triggers.f{n}]\ntype = "files"\npath = "drop{n}"\nfunction = "quiet"\n' for n in range(2))
    for number in range(2):
        (folder / f"drop{number}").mkdir()
    with daemon(folder, hooks + ticks + drops, {"quiet.py": QUIET}, start=False) as hub:
        ready = []
        for _ in range(STARTS):
            start = time.monotonic()
            hub.start()
            ready.append(time.monotonic() - start)
            hub.stop()
        hub.start()
        assert hub.process is not None
        time.sleep(3)
        share = idle_share(hub, IDLE)
        memory = resident(processes(hub.process.pid))
    return [
        Figure("idle with ten triggers: memory (PSS, no worker)", memory, "MB", 60),
        Figure("idle with ten triggers: share of a core", share, "%", 0.5),
        Figure(f"process started to ready, median of {STARTS}", statistics.median(ready), "s", 0.7),
    ]


PARTS = {"events": events, "files": files, "cron": cron, "idle": idle}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts; all by default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: list[Figure] = []
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            figures += PARTS[name](Path(folder))
    if options.json:
        print(json.dumps([asdict(one) for one in figures], indent=1))
    else:
        print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
        print("\n".join(map(str, figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
