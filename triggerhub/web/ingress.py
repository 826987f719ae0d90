"""Serve the world: the listener that webhooks come in by.

This is the path of every event, so it has no framework on it: bytes are parsed by llhttp, the route
is found in a dict, and the answer is one write. Sources put their routes on it while they run.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from triggerhub.source import Route
from triggerhub.web import address
from triggerhub.web.connection import Connection, Crowd
from triggerhub.web.greeting import Greeter
from triggerhub.web.limit import Limits
from triggerhub.web.parser import Shared
from triggerhub.web.proxy import Proxies
from triggerhub.web.routing import Table

VACANCY = 5.0
"""For how many seconds a path that is served no longer answers 503, and no other route takes it: a reload exchanges
routes in less."""


class Ingress:
    """Implements ``source.Routes``; the same routes answer on every address it listens on.

    Where it is made *awaiting* routes, a path that nobody serves answers 503 until :meth:`complete`.
    """

    def __init__(self, limits: Limits | None = None, *, awaiting: bool = False) -> None:
        self._limits = limits or Limits()
        self._table = Table()
        self._table.awaiting = awaiting
        self._listeners: list[_Listener] = []

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(len(listener.connections) for listener in self._listeners)

    def complete(self) -> None:
        """Say that all routes are there: from now on a path that nobody serves answers 404."""
        self._table.awaiting = False

    @asynccontextmanager
    async def serve(self, *routes: Route) -> AsyncGenerator[None]:
        """Answer these routes while the context is open. ConfigError names both when one is served already.

        Requests that are being answered on leaving are answered to their end.
        """
        self._table.add(routes)
        try:
            yield
        finally:
            self._table.remove(routes)
            asyncio.get_running_loop().call_later(VACANCY, self._table.forget, routes)

    @asynccontextmanager
    async def listen(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Sequence[str] = (),
        grace: float = 30,
        sockets: Sequence[socket.socket] | None = None,
    ) -> AsyncGenerator[int]:
        """Accept connections; yields the port, which the system chose where *port* is 0.

        *sockets* are those of :func:`address.held`, where the address was taken before. Leaving stops
        accepting, closes idle connections and waits up to *grace* seconds for the open requests; cancelled,
        it waits no longer. ConfigError when the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        listener = _Listener(
            Shared(
                table=self._table,
                proxies=Proxies(trusted_proxies),
                limits=self._limits,
                secure=tls is not None,
                loop=loop,
            )
        )
        greeter = Greeter(tls, self._limits, listener.connections, listener.connect) if tls else None
        servers: list[asyncio.Server] = []
        with contextlib.ExitStack() as stack:
            if sockets is None:
                sockets = stack.enter_context(address.held("hub.listen", host, port))
            taken = address.taken(sockets)
            bound: int = taken[0].getsockname()[1]
            if greeter:
                greeter.listen(taken)
            else:
                servers = [
                    await loop.create_server(listener.connect, sock=one, backlog=address.BACKLOG) for one in taken
                ]
        self._listeners.append(listener)
        try:
            yield bound
            for server in servers:
                server.close()
            if greeter:
                await greeter.close()
            await listener.drain(grace)
        finally:
            for server in servers:
                server.close()
            self._listeners.remove(listener)
            with anyio.CancelScope(shield=True):
                if greeter:
                    await greeter.close()
                await listener.cut()


class _Listener:
    """The connections of one address."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.connections = Crowd()
        self._sweeping = False

    def connect(self) -> Connection:
        if not self._sweeping:
            self._sweeping = True
            self._shared.loop.call_later(self._shared.limits.sweep, self._sweep)
        return Connection(self._shared, self.connections)

    def _sweep(self) -> None:
        # One timer for all connections: one per request would cost more than the request.
        now = self._shared.loop.time()
        for connection in list(self.connections):
            connection.check(now)
        self._sweeping = bool(self.connections)
        if self._sweeping:
            self._shared.loop.call_later(self._shared.limits.sweep, self._sweep)

    async def drain(self, grace: float) -> None:
        """Wait up to *grace* seconds for the open requests."""
        self._shared.draining = True
        for connection in list(self.connections):
            connection.drain()
        with anyio.move_on_after(grace):
            while self.connections:
                await anyio.sleep(0.01)

    async def cut(self) -> None:
        """End every connection now."""
        tasks = [task for connection in list(self.connections) if (task := connection.abort())]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
