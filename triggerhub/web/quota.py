"""Bound how many streams are open: each holds a connection, and of those the listener has so many for all."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from triggerhub.web import refusal
from triggerhub.web.access import whose

EACH = 32
"""Streams of one user, by whatever sessions, of one token, or of one address where nobody is asked who he is."""
ALL = 300
"""Streams of all together: the other connections are for what is asked once, the state of the hub's health first."""
AGAIN = 5
"""Seconds after which it may be tried again."""


class Quota:
    """The streams that are open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def refusal(self, whose: str) -> str | None:
        """Return why *whose* may not open another; None where he may."""
        if self._open[whose] >= EACH:
            return f"{EACH} streams are open already for the one who asks"
        if self._open.total() >= ALL:
            return f"{ALL} streams are open already"
        return None

    def open(self, whose: str) -> None:
        """Count one more."""
        self._open[whose] += 1

    def close(self, whose: str) -> None:
        """Count one less."""
        self._open[whose] -= 1
        self._open += Counter()  # what is none is not kept


class Held:
    """ASGI middleware of what streams. Who asks on the hub's socket is not counted: he takes nobody's connection."""

    def __init__(self, app: ASGIApp, quota: Quota) -> None:
        self._app, self._quota = app, quota

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("trusted"):
            return await self._app(scope, receive, send)
        who = whose(scope)
        if why := self._quota.refusal(who):
            hint = "Close some: pages that are open, `logs -f`, `top`."
            answer = refusal.response(429, "too-many-streams", why, hint, {"Retry-After": str(AGAIN)})
            return await answer(scope, receive, send)
        self._quota.open(who)
        try:
            return await self._app(scope, receive, send)
        finally:
            self._quota.close(who)
