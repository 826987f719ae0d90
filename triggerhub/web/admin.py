"""Serve the admin API to this machine: one application, on a TCP address and on the hub's unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from uvicorn import Config, Server

from triggerhub.deploy.registry import Registry
from triggerhub.hub.canaries import Canaries
from triggerhub.hub.hub import Hub
from triggerhub.web import address
from triggerhub.web.access import Access
from triggerhub.web.api import application
from triggerhub.web.guard import Guard
from triggerhub.web.lambda_api.shortcut import Shortcut
from triggerhub.web.patience import IDLE_TIME, Patient
from triggerhub.web.proxy import Proxies
from triggerhub.web.session import Sessions
from triggerhub.web.unixsocket import unix_socket

BACKLOG = 128


@asynccontextmanager
async def serve(
    hub: Hub,
    registry: Registry,
    canaries: Canaries,
    *,
    host: str,
    port: int,
    socket: Path,
    held: Sequence[sockets.socket] | None = None,
) -> AsyncGenerator[int]:
    """Answer on ``host:port`` and on *socket*; yields the port, which the system chose where *port* is 0.

    *held* are the sockets of :func:`address.held`, where the address was taken before. While the hub starts and
    stops it can be looked at, not changed. Leaving ends streams and waits; cancelled, it cuts what is asked.
    ConfigError when an address cannot be had.
    """
    closing = anyio.Event()
    sessions = Sessions(lambda: hub.project.console)
    app, console = application(hub, registry, canaries, closing, sessions)
    proxies = Proxies(hub.project.hub.trusted_proxies)
    guard = Guard(Access(app, hub, sessions, proxies, console.refused), host, lambda: hub.project.console.hosts)
    own = Guard(Access(app, hub, sessions, None, console.refused), None)
    with unix_socket(socket) as unix:
        server = _Server(
            _config(guard, hub.project.hub.drain / 1000),
            Shortcut(hub, app, guard, trusted=False),
            _config(own, hub.project.hub.drain / 1000),
            Shortcut(hub, app, own, trusted=True),
            unix,
        )
        with contextlib.ExitStack() as stack:
            bound = await server.begin(
                address.taken(stack.enter_context(address.held("hub.admin", host, port)) if held is None else held)
            )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.keep)
            try:
                yield bound
            finally:
                closing.set()
                server.should_exit = True
                server.wake.set()


def _config(app: Guard, grace: float) -> Config:
    config = Config(
        app,
        http=Patient,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # What fails here the hub logs itself, in its own form; uvicorn would print it again, in another.
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
        timeout_keep_alive=IDLE_TIME,
    )
    config.load()
    return config


class _Server(Server):
    """uvicorn without its signal handlers and its ticking, on two listeners with a guard each."""

    def __init__(self, tcp: Config, shortcut: Shortcut, unix: Config, own: Shortcut, listener: sockets.socket) -> None:
        super().__init__(tcp)
        self._unix = unix
        self._shortcut, self._own = shortcut, own
        self._listener = listener
        self._crowd: set[Patient] = set()
        self.wake = anyio.Event()
        self.servers: list[asyncio.Server] = []
        self.lifespan = tcp.lifespan_class(tcp)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the hub."""
        yield

    async def begin(self, tcp: Sequence[sockets.socket]) -> int:
        """Listen on all; return the TCP port."""
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._stranger, sock=one) for one in tcp]
        unix = await loop.create_unix_server(self._friend, sock=self._listener, backlog=BACKLOG)
        self.servers.append(unix)
        self.started = True
        bound: int = tcp[0].getsockname()[1]
        return bound

    async def keep(self) -> None:
        """Wait for the end, then shut down as uvicorn does."""
        try:
            await self.wake.wait()
            await self.shutdown()
        except BaseException:
            self.force_exit = True
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            for task in self.server_state.tasks:
                task.cancel()
            raise

    def _stranger(self) -> asyncio.Protocol:
        return self._protocol(self._crowd, self._shortcut, self.config)

    def _friend(self) -> asyncio.Protocol:
        return self._protocol(None, self._own, self._unix)

    def _protocol(self, crowd: set[Patient] | None, shortcut: Shortcut, config: Config) -> asyncio.Protocol:
        return Patient(crowd, shortcut, config=config, server_state=self.server_state, app_state={})
