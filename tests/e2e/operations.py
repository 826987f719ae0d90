"""Reload, migrate, damage, start twice and stop a hub, under load and killed in the midst of it.

``make operations``. Exits with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tests.e2e import chaos
from tests.e2e.daemon import daemon, granted, until
from tests.e2e.floods import Client, Tally, answered, threads
from tests.e2e.sheet import Sheet
from tests.e2e.toml import HUB, webhook
from tests.faults.corruption import make, sweep

ROOT = Path(__file__).parents[2]

# reloads

MEMORY, TIMEOUT = 128, 100
"""What a function of edition 0 has, in MB and in seconds; each edition has one more."""
EDITION = (
    """
[functions.mark]
memory = "{memory}MB"
timeout = "{timeout}s"
env = {{ ONE = "{number}", OTHER = "{number}" }}
"""
    + webhook("hook", "mark")
    + webhook("ask", "mark", answers=True)
)
MARK = """
import json, os

NOTES = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def handler(event, context):
    left = context.get_remaining_time_in_millis()
    seen = {{
        "id": context.aws_request_id,
        "parts": [int(os.environ["ONE"]), int(os.environ["OTHER"]), int(context.memory_limit_in_mb) - {memory},
                  round(left / 1000 + 0.4) - {timeout}],
    }}
    os.write(NOTES, (json.dumps(seen) + "\\n").encode())
    return seen
"""


def edition(number: int) -> str:
    return EDITION.format(number=number, memory=MEMORY + number, timeout=TIMEOUT + number)


def reloads(folder: Path, sheet: Sheet, times: int = 200, every: int = 10) -> None:
    """Save one edition after the other under load, every tenth of them broken."""
    project, notes = folder / "project", folder / "notes"
    project.mkdir()
    mark = MARK.format(notes=str(notes), memory=MEMORY, timeout=TIMEOUT)
    grant = "[defaults]\n" + granted(notes)
    with daemon(project, grant + edition(0), {"mark.py": mark}) as hub:
        tally, stop = Tally(), threading.Event()
        paths = iter(("/hook", "/hook", "/ask", "/ask"))

        def send() -> None:
            path = next(paths)
            with Client(hub.listen) as client:
                while not stop.wait(0.02):
                    tally.add(answered(client, path))

        problems, draft = 0, project / "draft"
        with threads(4, send):
            for number in range(1, times + 1):
                broken = number % every == 0
                good = hub.filled(grant + edition(number))
                # Whole at any moment: who writes into the file itself has the hub read the half of it.
                draft.write_text(good.replace("[triggers.ask]", "[triggers.ask") if broken else good)
                draft.rename(project / "triggerhub.toml")
                found = hub.api("POST", "/api/v1/reload")["problems"]
                problems += bool(found) and broken
                assert bool(found) == broken, found
            stop.set()
        counts = hub.settled()
        rows = hub.deliveries()
        assert hub.stop() == 0, hub.log()
    seen = [json.loads(line) for line in notes.read_text().splitlines()]
    editions = {tuple(one["parts"]) for one in seen}
    other = {status: count for status, count in tally.statuses.items() if status not in (200, 202)}
    mixed = sum(len(set(parts)) > 1 for parts in editions)
    sheet.row(f"{times} reloads under load: calls, editions seen", f"{len(seen):,}, {len(editions)}")
    sheet.same("  broken ones that changed nothing", problems, times // every)
    sheet.same("  editions of which a call saw a part", mixed, 0)
    sheet.row("  answered 202, 200, else", f"{tally.statuses[202]:,}, {tally.statuses[200]:,}, {other or 0}", "nothing else",
              held=not other)  # fmt: skip
    first = sum((row["state"], row["attempts"]) == ("succeeded", 1) for row in rows)
    sheet.row("  accepted, done at the first attempt", f"{counts['accepted']:,}, {first:,}", "as answered",
              held=counts["accepted"] == first == tally.statuses[202])  # fmt: skip
    sheet.same("  runs", len(seen), tally.statuses[202] + tally.statuses[200])
    sheet.same("  drift", counts["drift"], 0)


# migrations

NEXT = """
CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY, said TEXT) STRICT, WITHOUT ROWID;
INSERT INTO more SELECT id, trigger || function FROM delivery;
ALTER TABLE event ADD COLUMN note TEXT;
UPDATE event SET note = time || hops;
CREATE INDEX event_note ON event (note);
UPDATE delivery SET reason = 'migrated' WHERE reason IS NULL;
"""
MIGRATE = """
import asyncio, os, signal, sqlite3, sys
from pathlib import Path
from triggerhub.stores import migrate

