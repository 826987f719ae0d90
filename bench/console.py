"""Measure what being watched costs, and how fast the console is over a long history.

    python bench/console.py [--parts streams,page,pages,whole] [--rounds 9] [--seconds 2] [--minutes 1]
                            [--finished 1000000] [--json FILE]

- streams: processor time of the hub per delivery at 1,000 deliveries a second, with three event streams open beside none.
- page: one page in Chromium meanwhile: how busy its main thread is, and whether the memory of hub and page stays what it is.
- pages: the time to the first byte of every page over a million finished deliveries, and of searches for an error's text.
- whole: processor time per delivery of a hub beside one without logs, metrics and history (``bench/dark.py``).

What is compared takes turns in rounds, so that what disturbs the machine disturbs both; a ratio is the median of the
rounds' ratios. Processor time is the kernel's account of the hub's own process, which a busy machine hardly changes.
Exits 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import Page, sync_playwright

from bench.history import seed
from bench.load import LUA, wrk
from bench.pace import cpu, send, streams
from tests.e2e.daemon import Daemon, daemon
from triggerhub.stores.sqlite import open_store
from triggerhub.web.console.live import AGAIN, SHARE

RATE = 1000
TABS = 3
TOML = """
[triggers.t]
type = "webhook"
path = "/t"
auth = "none"
function = "f"
backlog = 10000000
"""
HANDLER = "def handler(event, context):\n    print('handled')\n    return {'ok': True}\n"
BOUNDS = {
    "streams": ("event streams, processor time a delivery", 1.05, "x"),
    "busy": ("main thread of a page", 15.0, "%"),
    "hub": ("memory of the hub, growth", 10.0, "%"),
    "heap": ("memory of the page, growth", 10.0, "%"),
    "first": ("slowest page, first byte", 150.0, "ms"),
    "search": ("slowest search for an error's text", 500.0, "ms"),
    "whole": ("logs, metrics, history, processor time a delivery", 1.15, "x"),
}
"""What each figure is, its bound and its unit."""
PATHS = (
    "/", "/deliveries", "/deliveries?q=fn%3Af", "/deliveries?q=state%3Adead", "/deliveries?q=since%3A15m",
    "/deliveries/{id}", "/functions", "/functions/f", "/triggers", "/triggers/t", "/dead-letters", "/alarms", "/settings",
)  # fmt: skip
SEARCHES = (
    "error~carrier",
    "error~nowhere",
    "fn:g error~carrier",
    "state:dead error~nowhere",
    "state:queued error~nowhere",
)
COUNTING = ("/", "/functions/f", "/dead-letters")
"""Pages that show dead letters by cause: asked for while events come, after what was counted before has become old."""
ASKED = 7
"""How often each page is asked for."""
Told = dict[str, Any]


def per_delivery(hub: Daemon, seconds: float, tabs: int) -> float:
    """Return microseconds of the hub's processor time per delivery, from the first request to the last outcome."""
    assert hub.process is not None

    async def one_round() -> int:
        async with streams(hub.admin, tabs):
            await asyncio.sleep(1.2)
            begun = cpu(hub.process.pid)
            sent = await send(hub.listen, "/t", RATE, seconds)
            await asyncio.to_thread(hub.settled, 600)
            return int((cpu(hub.process.pid) - begun) * 1e9 / sent)

    return asyncio.run(one_round()) / 1000


def per_delivery_of_many(hub: Daemon, seconds: float, script: Path) -> float:
    """Return the same of a hub that gets all that 64 connections can send: then least of it is spent on waking up."""
    assert hub.process is not None
    before, begun = hub.counts()["accepted"], cpu(hub.process.pid)
    wrk(f"http://127.0.0.1:{hub.listen}/t", 64, seconds, script)
    counts = hub.settled(600)
    return (cpu(hub.process.pid) - begun) * 1e6 / (counts["accepted"] - before)


