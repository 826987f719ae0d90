"""Try to get out of a sandbox, in the ways that would matter most: run in each kind before any handler is."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable
from typing import Any


def handler(event: dict[str, Any], context: object) -> int | list[str]:
    """Return the names of what worked and should not have; with ``hold``, use so many bytes."""
    if "hold" in event:
        kept = bytearray(event["hold"])
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(0.2)
        return len(kept)
    held = [name for name, attempt in ATTEMPTS if worked(attempt, event)]
    return [*held, "there is no way to the world"] if event.get("carried") and not leads_out() else held


def leads_out() -> bool:
    """Whether there is a route to everywhere."""
    with open("/proc/net/route") as routes:
        if any(line.split()[1] == "00000000" for line in routes):
            return True
    with open("/proc/net/ipv6_route") as routes:
        return any(line.split()[1] == "00" and line.split()[-1] != "lo" for line in routes)


def sees(event: dict[str, Any]) -> bool:
    if event.get("confined"):  # where what cannot be touched is there all the same
        with open(event["path"]):
            return True
    return os.path.exists(event["path"])


def worked(attempt: Callable[[dict[str, Any]], object], event: dict[str, Any]) -> bool:
    try:
        return bool(attempt(event))
    except (OSError, ValueError):
        return False


def call(name: str, *arguments: object) -> bool:
    return bool(getattr(ctypes.CDLL(None), name)(*arguments) == 0)


def reach(event: dict[str, Any]) -> bool:
    socket.create_connection(("127.0.0.1", event["port"]), 1).close()
    return True


def write(event: dict[str, Any]) -> bool:
    with open("/usr/canary", "w"):
        return True


def signals(event: dict[str, Any]) -> bool:
    os.kill(event["pid"], 0)
    return True


def family(event: dict[str, Any]) -> bool:
    socket.socket(40, socket.SOCK_STREAM).close()
    return True


def root(event: dict[str, Any]) -> bool:
    os.setuid(0)
    return True


def others(event: dict[str, Any]) -> list[str]:
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]


ATTEMPTS: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
    ("a file of the hub was seen", sees),
    ("a file was written outside of its own folders", write),
    ("a port of the host was reached", reach),
    ("a process of the host could be signalled", signals),
    ("another process was seen", others),
    ("a user namespace was made", lambda event: call("unshare", 0x10000000)),
    ("a file system was mounted", lambda event: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
    ("a process could be traced", lambda event: call("ptrace", 0, 0, 0, 0)),
    ("a socket of another family was made", family),
    ("it became root", root),
)