path, script, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
known = migrate.scripts()
migrate.scripts = lambda: [*known, (known[-1][0] + 1, script)]
steps = 0

def step():
    global steps
    steps += 1
    if steps == limit:
        os.kill(os.getpid(), signal.SIGKILL)

db = sqlite3.connect(path, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.set_progress_handler(step, 200)
migrate.migrate(db, path)
db.set_progress_handler(None, 0)
db.close()
print(steps)
"""


def migration(folder: Path, sheet: Sheet, points: int = 50, events: int = 300) -> None:
    """Kill a migration, the copy before it included, at points all over it; the next try completes it."""
    whole = folder / "whole"
    asyncio.run(make(whole, events))
    rows = counted(whole / "hub.db", "delivery")

    def copy() -> Path:
        shutil.rmtree(folder / "copy", ignore_errors=True)
        shutil.copytree(whole, folder / "copy")
        return folder / "copy" / "hub.db"

    steps = int(migrated(copy(), 0)[1])
    killed = completed = 0
    for point in range(points):
        path = copy()
        code, _ = migrated(path, 1 + point * steps // points)
        killed += code == -signal.SIGKILL
        again, _ = migrated(path, 0)
        before = next(iter(sorted(path.parent.glob("hub.db.before-*"))), path)
        completed += (
            again == 0
            and counted(path, "more") == rows
            and counted(path, "delivery") == rows == counted(before, "delivery")
            and sound(path)
            and sound(before)
        )
    sheet.row(f"a migration of {rows} deliveries killed at", f"{killed} points", str(points), held=killed == points)
    sheet.same("  completed by the next try, its copy whole", completed, points)


def migrated(path: Path, limit: int) -> tuple[int, str]:
    """Run the next migration, killed at step *limit* unless it is 0; return the exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, str(path), NEXT, str(limit)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout


def counted(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))


# damage, and a newer database

PLAIN = webhook("hook", "work")
WORK = {"work.py": "def handler(event, context):\n    return 1\n"}


