"""Ports for processes that are told theirs: nobody else takes one that is not listened on yet, or not at the moment."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from functools import cache

FIRST, LAST, BLOCK = 15_000, 32_000, 100
"""Below what the kernel hands out by itself, to clients and to whoever binds port 0: from 32,768 on."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free; this process is given it again after a hundred others, no other is at all."""
    _, ports = _own()
    for port in itertools.islice(ports, BLOCK):
        with socket.socket() as probe:
            # As servers bind: what is left of closed connections does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _bound(probe, port):
                return port
    raise AssertionError("each port of this process's block is taken")


@cache
def _own() -> tuple[socket.socket, Iterator[int]]:
    """Return a block's ports, round and round, and what makes it this process's: a socket bound to its first."""
    for first in range(FIRST, LAST, BLOCK):
        guard = socket.socket()
        if _bound(guard, first):
            return guard, itertools.cycle(range(first + 1, first + BLOCK))
        guard.close()
    raise AssertionError(f"each block of ports from {FIRST} to {LAST} is taken")


def _bound(made: socket.socket, port: int) -> bool:
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
