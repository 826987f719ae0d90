"""A disk without room: new events are refused, the hub says so and lives, and goes on by itself."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.daemon import GUARD, Daemon, daemon, until

TOML = """
[triggers.hook]
type = "webhook"
path = "/hook"
auth = "none"
function = "echo"
"""
ECHO = "def handler(event, context):\n    print('a line')\n"


@contextmanager
def files_end_here(hub: Daemon, size: int) -> Iterator[None]:
    """Let no file of the hub grow beyond *size*: to a program that is a full disk."""
    assert hub.process is not None
    before = resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, before)


def ready(hub: Daemon) -> tuple[int, str]:
    status, body = hub.api("GET", "/readyz", raw=True)
    return status, " ".join(json.loads(body)["reasons"])


def test_a_disk_that_fails_ends_the_hub_with_a_clear_word(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML, {"echo.py": ECHO}) as hub:
        assert hub.post("/hook", b"1")[0] == 202
        hub.settled()
        with files_end_here(hub, 4096):
            assert hub.post("/hook", b"2")[0] == 503
            assert hub.process is not None
            assert hub.process.wait(20) == 1
        hub.start()
        assert hub.settled()["drift"] == 0


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML, {"echo.py": ECHO}, start=False) as hub:
        with Path("/dev/full").open("wb") as full:
            hub.process = subprocess.Popen(
                [sys.executable, "-m", "triggerhub", "-C", str(tmp_path), "run"],
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=full,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
            )
        until(lambda: hub.is_ready() or not hub.alive, "it is ready")
        assert hub.post("/hook", b"1")[0] == 202
        assert hub.settled()["succeeded"] == 1
        hub.process.terminate()
        assert hub.process.wait(GUARD) == 0
