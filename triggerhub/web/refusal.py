"""Answer what went wrong: one shape of error for the whole admin API."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
from triggerhub.web import shape
from triggerhub.web.room import Crowded

log = structlog.get_logger("admin")


class TooLarge(BadInput):
    """A body is over the limit: HTTP 413."""


class Forbidden(TriggerhubError):
    """Who asks may not do this: HTTP 403."""


class Stopping(TriggerhubError):
    """The hub has only begun, or ended before the answer was there: HTTP 503."""


KINDS: tuple[tuple[type[TriggerhubError], int, str], ...] = (
    (BadInput, 400, "bad-input"),
    (NotFound, 404, "not-found"),
    (Forbidden, 403, "forbidden"),
    (Conflict, 409, "conflict"),
    (ConfigError, 409, "configuration"),
    (BacklogFull, 429, "backlog-full"),
    (StoreFull, 507, "store-full"),
    (StoreBroken, 503, "store-broken"),
    (Stopping, 503, "stopping"),
    (Crowded, 503, "crowded"),
)


def response(
    status: int, code: str, message: str, hint: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return ``{"error": {"code", "message", "hint"}}``."""
    body = shape.dump({"error": {"code": code, "message": message, "hint": hint}})
    return Response(body, status, headers, "application/json")


def of(error: TriggerhubError) -> Response:
    """Return the answer that an error is."""
    if isinstance(error, TooLarge):
        return response(413, "too-large", error.message, error.hint)
    for kind, status, code in KINDS:
        if isinstance(error, kind):
            again = error.retry_after if isinstance(error, BacklogFull) else 1 if isinstance(error, Crowded) else None
            headers = None if again is None else {"Retry-After": str(again)}
            return response(status, code, error.message, error.hint, headers)
    return response(500, "failed", error.message, error.hint)


LINGER = 2.0
"""Seconds for which what is still being sent is read and thrown away before a refusal."""


def patient(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return a *receive* and a *send* that read a body to its end before a refusal, and throw it away.

    Closing with input unread resets the connection, and the client may never see the answer.
    """
    read = False

    async def receiving() -> Message:
        nonlocal read
        message = await receive()
        read = not message.get("more_body")
        return message

    async def sending(message: Message) -> None:
        if message.get("status", 0) >= 400:
            with anyio.move_on_after(LINGER):
                while not read:
                    await receiving()
        await send(message)

    return receiving, sending


class Refusals:
    """ASGI middleware that turns whatever is raised into an answer; once one has begun, it ends the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        receiving, patiently = patient(receive, send)
        # Where there is an application, starlette raises its errors instead of answering them in plain text.
        scope["app"] = self

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await patiently(message)

        try:
            return await self._app(scope, receiving, sending)
        except ClientDisconnect:
            return None
        except TriggerhubError as error:
            answer = of(error)
        except HTTPException as error:
            code = "no-such-method" if error.status_code == 405 else "bad-input"
            answer = response(error.status_code, code, f"{scope['method']} {scope['path']}: {error.detail}")
            answer.headers.update(error.headers or {})
        except Exception:
            log.exception("an admin request failed", method=scope["method"], path=scope["path"])
            answer = response(500, "failed", "the hub failed at this request; its log says why")
        if begun:
            raise ConnectionAbortedError("the answer had begun")
        return await answer(scope, receiving, sending)
