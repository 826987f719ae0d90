"""Ask who it is before anything is answered, refuse what he may not, and write down what he changes."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

import anyio
import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from triggerhub.errors import TriggerhubError
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import access, sigv4
from triggerhub.policy.access import LOCAL, STRANGER, Principal
from triggerhub.policy.refusals import Refusals
from triggerhub.web import refusal
from triggerhub.web.lambda_api.link import is_link
from triggerhub.web.proxy import Proxies, from_here, neighbours, peer_address
from triggerhub.web.session import COOKIE, Session, Sessions, cookies

log = structlog.get_logger("admin")

OPEN = re.compile(r"/healthz|/readyz|/login|/static/[^/]+")
"""What is answered to anybody."""
SIGNED = re.compile(r"/20\d\d-\d\d-\d\d/")
"""Where requests of the Lambda API go."""
ORDERS = re.compile(
    r".*/(cancel|redrive|discard|prune|revoke|tokens|pause|resume|fire|redeliver|retry|reload|backup|rollback|canary(/end)?)"
)
"""Changes whose body says what is changed; that of others is a stranger's data."""
KEYS = re.compile(r"/+api/+v1/+(tokens|backup)(\W|$)")
"""What gives keys away: it makes or ends them, or has their secrets in it. A router overlooks what is odd in a path."""
NOTED = 2000
"""Bytes of such a body that are written down."""
SAFE = ("GET", "HEAD", "OPTIONS")

