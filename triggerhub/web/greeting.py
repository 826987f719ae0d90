"""Shake hands with clients that come by TLS, so many at a time as may be connected.

A client that has not shaken hands takes a descriptor as any other does. asyncio's own TLS server tells
of a client only afterwards: whoever just connects could take them all.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence

import structlog

from triggerhub.web.address import BACKLOG
from triggerhub.web.connection import Connection
from triggerhub.web.limit import Limits

log = structlog.get_logger("ingress")

PAUSE = 0.1
"""Seconds for which nobody is accepted when there is no descriptor or no memory left."""
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Greeter:
    """Accepts the clients of one listener; those that have shaken hands are *connect*'s."""

    def __init__(
        self, context: ssl.SSLContext, limits: Limits, connections: set[Connection], connect: Callable[[], Connection]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._limits = limits
        self._connections = connections
        self._connect = connect
        self._listening: Sequence[socket.socket] = ()
        self._greeting: dict[asyncio.Task[None], socket.socket] = {}

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these; they are the greeter's from now on."""
        self._listening = sockets
        for one in sockets:
            self._resume(one)

    async def close(self) -> None:
        """Accept nobody any more, and let those go that have not shaken hands."""
        for one in self._listening:
            if one.fileno() >= 0:
                self._loop.remove_reader(one)
                one.close()
        greeting = dict(self._greeting)
        for task in greeting:
            task.cancel()
        await asyncio.gather(*greeting, return_exceptions=True)
        for task, client in greeting.items():
            if task.cancelled():
                client.close()  # it may never have begun

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                client, _ = listening.accept()
            except OSError as error:
                if error.errno in _SCARCE:
                    log.error("nobody can be accepted", error=error.strerror)
                    self._loop.remove_reader(listening)
                    self._loop.call_later(PAUSE, self._resume, listening)
                return
            if len(self._connections) + len(self._greeting) >= self._limits.handshakes:
                client.close()  # it could be told why only once it has shaken hands
                continue
            client.setblocking(False)
            task = self._loop.create_task(self._greet(client))
            self._greeting[task] = client
            task.add_done_callback(lambda done: self._greeting.pop(done, None))

    async def _greet(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connect, client, ssl=self._context, ssl_handshake_timeout=self._limits.head_time
            )
        except OSError as error:  # also what ssl raises, and the time that is up
            log.debug("a client did not shake hands", why=str(error))
