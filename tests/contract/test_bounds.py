"""What strangers, and those who are slow, may take of the hub's memory."""

from __future__ import annotations

import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.contract.conftest import client
from tests.contract.package import VERSION, create, zipped
from tests.e2e.daemon import Daemon, daemon

MB = 1 << 20


def resident(hub: Daemon) -> int:
    """How much memory the hub has, in bytes."""
    assert hub.process
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{hub.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def asking(hub: Daemon, head: str, count: int, body: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that have asked something and read no answer."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(20)
            one.connect(("127.0.0.1", hub.admin))
            one.sendall(head.replace("\n", "\r\n").encode() + body)
            made.append(one)
        yield made


def test_those_who_read_an_archive_slowly_hold_no_more_of_it_than_a_piece(tmp_path: Path) -> None:
    blob = os.urandom(20 * MB)
    with daemon(tmp_path, "", {}) as hub:
        code = zipped({"app.py": VERSION.format(answer=1), "blob": blob})
        create(client(hub), "big", code)
        link = urlsplit(client(hub).get_function(FunctionName="big")["Code"]["Location"])
        before = resident(hub)
        head = f"GET {link.path}?{link.query} HTTP/1.1\nHost: {link.netloc}\n\n"
        with asking(hub, head, 20) as sockets:
            begun = [one.recv(4096) for one in sockets]
            assert all(f"content-length: {len(code)}".encode() in one for one in begun)
            assert resident(hub) - before < 60 * MB
            # who reads it has all of it, at the same time
            with urllib.request.urlopen(link.geturl(), timeout=20) as answer:
                assert answer.read() == code
            assert resident(hub) - before < 60 * MB