Page: TypeAlias = Callable[[Request, TriggerhubError], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and the session by which he is known."""

    principal: Principal
    session: Session | None = None


def asker(scope: Mapping[str, Json]) -> Asker:
    """Return who asks; whatever was built without a guard before it is local."""
    found: Asker = scope.get("asker") or Asker(LOCAL)
    return found


class Access:
    """ASGI middleware. Without *proxies* whoever gets here may do everything: the socket is the hub's user's own.

    *page* draws a refusal for somebody who is signed in.
    """

    def __init__(self, app: ASGIApp, hub: Hub, sessions: Sessions, proxies: Proxies | None, page: Page) -> None:
        self._app, self._hub, self._sessions, self._proxies, self._page = app, hub, sessions, proxies, page
        self._trusted = proxies is None
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        scope["trusted"] = self._trusted
        if self._proxies is not None:
            _whence(scope, headers, self._proxies)
        # What has only begun knows no tokens yet, and refuses everything itself.
        if self._hub.phase == "starting" or is_link(method, path):
            scope["asker"] = Asker(LOCAL if self._trusted else STRANGER)
            return await self._app(scope, receive, send)
        if OPEN.fullmatch(path):
            shown = self._known(headers, scope, touch=False)
            scope["asker"] = shown if isinstance(shown, Asker) else Asker(STRANGER)
            return await self._app(scope, receive, send)
        if SIGNED.match(path) and _signed(headers, scope):
            # Whoever signed it can be known once the whole request is there: the Lambda API asks itself. To all else,
            # should it pass it on, he is nobody.
            scope["asker"] = Asker(STRANGER)
            return await self._app(scope, receive, send)
        found = self._known(headers, scope)
        if isinstance(found, Response):
            return await found(scope, receive, send)
        if found is None:
            return await self._unknown(headers, method, path, scope)(scope, receive, send)
        if method not in SAFE and found.session is not None and not _meant(headers, found.session):
            why = "the request does not come from a page of the console"
            response = refusal.response(403, "bad-csrf", why, "Load the page again.")
            return await response(scope, receive, send)
        if found.principal is not LOCAL:
            send = self._while_known(headers, scope, send)
            refused = access.refusal(found.principal, access.needed(method, path))
            if refused is not None:
                await self._refused(found.principal, scope)
                return await (await self._forbidden(found, refused, headers, scope))(scope, receive, send)
        elif not self._trusted and method not in SAFE and KEYS.match(path) and self._hub.tokens.keys:
            why = "while the Lambda API asks for access keys, and [console] auth nobody, this goes by the hub's socket"
            hint = "Use the command line on the hub's machine, without --hub; or set [console] auth."
            return await refusal.response(403, "forbidden", why, hint)(scope, receive, send)
        scope["asker"] = found
        if method in SAFE or not access.noted(path):
            return await self._app(scope, receive, send)
        return await self._noted(found.principal, scope, receive, send)

    def _known(self, headers: Headers, scope: Scope, *, touch: bool = True) -> Asker | Response | None:
        """Return who it is, a refusal of what he shows, or None where he shows nothing and must.

        With *touch* a session goes on from now.
        """
        if self._trusted:
            return Asker(LOCAL)
        shown = headers.get("authorization")
        if shown is not None:
            scheme, _, text = shown.partition(" ")
            principal = self._hub.tokens.principal(text.strip()) if scheme.lower() == "bearer" else None
            if principal is None:
                hint = "See `triggerhub token list`; a token is shown once, when it is made."
                return refusal.response(401, "bad-token", "this token is not one of this hub's", hint, CHALLENGE)
            return Asker(principal)
        if self._hub.project.console.auth == "none":
            return None if scope.get("from_afar") else Asker(LOCAL)
        if found := self._sessions.find(cookies(headers).get(COOKIE), touch=touch):
            return Asker(found[1], found[0])
        return None

    def _while_known(self, headers: Headers, scope: Scope, send: Send) -> Send:
        """Return a *send* that ends a stream once who asked for it has signed out or lost his token."""

        async def sending(message: Message) -> None:
            if message.get("more_body") and not isinstance(self._known(headers, scope, touch=False), Asker):
                raise ClientDisconnect
            await send(message)

        return sending

    def _unknown(self, headers: Headers, method: str, path: str, scope: Scope) -> Response:
        if self._hub.project.console.auth == "none":
            why = "this request was forwarded from elsewhere, and without [console] auth only this machine may ask"
            return refusal.response(403, "not-local", why, "Write [console] auth, so that the hub asks who it is.")
        if _visits(headers, method):
            query = scope["query_string"].decode("latin-1")
            there = quote(path + ("?" + query if query else ""), safe="")
            return RedirectResponse(f"/login?next={there}", 303, {"Cache-Control": "no-store"})
        if headers.get("hx-request") or (path == "/live" and headers.get("accept") == "text/event-stream"):
            # A page whose session has ended since: no error of the page's, which browsers would write into its console.
            # A stream that is answered so is not asked for again, and the page looks where it leads.
            return Response(status_code=204, headers={"HX-Trigger": "door", "Cache-Control": "no-store"})
        hint = "Send a token (triggerhub --token T, or TRIGGERHUB_TOKEN), or sign in at /login."
        return refusal.response(401, "who-are-you", "this hub asks who you are", hint, CHALLENGE)

    async def _forbidden(self, who: Asker, why: str, headers: Headers, scope: Scope) -> Response:
        """Return why he may not: to somebody who goes to a page, as one that leads on."""
        if who.session is not None and _visits(headers, scope["method"]):
            scope["asker"] = who
            with suppress(TriggerhubError):  # a store that has failed has no numbers for what is around a page
                return await self._page(Request(scope), refusal.Forbidden(why))
        return refusal.response(403, "forbidden", why)

    async def _refused(self, who: Principal, scope: Scope) -> None:
        """Write down what somebody was refused to change, so often as does not fill the log."""
        if scope["method"] in SAFE or not access.noted(scope["path"]):
            return
        left_out = self._refusals.due(who.name, time.time_ns() // 1_000_000)
        if left_out is not None:
            entry = self._entry(who, scope, b"", 403)
            await write_down(self._hub, entry | ({"left_out": left_out} if left_out else {}))

    async def _noted(self, who: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and write down what came of it once its answer begins.

        What goes on after that is written down again at its end, under the same id, with how far it came.
        """
        body, entry = bytearray(), dict[str, Json]()
        order = ORDERS.fullmatch(scope["path"]) is not None
        remarks = scope["remarks"] = dict[str, Json]()

        async def receiving() -> Message:
            message = await receive()
            if order and len(body) < NOTED:
                body.extend(message.get("body", b"")[: NOTED - len(body)])
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.update(self._entry(who, scope, bytes(body), message["status"]))
                await write_down(self._hub, entry | remarks)
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        finally:
            if entry and "id" in remarks:
                await write_down(self._hub, entry | remarks)

    def _entry(self, who: Principal, scope: Scope, body: bytes, status: int) -> dict[str, Json]:
        client = scope.get("client")
        return {
            "text": f"{scope['method']} {scope['path']}",
            "who": who.name,
            "role": who.role.value,
            "from": "socket" if self._trusted or not client else client[0],
            "query": scope["query_string"].decode("latin-1")[:NOTED],
            "order": _order(body),
            "status": status,
        }


def whose(scope: Scope) -> str:
    """Return for whom it is counted what a request takes: its principal, by however many sessions, or its address."""
    found, client = asker(scope), scope.get("client")
    if found.principal is LOCAL or found.principal is STRANGER:
        return f"address {neighbours(client[0]) if client else ''}"
    # A token's name says that it is one, a user's is his alone.
    return found.principal.name if found.session is None else f"user {found.principal.name}"


def remark(scope: Scope, **facts: Json) -> None:
    """Have what is written down of a request say this besides, or instead."""
    scope.get("remarks", {}).update(facts)


async def write_down(hub: Hub, entry: Mapping[str, Json]) -> None:
    """Add a line to the log of changes; a disk that takes none keeps nobody from putting things right."""
    line = {"time": time.time_ns() // 1_000_000, **entry}
    try:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(hub.changes.add, line)
    except OSError as error:
        log.error("a change could not be written down", error=str(error), change=entry["text"], who=entry["who"])


def _whence(scope: Scope, headers: Headers, proxies: Proxies) -> None:
    """Have the request say whose it is, and whether it comes from elsewhere than this machine."""
    peer, listed = peer_address(scope.get("client")), headers.items()
    scope["from_afar"] = not from_here(peer, listed)
    client, scope["scheme"], _ = proxies.seen(listed, peer=peer, scheme=scope["scheme"], host="")
    scope["client"] = (client, 0)


def _visits(headers: Headers, method: str) -> bool:
    """Whether a browser goes to a page, and not a page asks for a piece of it."""
    return method == "GET" and "text/html" in headers.get("accept", "") and not headers.get("hx-request")


def _signed(headers: Headers, scope: Scope) -> bool:
    authorization = headers.get("authorization")
    if authorization is None:
        return f"{sigv4.SIGNATURE}=".encode() in scope["query_string"]
    return authorization.startswith(sigv4.ALGORITHM)


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="triggerhub"'}


def _meant(headers: Headers, session: Session) -> bool:
    """Whether a page of this session sent the request: only such a page knows its mark."""
    return hmac.compare_digest(headers.get("x-csrf-token", "").encode(), session.csrf.encode())


def _order(body: bytes) -> Json:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def client_of(request: Request) -> str:
    """Return the address that a request comes from."""
    return request.client.host if request.client else "socket"
