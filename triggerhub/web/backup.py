"""Send a copy of everything that the hub keeps, as it is made."""

from __future__ import annotations

import anyio
from starlette.types import Receive, Scope, Send

from triggerhub.hub.hub import Hub
from triggerhub.web.stream import attended


class Backup:
    """An ASGI response of one archive; one that breaks off cuts the connection, so that nobody takes it for whole."""

    def __init__(self, hub: Hub, closing: anyio.Event) -> None:
        self._hub = hub
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._hub.backup() as pieces:

            async def work() -> None:
                headers = [(b"content-type", b"application/x-tar"), (b"cache-control", b"no-store")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})

            await attended(receive, work, self._closing)
        await send({"type": "http.response.body", "body": b""})
