"""Answer a request that takes its time: as JSON lines while things happen, or once a wait is over.

Neither outlives its client. Streams and waits also end when the hub does, so that they never hold up
its shutdown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from triggerhub.errors import TriggerhubError
from triggerhub.model import Json
from triggerhub.web import refusal, shape
from triggerhub.web.refusal import Stopping

T = TypeVar("T")
Tell: TypeAlias = Callable[[Json], Awaitable[None]]
"""Sends one line; waits while the client reads slowly."""


class Lines:
    """An ASGI response of JSON lines. *work* tells them; what it raises becomes a last line ``{"error": …}``."""

    def __init__(self, work: Callable[[Tell], Awaitable[None]], closing: anyio.Event) -> None:
        self._work = work
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # The empty piece carries the header to the client, who waits for it before the first line comes.
        await send(_piece(b""))

        async def tell(value: Json) -> None:
            await send(_piece(shape.dump(value) + b"\n"))

        async def work() -> None:
            try:
                await self._work(tell)
            except TriggerhubError as error:
                await send(_piece(bytes(refusal.of(error).body) + b"\n"))

        try:
            await attended(receive, work, self._closing)
        except ClientDisconnect:
            return
        except Stopping:
            pass
        await send({"type": "http.response.body", "body": b""})


async def attended(receive: Receive, work: Callable[[], Awaitable[T]], closing: anyio.Event | None = None) -> T:
    """Return what *work* returns. ClientDisconnect when the client leaves, Stopping once *closing* is set.

    The body must have been read before. In both cases *work* is cancelled.
    """
    results: list[T] = []
    failures: list[Exception] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_left, receive, tasks.cancel_scope)
        if closing is not None:
            tasks.start_soon(_closed, closing, tasks.cancel_scope)
        try:
            results.append(await work())
        except Exception as error:
            failures.append(error)
        finally:
            tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if results:
        return results[0]
    if closing is not None and closing.is_set():
        raise Stopping("the hub is stopping", hint="Ask again when it is back.")
    raise ClientDisconnect


async def _left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _closed(closing: anyio.Event, scope: anyio.CancelScope) -> None:
    await closing.wait()
    scope.cancel()


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
