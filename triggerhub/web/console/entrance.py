"""Let people in by name and password, and out again."""

from __future__ import annotations

import math
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from triggerhub.hub.hub import Hub
from triggerhub.policy.refusals import Refusals
from triggerhub.settings import KB
from triggerhub.web import asked
from triggerhub.web.access import client_of, remark, write_down
from triggerhub.web.console import answer
from triggerhub.web.session import COOKIE, Sessions, cookies

FORM = 8 * KB
"""The most that a stranger may send: a name, a password and a path."""
CROWDED = 5
"""Seconds after which who was sent away may try again."""


class Entrance:
    """The pages /login and /logout."""

    def __init__(self, hub: Hub, sessions: Sessions) -> None:
        self._hub, self._sessions = hub, sessions
        self._refusals = Refusals()
        """Of all strangers together: what they get wrong must not fill the log of changes."""

    def routes(self) -> list[tuple[str, Any, str]]:
        return [("/login", self.page, "GET"), ("/login", self.enter, "POST"), ("/logout", self.leave, "POST")]

    async def page(self, request: Request) -> Response:
        return await self._form(request, request.query_params.get("next", "/"))

    async def _form(self, request: Request, there: str, why: str | None = None, status: int = 200) -> Response:
        values = {
            "project": self._hub.project.hub.project.name,
            "next": _inside(there),
            "why": why,
            "auth": self._hub.project.console.auth,
        }
        return await answer.html("login.html", values, status=status)

    async def enter(self, request: Request) -> Response:
        """Begin a session where name and password fit; who fails often has to wait."""
        fields = await asked.form(request, FORM)
        name, there, client = fields.get("user", ""), _inside(fields.get("next", "/")), client_of(request)
        if wait := self._sessions.wait(client):
            seconds = math.ceil(wait / 1000)
            response = await self._form(request, there, f"Too many tries. Wait {seconds} s.", 429)
            response.headers["Retry-After"] = str(seconds)
            return response
        if self._sessions.crowded:
            response = await self._form(request, there, f"Many sign in just now. Try again in {CROWDED} s.", 503)
            response.headers["Retry-After"] = str(CROWDED)
            return response
        key = await self._sessions.enter(client, name, fields.get("password", ""))
        left_out = 0 if key else self._refusals.due("", time.time_ns() // 1_000_000)
        if left_out is not None:
            entry = {"who": name[:64], "from": client, "text": "sign in", "status": 303 if key else 401}
            await write_down(self._hub, entry | ({"left_out": left_out} if left_out else {}))
        if key is None:
            return await self._form(request, there, "That is not a name with its password.", 401)
        response = RedirectResponse(there, 303, answer.HEADERS)
        secure = request.headers.get("origin", "").startswith("https://")
        response.set_cookie(COOKIE, key, httponly=True, samesite="lax", secure=secure, path="/")
        return response

    async def leave(self, request: Request) -> Response:
        self._sessions.leave(cookies(request.headers).get(COOKIE))
        remark(request.scope, text="sign out")
        response = Response(status_code=204, headers={**answer.HEADERS, "HX-Redirect": "/login"})
        response.delete_cookie(COOKIE, path="/")
        return response


def _inside(there: str) -> str:
    """Return a path of this site: a link may not lead elsewhere once somebody has signed in."""
    try:
        parts = urlsplit(there)
    except ValueError:
        return "/"
    inside = there.startswith("/") and not there.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return there if inside and there.isprintable() else "/"
