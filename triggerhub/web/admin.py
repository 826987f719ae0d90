"""Listen for people and tools: the JSON API, metrics and health, on TCP and on a socket in the data folder."""

from __future__ import annotations

import hashlib
import os
import socket as sockets
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from triggerhub.errors import (
    BacklogFull,
    BadInput,
    ConfigError,
    Conflict,
    NotFound,
    StoreBroken,
    StoreFull,
    TriggerhubError,
)
from triggerhub.hub.hub import Hub
from triggerhub.web.api import Api

log = structlog.get_logger("admin")

LONGEST_SOCKET = 107
"""Bytes that the kernel allows in a socket's path."""
STATUSES = {BadInput: 400, NotFound: 404, Conflict: 409, BacklogFull: 429, StoreFull: 507, StoreBroken: 503}
LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


class _Server(uvicorn.Server):
    """A server that leaves signals to the hub."""

    def capture_signals(self) -> Any:
        return nullcontext()


@asynccontextmanager
async def serve(hub: Hub, *, host: str, port: int, socket: Path) -> AsyncGenerator[int]:
    """Answer on *host*:*port* and on *socket*; yields the port. ConfigError where the address cannot be had."""
    app = application(hub)
    try:
        tcp = sockets.create_server((host, port), family=sockets.AF_INET6 if ":" in host else sockets.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}",
            hint="Stop what has that address, or choose another one for hub.admin.",
        ) from error
    bound = tcp.getsockname()[1]
    with tcp, unix(socket) as local:
        config = uvicorn.Config(
            Guard(app, host), log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=2, ws="none"
        )
        server = _Server(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [tcp, local])
            try:
                while not server.started:
                    await anyio.sleep(0.005)
                yield bound
            finally:
                server.should_exit = True


@contextmanager
def unix(path: Path) -> Iterator[sockets.socket]:
    """Listen at *path*; where that is too long for the kernel, a link there leads to a shorter place."""
    path.unlink(missing_ok=True)
    actual = path
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"triggerhub-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise ConfigError(f"{folder} belongs to somebody else", hint="Set XDG_RUNTIME_DIR to a folder of your own.")
        actual = folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"
        actual.unlink(missing_ok=True)
        path.symlink_to(actual)
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(actual))
        finally:
            os.umask(before)
        listener.listen(128)
        yield listener
    finally:
        listener.close()
        actual.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def application(hub: Hub) -> Starlette:
    """Return the ASGI application."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        if hub.ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not taking events\n", 503)

    async def metrics(request: Request) -> Response:
        return Response(await hub.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def index(request: Request) -> Response:
        there = ["/healthz", "/readyz", "/metrics", "/api/v1/status"]
        return JSONResponse({"error": {"code": "NotFound", "message": "no page here", "hint": " ".join(there)}}, 404)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Mount("/api/v1", routes=Api(hub).routes()),
        ],
        exception_handlers={TriggerhubError: _refuse, ValueError: _refuse_value},
    )


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, TriggerhubError)
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BacklogFull) else None
    body = {"error": {"code": type(error).__name__, "message": error.message, "hint": error.hint}}
    return JSONResponse(body, status, headers=headers)


async def _refuse_value(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": {"code": "BadInput", "message": str(error), "hint": None}}, 400)


class Guard:
    """Refuse on TCP what a browser was tricked into sending: foreign Host, foreign Origin, and tokens."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._hosts = LOOPBACK | {host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := self._why(scope)):
            status, message = why
            body = {"error": {"code": "Forbidden", "message": message, "hint": None}}
            await JSONResponse(body, status)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _why(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if b"authorization" in headers:
            return 400, "tokens are not available in this version; use the hub's own socket or loopback"
        if scope.get("client") is None or not scope["client"]:
            return None
        if _name(headers.get(b"host", "")) not in self._hosts:
            return 421, f"this hub does not answer for the host {headers.get(b'host', '')!r}"
        origin = headers.get(b"origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get(b"host")
        if scope["method"] not in ("GET", "HEAD") and foreign:
            return 403, f"requests from {origin!r} are not allowed"
        return None


def _name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host
