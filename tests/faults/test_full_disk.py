"""A hub on a disk of its own that is full: what it refuses, what goes on, and how it is well again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import webhook

MB = 1024 * 1024
TOML = (
    """
[functions.work]
timeout = "5m"
env = { GATE = "GATES/gate" }
sandbox = { read = ["GATES"] }
"""
    + webhook("hook", "work")
    + webhook("loud", "loud")
)
WORK = """
import os, time


def handler(event, context):
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    print("worked")
"""
LOUD = """
def handler(event, context):
    for number in range(10_000):
        print("x" * 100)
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A project whose data folder is a disk of 64 MB."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting needs root")
    var = tmp_path / "var"
    var.mkdir()
    (tmp_path / "gates").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", var], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    yield tmp_path
    subprocess.run(["umount", var], check=True)


@pytest.fixture
def small_logs(tmp_path: Path) -> Iterator[Path]:
    """A project whose logs are on a disk of 2 MB of their own."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting needs root")
    logs = tmp_path / "var" / "logs"
    logs.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", logs], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    yield tmp_path
    subprocess.run(["umount", logs], check=True)


def free(project: Path) -> int:
    disk = os.statvfs(project / "var")
    return disk.f_bavail * disk.f_frsize


def fill(hub: Daemon, accepted: set[str]) -> None:
    """Send until there is no room."""
    body = json.dumps({"pad": "x" * 60_000}).encode()
    for _ in range(3000):
        status, answer = hub.post("/hook", body)
        if status != 202:
            assert status == 507, (status, answer)
            return
        accepted.update(json.loads(answer)["deliveries"])
    raise AssertionError("64 MB are never full")


@pytest.mark.timeout(300)
def test_a_full_disk_refuses_settles_and_is_well_again(small: Path) -> None:
    ballast, gate, accepted = small / "var" / "ballast", small / "gates" / "gate", set[str]()
    ballast.write_bytes(bytes(20 * MB))
    with daemon(small, TOML.replace("GATES", str(gate.parent)), {"work.py": WORK, "loud.py": LOUD}) as hub:
        fill(hub, accepted)
        assert len(accepted) > 100
        refused = [hub.post("/hook", b'{"n":1}')[0] for _ in range(20)]
        assert refused == [507] * 20, "every event is refused, and told so"
        assert hub.counts()["queued"] > 50, "there is a queue"
        gate.touch()
        counts = hub.settled(120)
        assert counts["succeeded"] == len(accepted), "the queue went on, out of the reserve"
        assert hub.post("/hook", b'{"n":1}')[0] == 507, "and the disk is still full"
        ballast.unlink()
        until(lambda: hub.post("/hook", b'{"n":1}')[0] == 202, "events are accepted again", within=20)
        counts = hub.settled()
        assert (counts["succeeded"], counts["drift"]) == (len(accepted) + 1, 0)
        assert hub.api("GET", "/api/v1/audit") == []
        assert {row["id"] for row in hub.deliveries()} > accepted
        assert hub.stop() == 0


@pytest.mark.timeout(300)
def test_a_hub_starts_on_a_full_disk_and_works_off_its_queue(small: Path) -> None:
    gate, accepted = small / "gates" / "gate", set[str]()
    with daemon(small, TOML.replace("GATES", str(gate.parent)), {"work.py": WORK, "loud.py": LOUD}) as hub:
        for _ in range(30):
            accepted.update(json.loads(hub.post("/hook", b'{"n":1}')[1])["deliveries"])
        hub.kill()
        with (small / "var" / "ballast").open("wb", buffering=0) as ballast:
            while (room := free(small)) > 0:
                ballast.write(bytes(min(room, MB)))
        gate.touch()
        hub.start()
        assert hub.settled()["succeeded"] == len(accepted)
        assert hub.post("/hook", b'{"n":1}')[0] in (202, 507)


@pytest.mark.timeout(300)
def test_what_functions_write_never_fills_the_disk(small: Path) -> None:
    with daemon(small, TOML.replace("GATES", str(small / "gates")), {"work.py": WORK, "loud.py": LOUD}) as hub:
        for _ in range(150):  # twice as much as the disk holds
            assert hub.post("/loud", b'{"n":1}')[0] == 202
        hub.settled(120)
        assert free(small) > 64 * MB // 10 - MB, "a tenth is left to the queue"
        kept = sum(file.stat().st_size for file in (small / "var" / "logs").iterdir())
        assert MB < kept < 64 * MB // 2, "logs have a quarter of the disk, and what waited while they were moved"
        assert hub.post("/loud", b'{"n":1}')[0] == 202
        assert hub.settled()["succeeded"] == 151


@pytest.mark.timeout(300)
def test_logs_that_cannot_be_kept_are_told_of_wherever_people_look_and_so_is_the_end(small_logs: Path) -> None:
    ballast, gate = small_logs / "var" / "logs" / "ballast", small_logs / "gates" / "gate"
    gate.parent.mkdir()
    gate.touch()
    ballast.write_bytes(bytes(MB + 900 * 1024))
    with daemon(small_logs, TOML.replace("GATES", str(gate.parent)), {"work.py": WORK, "loud.py": LOUD}) as hub:
        why = (
            f"what functions write cannot be kept in {small_logs}/var/logs: the rest of the disk is kept for the queue"
        )
        for _ in range(3):
            assert hub.post("/hook", b"{}")[0] == 202
            hub.settled()
            until(lambda: any(why in one for one in hub.api("GET", "/api/v1/status")["problems"]), "status says so")
        for command in ("status", "top"):
            assert why in hub.cli(command, check=True).stdout
        status, body = hub.api("GET", "/readyz", raw=True)
        assert (status, why in json.loads(body)["reasons"][0]) == (200, True), "events are taken all the same"
        assert why in hub.api("GET", "/overview/attention", raw=True)[1].decode()
        assert hub.log().count("what functions write cannot be kept") == 1
        ballast.unlink()
        until(lambda: hub.api("GET", "/api/v1/status")["problems"] == [], "it is over")
        assert hub.log().count("what functions write is kept again") == 1
        assert hub.api("GET", "/overview/attention", raw=True)[1].count(b"cannot be kept") == 0
        assert hub.cli("logs", "work", check=True).stdout.count("worked") == 3, "what waited in memory was kept"