def turns(rounds: int, one: Callable[[], float], other: Callable[[], float], names: tuple[str, str]) -> Told:
    """Measure both in turn, each first every other round; the ratio of the first to the second."""
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            figure = (one, other)[which]()
            if number:  # the first is to warm up
                figures[which].append(figure)

    ratio = statistics.median(a / b for a, b in zip(*figures, strict=True))
    return {"ratio": ratio, **{name: statistics.median(found) for name, found in zip(names, figures, strict=True)}}


def measure_streams(folder: Path, given: argparse.Namespace) -> Told:
    with daemon(folder, TOML, {"f.py": HANDLER}) as hub:
        told = turns(
            given.rounds,
            lambda: per_delivery(hub, given.seconds, TABS),
            lambda: per_delivery(hub, given.seconds, 0),
            ("with streams, us", "without, us"),
        )
    return {**told, "bounds": {"streams": told["ratio"]}}


def measure_whole(folder: Path, given: argparse.Namespace) -> Told:
    parts = ("logs,metrics,history", *(("logs", "metrics", "history") if given.each else ()))
    told: Told = {}
    script = folder / "post.lua"
    script.write_text(LUA)
    with ExitStack() as stack:
        hubs = []
        for number, left_out in enumerate(("", *parts)):
            project = folder / str(number)
            project.mkdir()
            hub = stack.enter_context(daemon(project, TOML, {"f.py": HANDLER}, start=False))
            hub.start(under=(sys.executable, "-m", "bench.dark", left_out) if left_out else ())
            hubs.append(hub)
        for left_out, hub in zip(parts, hubs[1:], strict=True):
            told[left_out] = turns(
                given.rounds,
                lambda: per_delivery_of_many(hubs[0], given.seconds, script),
                lambda hub=hub: per_delivery_of_many(hub, given.seconds, script),
                ("on, us", "off, us"),
            )
    return {**told, "bounds": {"whole": told[parts[0]]["ratio"]}}


# one page in a browser


@contextmanager
def sending(hub: Daemon, seconds: float) -> Iterator[None]:
    """Have another process send meanwhile: the browser is driven from here."""
    command = [sys.executable, "-m", "bench.pace", str(hub.listen), "/t", str(RATE), str(seconds)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def resident(process: int) -> float:
    """Return the memory of a process in MB that is its own."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 1024


def look_at(page: Page, hub: Daemon, seconds: float) -> Told:
    """Return how busy the main thread of a page was, and memory by time."""
    assert hub.process is not None
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def metrics() -> dict[str, float]:
        return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}

    page.wait_for_timeout(3000)
    begun, first = time.monotonic(), metrics()["TaskDuration"]
    heap, own, spent = [], [], 0.0
    while time.monotonic() - begun < seconds:
        page.wait_for_timeout(min(seconds / 12, 10) * 1000)
        before = metrics()["TaskDuration"]
        session.send("HeapProfiler.collectGarbage")
        after = metrics()
        spent += after["TaskDuration"] - before  # collecting is our doing
        heap.append(after["JSHeapUsedSize"] / 2**20)
        own.append(resident(hub.process.pid))
    busy = (metrics()["TaskDuration"] - first - spent) / (time.monotonic() - begun) * 100
    return {"busy, %": busy, "heap, MB": heap, "hub, MB": own}


def growth(values: list[float]) -> float:
    """Return in percent how much the last third is above the second."""
    third = max(len(values) // 3, 1)
    before, after = statistics.median(values[-2 * third : -third] or values), statistics.median(values[-third:])
    return (after / before - 1) * 100


def measure_page(folder: Path, given: argparse.Namespace) -> Told:
    told: Told = {}
    seconds = given.minutes * 60
    with daemon(folder, TOML, {"f.py": HANDLER}) as hub, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        with sending(hub, 2 * seconds + 120):
            for name, path, length in (("overview", "/", min(seconds, 60)), ("deliveries", "/deliveries", seconds)):
                page = browser.new_page(viewport={"width": 1360, "height": 900})
                page.goto(f"http://127.0.0.1:{hub.admin}{path}")
                page.wait_for_selector("#live[data-state=live]")
                before, began = hub.counts()["succeeded"], time.monotonic()
                told[name] = look_at(page, hub, length)
                told[name]["deliveries a second"] = (hub.counts()["succeeded"] - before) / (time.monotonic() - began)
                page.close()
        browser.close()
    long = told["deliveries"]
    return {
        **told,
        "bounds": {
            "busy": max(one["busy, %"] for one in told.values()),
            "hub": growth(long["hub, MB"]),
            "heap": growth(long["heap, MB"]),
        },
    }


# pages over a long history


def first_byte(hub: Daemon, path: str) -> float:
    """Return milliseconds from the request to the first byte of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.admin, timeout=60)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        took = (time.perf_counter() - began) * 1000
        assert answer.status == 200, (path, answer.status)
        answer.read()
        return took
    finally:
        connection.close()


