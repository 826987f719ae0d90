"""A disk that fails ends the hub with a clear word; a log that cannot be written ends nobody."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from tests.e2e.daemon import GUARD, daemon, until
from tests.e2e.toml import webhook

TOML = webhook("hook", "echo")
ECHO = "def handler(event, context):\n    print('a line')\n"


def test_a_disk_that_fails_ends_the_hub_with_a_clear_word(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML, {"echo.py": ECHO}) as hub:
        assert hub.post("/hook", b"1")[0] == 202
        hub.settled()
        assert hub.process is not None
        resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        assert hub.post("/hook", b"2")[0] == 503
        assert hub.process.wait(20) == 1
        assert "error: the database failed: disk I/O error" in hub.log()
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
