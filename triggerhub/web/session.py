"""Remember who signed in: in memory, so that a restart asks again and nothing that is stolen from a disk signs in."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import anyio

from triggerhub.model import Millis
from triggerhub.policy import access, password
from triggerhub.policy.access import Principal, Role, Tries
from triggerhub.settings import DAY, HOUR, ConsoleSettings, Secret
from triggerhub.web.proxy import neighbours

COOKIE = "triggerhub_session"
IDLE: Millis = 12 * HOUR
LONGEST: Millis = 30 * DAY
MOST = 1000
"""Sessions at a time."""
EACH = 50
"""Sessions of one user."""
WAITING = 20
"""Of so many the passwords wait to be looked at, one after the other."""
ADDRESSES = 10_000
"""Addresses, and networks of IPv6, whose failures are remembered."""


@cache
def _nobody() -> str:
    """Return what a name that nobody has is compared with, so that it takes as long."""
    return password.hashed("", b"nobody has it...")


@dataclass(slots=True)
class Session:
    """One browser that signed in."""

    name: str
    hash: Secret
    csrf: str
    began: Millis
    used: Millis


class Sessions:
    """Who is signed in, and who failed to."""

    def __init__(self, settings: Callable[[], ConsoleSettings]) -> None:
        self._settings = settings
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._tries: OrderedDict[str, Tries] = OrderedDict()
        # A hash takes 32 MB and a tenth of a second.
        self._one = anyio.CapacityLimiter(1)

    def find(self, key: str | None, *, touch: bool = True) -> tuple[Session, Principal] | None:
        """Return a session and whose it is; a changed password, a removed user and time end it.

        With *touch* it is used now, and its time begins anew.
        """
        session = self._open.get(key or "")
        if key is None or session is None:
            return None
        now, user = _now(), self._settings().users.get(session.name)
        if user is None or user.hash != session.hash or now - session.used > IDLE or now - session.began > LONGEST:
            del self._open[key]
            return None
        if touch:
            session.used = now
            self._open.move_to_end(key)
        return session, Principal(name=session.name, role=Role(user.role), payloads=user.payloads)

    def wait(self, client: str) -> Millis:
        """Return how long *client* must wait before it may try again."""
        return access.wait(self._tries.get(neighbours(client), Tries()), _now())

    @property
    def crowded(self) -> bool:
        """Whether so many wait for their password to be looked at that one more would wait for long."""
        return self._one.statistics().tasks_waiting >= WAITING

    async def enter(self, client: str, name: str, word: str) -> str | None:
        """Return the key of a new session; None where name and password do not fit, which is remembered."""
        user, client = self._settings().users.get(name), neighbours(client)
        # Counted before it is known: many at once are many tries.
        self._tries[client] = access.failed(self._tries.get(client, Tries()), _now())
        self._tries.move_to_end(client)
        while len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)
        fits = await anyio.to_thread.run_sync(
            lambda: password.fits(word, user.hash.reveal() if user else _nobody()), limiter=self._one
        )
        if user is None or not fits:
            return None
        self._tries[client] = access.succeeded(self._tries.get(client, Tries()))
        key, now = secrets.token_urlsafe(32), _now()
        self._open[key] = Session(name=name, hash=user.hash, csrf=secrets.token_urlsafe(24), began=now, used=now)
        self._make_room(name)
        return key

    def _make_room(self, name: str) -> None:
        """End what are too many now that *name* signed in: his own that rest for the longest, those of others last."""
        own = [key for key, session in self._open.items() if session.name == name]
        many = max(len(own) - EACH, min(len(self._open) - MOST, len(own) - 1), 0)
        for key in own[:many]:
            del self._open[key]
        while len(self._open) > MOST:
            self._open.popitem(last=False)

    def leave(self, key: str | None) -> None:
        """End a session."""
        self._open.pop(key or "", None)


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the cookies of a request."""
    found: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, mark, value = part.strip().partition("=")
        if mark:
            found.setdefault(name, value)
    return found


def without(text: str) -> str:
    """Return the value of a Cookie header without the cookie of a session, for whoever is not the console."""
    parts = (part.strip() for part in text.split(";"))
    return "; ".join(part for part in parts if part.partition("=")[0].strip() != COOKIE)


def _now() -> Millis:
    return time.time_ns() // 1_000_000
