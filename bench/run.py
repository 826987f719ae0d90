"""Measure the hub beside a bare ingress: `make bench`.

Two kinds of work, over HTTP with keep-alive connections and a 1 KB JSON body, sent by wrk:

- sync: the caller waits for a trivial Python handler's answer;
- durable: the caller gets a 202 once the event is on disk; counted are events *settled*, from the first
  request until the last outcome is committed.

The bare ingress answers the same requests without a worker and without a store.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.daemon import Daemon, daemon, free_port, until

TOML = """
[triggers.sync]
type = "webhook"
path = "/sync"
auth = "none"
respond = "result"
function = "echo"

[triggers.durable]
type = "webhook"
path = "/durable"
auth = "none"
function = "echo"
backlog = 10000000
"""
HANDLER = "def handler(event, context):\n    return {'ok': True}\n"
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"pad": "' .. string.rep("x", 1010) .. '"}'
"""
BARE = """
import anyio, sys
from triggerhub.source import Response, Route
from triggerhub.web.ingress import Ingress

async def main(port):
    async def answer(request):
        return Response(status=200, body=b'{"ok":true}', headers=(("content-type", "application/json"),))
    ingress = Ingress()
    async with ingress.serve(Route(path="/", methods=("POST",), body_limit=1 << 20, endpoint=answer)):
        async with ingress.listen("127.0.0.1", port):
            await anyio.sleep_forever()

anyio.run(main, int(sys.argv[1]), backend_options={"use_uvloop": True})
"""


def wrk(url: str, connections: int, seconds: float, script: Path) -> tuple[float, dict[str, int]]:
    """Return requests a second, and how many of each kind of trouble."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]
    total = int(re.search(r"(\d+) requests in", done)[1])  # type: ignore[index]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    return rate, {"requests": total, "refused": int(bad[1]) if bad else 0}


@contextmanager
def bare() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)], cwd=ROOT)
    try:
        import http.client

        def up() -> bool:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("POST", "/", b"{}")
                return connection.getresponse().status == 200
            except OSError:
                return False

        until(up, "the bare ingress answers")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def durable(hub: Daemon, connections: int, seconds: float, script: Path) -> float:
    """Return events settled a second, accept to commit of the outcome."""
    before = hub.counts()["accepted"]
    began = time.monotonic()
    wrk(f"http://127.0.0.1:{hub.listen}/durable", connections, seconds, script)
    counts = hub.settled(600)
    took = time.monotonic() - began
    assert counts["dead"] == 0, counts
    assert counts["drift"] == 0, counts
    return (counts["accepted"] - before) / took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("the load comes from wrk, which is not installed (Debian, Ubuntu: apt install wrk)", file=sys.stderr)
        return 3
    figures: dict[str, list[float]] = {"bare": [], "sync c=1": [], "sync c=8": [], "sync c=64": [], "durable c=64": []}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(LUA)
        project = Path(folder) / "project"
        project.mkdir()
        with bare() as url, daemon(project, TOML, {"echo.py": HANDLER}) as hub:
            hub.post("/sync", b"{}")
            for _ in range(options.rounds):
                figures["bare"].append(wrk(url, 64, options.seconds, script)[0])
                for connections in (1, 8, 64):
                    target = f"http://127.0.0.1:{hub.listen}/sync"
                    figures[f"sync c={connections}"].append(wrk(target, connections, options.seconds, script)[0])
                figures["durable c=64"].append(durable(hub, 64, options.seconds, script))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    if options.json:
        print(json.dumps(medians))
        return 0
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"median of {options.rounds} rounds of {options.seconds} s, durability = full, history, logs and metrics on"
    )
    print(f"{'work':<16}{'a second':>12}{'of bare':>10}")
    for name, value in medians.items():
        print(f"{name:<16}{value:>12,.0f}{value / medians['bare']:>9.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
