"""The hub's memory does not grow by what strangers send and nobody keeps."""

from __future__ import annotations

import http.client
from pathlib import Path

from tests.e2e.daemon import Daemon, daemon
from triggerhub.settings import MB

ROUNDS = 40


def test_large_requests_to_nobody_leave_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {"hello.py": "def handler(event, context):\n    return 1\n"}) as hub:
        _ask(hub)
        before = _memory(hub)
        for _ in range(ROUNDS):
            _ask(hub)
        assert _memory(hub) - before < ROUNDS * 6 * MB / 4


def _ask(hub: Daemon) -> None:
    wire = http.client.HTTPConnection("127.0.0.1", hub.listen, timeout=30)
    wire.request("POST", "/_url/nosuchid/", b"x" * (6 * MB - 1))
    assert wire.getresponse().status == 403
    wire.close()


def _memory(hub: Daemon) -> int:
    lines = Path(f"/proc/{hub.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