async def written(data: Path, finished: int) -> None:
    """Write a history, in which what died names one of a few causes."""
    async with open_store(data) as store:
        await seed(store, finished)
        await store.writer.do(
            lambda t: t.db.execute(
                "UPDATE delivery SET error_type = 'TimeoutError', error_message = "
                "'carrier ' || (dedup_key % 7) || ' did not answer for order ' || dedup_key WHERE state = 3"
            )
        )


def measure_pages(folder: Path, given: argparse.Namespace) -> Told:
    handlers = {f"{name}.py": HANDLER for name in "fghi"}
    told: Told = {}
    with daemon(folder, TOML, handlers, start=False) as hub:
        asyncio.run(written(folder / "var", given.finished))
        hub.start()
        (newest,) = hub.api("GET", "/api/v1/deliveries?limit=1")
        pages = [path.replace("{id}", newest["id"]) for path in PATHS]
        searches = [f"/deliveries?q={search.replace(' ', '+').replace(':', '%3A')}" for search in SEARCHES]
        for path in (*pages, *searches):
            took = []
            for _ in range(ASKED):
                if path in COUNTING:
                    hub.post("/t", b"{}")
                    time.sleep(max(AGAIN, SHARE * (took[-1] if took else 0) / 1000) + 0.2)
                took.append(first_byte(hub, path))
            told[path] = {"median, ms": statistics.median(took), "first, ms": took[0], "slowest, ms": max(took)}
    return {
        **told,
        "bounds": {
            "first": max(told[path]["median, ms"] for path in pages),
            "search": max(told[path]["median, ms"] for path in searches),
        },
    }


PARTS: dict[str, Callable[[Path, argparse.Namespace], Told]] = {
    "streams": measure_streams,
    "page": measure_page,
    "pages": measure_pages,
    "whole": measure_whole,
}


def show(name: str, value: Any, depth: int = 0) -> None:
    """Print figures, those of a group below its name."""
    if isinstance(value, dict):
        print(f"{'  ' * depth}{name}")
        for inner, one in value.items():
            show(inner, one, depth + 1)
    elif isinstance(value, list):
        print(f"{'  ' * depth}{name:40}{' '.join(f'{one:.1f}' for one in value)}")
    else:
        print(f"{'  ' * depth}{name:40}{value:10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them, with commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="of a round")
    parser.add_argument("--minutes", type=float, default=1, help="for which a page stays open")
    parser.add_argument("--finished", type=int, default=1_000_000, help="deliveries in the history")
    parser.add_argument("--each", action="store_true", help="also leave out logs, metrics and history one by one")
    parser.add_argument("--folder", type=Path, help="where to put the databases (the disk matters)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    found: Told = {}
    for part in given.parts.split(","):
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there is: {', '.join(PARTS)}")
        with tempfile.TemporaryDirectory(prefix="triggerhub-console-", dir=given.folder) as folder:
            found[part] = PARTS[part](Path(folder), given)
        show(part, {name: value for name, value in found[part].items() if name != "bounds"})
    broken = False
    print(f"\n{'':52}{'measured':>12}{'at most':>12}")
    for told in found.values():
        for name, value in told["bounds"].items():
            text, bound, unit = BOUNDS[name]
            broken = broken or value > bound
            print(f"{text:52}{value:10.2f} {unit:2}{bound:9g} {unit:2}{'' if value <= bound else '  BROKEN'}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    sys.exit(broken)


if __name__ == "__main__":
    main()
