"""A hub whose disk fails to sync: it says so, acknowledges nothing more, and has all that it acknowledged."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.e2e.daemon import daemon
from tests.e2e.toml import webhook
from tests.powercut import disk

pytestmark = pytest.mark.skipif(disk.compiler() is None, reason="there is no C compiler: apt install gcc")
TOML = webhook("hook", "work")
WORK = "def handler(event, context):\n    return 'done'\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("at", [40, 57])  # the first of a worker's own come before
def test_after_a_failed_sync_nothing_is_acknowledged_and_the_hub_ends(tmp_path: Path, at: int) -> None:
    accepted, statuses = set[str](), list[int]()
    with daemon(tmp_path, TOML, {"work.py": WORK}, start=False) as hub:
        fail = f"{disk.SYNC}:{at}:{errno.EIO}:0"  # once: what would be tried again would succeed
        watched = disk.environ(tmp_path / "var", fail=fail)
        hub.start(environ={name: value for name, value in watched.items() if os.environ.get(name) != value})
        while hub.alive:
            try:
                status, answer = hub.post("/hook", b'{"n":1}')
            except OSError:
                break
            statuses.append(status)
            if status == 202:
                accepted.update(json.loads(answer)["deliveries"])
        assert hub.process is not None
        assert hub.process.wait(20) == 1
        assert "error: the database failed: disk I/O error (SQLITE_IOERR_FSYNC)" in hub.log()
        assert len(accepted) > 5
        after = statuses[statuses.index(503) :] if 503 in statuses else []
        assert 202 not in after, "once it knew, it acknowledged nothing"
        hub.start()
        counts = hub.settled()
        assert counts["drift"] == 0
        assert {row["id"] for row in hub.deliveries()} >= accepted
        assert hub.api("GET", "/api/v1/audit") == []
