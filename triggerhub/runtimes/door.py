"""Take out of a sandbox the socket that listens within it, so that the hub serves there and nothing is let out."""

from __future__ import annotations

import asyncio
import socket


class Door:
    """Hands out of a sandbox the socket that listens within it."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    async def listening(self) -> socket.socket | None:
        """Wait for it; None where the sandbox ended before. The caller closes it."""
        self.theirs.close()
        loop = asyncio.get_running_loop()
        there: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._ours.fileno(), _settle, there)
        try:
            await there
        finally:
            loop.remove_reader(self._ours.fileno())
        try:
            _, descriptors, _, _ = socket.recv_fds(self._ours, 16, 1)
        except OSError:
            return None
        if not descriptors:
            return None
        listening = socket.socket(fileno=descriptors[0])
        listening.setblocking(False)
        listening.set_inheritable(False)
        return listening

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