def damaged_and_restored(folder: Path, sheet: Sheet) -> None:
    """Damage the database of a hub that is down: it does not start, says what to do, and that does it."""
    project = folder / "project"
    project.mkdir()
    with daemon(project, PLAIN, WORK) as hub:
        accepted = sum(hub.post("/hook", b"{}")[0] == 202 for _ in range(50))
        hub.settled()
        assert hub.cli("backup", str(project / "copy.tar")).returncode == 0
        assert hub.stop() == 0
        path = project / "var" / "hub.db"
        whole = path.read_bytes()
        for name, content in (
            ("every page but the first zeroed", whole[:4096] + bytes(len(whole) - 4096)),
            ("its first page gone", bytes(4096) + whole[4096:]),
            ("cut to a third", whole[: len(whole) // 3]),
        ):
            path.write_bytes(content)
            refused = hub.cli("run")
            says = "triggerhub restore" in refused.stderr and "Traceback" not in refused.stderr
            sheet.row(f"a database with {name}: exit code", refused.returncode, "1, names the command",
                      held=refused.returncode == 1 and says)  # fmt: skip
        done = hub.cli("restore", str(project / "copy.tar"))
        assert done.returncode == 0, done.stderr
        hub.start()
        sheet.same("  after that command: succeeded", hub.counts()["succeeded"], accepted)
        assert hub.stop() == 0
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
        refused = hub.cli("run")
        sheet.row("a database of a newer version: exit code", refused.returncode, "3, says so",
                  held=refused.returncode == 3 and "newer triggerhub" in refused.stderr)  # fmt: skip


# two hubs, and the end of one


def twice(folder: Path, sheet: Sheet, times: int = 5, judged: bool = True) -> None:
    """Start a second hub on the same folder."""
    project = folder / "project"
    project.mkdir()
    with daemon(project, PLAIN, WORK) as hub:
        assert hub.process is not None
        took, named = [], 0
        for _ in range(times):
            began = time.monotonic()
            second = hub.cli("run")
            took.append(time.monotonic() - began)
            named += second.returncode == 3 and f"process {hub.process.pid}," in second.stderr
        sheet.same("a second hub exits with 3 and names the first", named, times)
        longest = max(took)
        sheet.row("  after at most", f"{longest:.2f} s", "<= 1 s", held=longest <= 1 or not judged)
        assert hub.stop() == 0


def terminated(folder: Path, sheet: Sheet, times: int = 20, grace: float = 5.0, seed: int = 7) -> None:
    """Stop a hub by SIGTERM under load, again and again: it finishes what runs, and nothing runs twice."""
    draw = random.Random(seed)
    project, ledger = folder / "project", folder / "ledger"
    project.mkdir()
    (project / "drop").mkdir()
    toml = chaos.TOML.replace("LEDGER_PATH", str(ledger)).replace("GRANTED", granted(ledger)).replace("THIS_LIFE", "0")
    report = chaos.Report(seed, chaos.Told(), {}, chaos.Ledger())
    with daemon(project, f'{HUB}drain = "{grace:.0f}s"\n{toml}', chaos.HANDLERS, start=False) as hub:
        hub.start()
        stop, took, codes = threading.Event(), list[float](), list[int]()

        def sender(target: Callable[..., None]) -> threading.Thread:
            return threading.Thread(target=target, args=(hub, report.told, stop, 70), daemon=True)

        senders = [sender(one) for one in (chaos.send_hooks, chaos.send_topic, chaos.put_files)]
        for one in senders:
            one.start()
        for _ in range(times):
            time.sleep(draw.uniform(0.3, 1))
            began = time.monotonic()
            codes.append(hub.stop())
            took.append(time.monotonic() - began)
            hub.start()
        stop.set()
        for one in senders:
            one.join(60)
        hub.settled(120)
        until(lambda: report.told.files <= set(chaos.Ledger.read(ledger).files), "every file has run", 60)
        report.drift = hub.settled(60)["drift"]
        report.rows = {row["id"]: row for row in hub.deliveries()}
        report.audit = hub.api("GET", "/api/v1/audit")
        assert hub.stop() == 0, hub.log()
    report.ledger = chaos.Ledger.read(ledger)
    sheet.row(f"SIGTERM under load, {times} times: accepted", f"{len(report.told.accepted):,}")
    sheet.same("  exit codes", set(codes), {0})
    sheet.row("  out after at most", f"{max(took):.2f} s", f"<= {grace + 1:.0f} s", held=max(took) <= grace + 1)
    sheet.same("  lost", len(report.lost()), 0)
    sheet.same("  ran again", len(report.repeated()), 0)
    for sentence in report.broken():
        sheet.row(sentence, "", "nothing", held=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sheet = Sheet()
    parts: Sequence[Callable[[Path], None]] = (
        lambda folder: reloads(folder, sheet),
        lambda folder: migration(folder, sheet),
        lambda folder: sweep(folder, 200, options.seed).table(sheet),
        lambda folder: damaged_and_restored(folder, sheet),
        lambda folder: twice(folder, sheet),
        lambda folder: terminated(folder, sheet, seed=options.seed),
    )
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder))
    return sheet.code()


if __name__ == "__main__":
    sys.exit(main())
