"""Decide who may do what at the admin address. Pure.

A viewer looks, an operator also does what a night may ask for (deliver again, cancel, pause, fire), an admin
does everything. Seeing what events carry and handlers answer is a right of its own, whatever the role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from triggerhub.model import Millis


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """How much it may; each role may what those below it may."""
        return list(Role).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who asks."""

    name: str
    role: Role
    payloads: bool = True
    """Whether events, their keys, answers, the text of errors and logs are shown."""
    named: bool = False
    """Whether each thing that it may do was named, instead of left to its role."""

    @property
    def settings(self) -> bool:
        """Whether values of settings, such as a function's variables, are shown."""
        return self.role is Role.ADMIN or self.named


LOCAL = Principal(name="local", role=Role.ADMIN)
"""Whoever may open the hub's socket, and on a loopback address without access control everybody there."""
STRANGER = Principal(name="somebody", role=Role.VIEWER, payloads=False)
"""Whoever shows nothing where nothing has to be shown: he is told what is everybody's to know, and no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a request takes."""

    role: Role
    payloads: bool = False


_OPERATED = re.compile(
    r"(/api/v1)?/(deliveries/(cancel|retry|[^/]+/(cancel|redeliver|retry|resend))"
    r"|dead-letters/(redrive|discard)"
    r"|functions/[^/]+/(pause|resume|invoke|test)"
    r"|triggers/[^/]+/(pause|resume|fire|send|examine))"
)
_INVOKED = re.compile(r"/20\d\d-\d\d-\d\d/functions/[^/]+/(invocations|invoke-async|response-streaming-invocations)/?")
_TOLD = re.compile(
    r"/api/v1/(output|watch|backup|events/[^/]+|functions/[^/]+/invoke)|/deliveries/[^/]+/(logs|(event|payload|result)\.json|resend)"
    r"|/functions/[^/]+/(test|logs)|/dead-letters/export\.jsonl"
)
_OWNED = re.compile(r"/settings(/.*)?|/api/v1/(tokens|changes)(/.*)?")
_ODD = re.compile(r"[\x00-\x1f\x7f]")
"""What no path of ours has. A router may take ``/settings`` and a line break for ``/settings``."""


def needed(method: str, path: str) -> Needed:
    """Return what a request takes; what is not known here takes an admin to change and a viewer to look at."""
    if _ODD.search(path):
        return Needed(role=Role.ADMIN, payloads=True)
    payloads = _TOLD.fullmatch(path) is not None
    if _OWNED.fullmatch(path):
        return Needed(role=Role.ADMIN)
    if path == "/logout" or method in ("GET", "HEAD"):
        return Needed(role=Role.VIEWER, payloads=payloads)
    if _INVOKED.fullmatch(path):
        return Needed(role=Role.OPERATOR, payloads=True)
    return Needed(role=Role.OPERATOR if _OPERATED.fullmatch(path) else Role.ADMIN, payloads=payloads)


def noted(path: str) -> bool:
    """Whether a request that is no mere look is written down: calls of functions are work, not changes."""
    return _INVOKED.fullmatch(path) is None


def refusal(who: Principal, what: Needed) -> str | None:
    """Return why *who* may not, None where he may."""
    if who.role.rank < what.role.rank:
        return f"{who.name} is {_one(who.role)}; this takes {_one(what.role)}"
    if what.payloads and not who.payloads:
        return f"{who.name} may not see what events carry"
    return None


def _one(role: Role) -> str:
    return f"a {role}" if role is Role.VIEWER else f"an {role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How often one address failed to sign in lately."""

    failures: int = 0
    since: Millis = 0


FREE = 5
"""Failures within :data:`FORGOTTEN` that cost nothing."""
FORGOTTEN: Millis = 60_000


def failed(tries: Tries, now: Millis) -> Tries:
    """Return the tries after one more failure."""
    if not tries.failures or now - tries.since > FORGOTTEN:
        return Tries(failures=1, since=now)
    return Tries(failures=tries.failures + 1, since=tries.since)


def succeeded(tries: Tries) -> Tries:
    """Return the tries after one that was counted as a failure and was none: others stay, whoever has an account."""
    return Tries(failures=max(tries.failures - 1, 0), since=tries.since)


def wait(tries: Tries, now: Millis) -> Millis:
    """Return how long the next try must wait; 0 is not at all."""
    if tries.failures < FREE or now - tries.since > FORGOTTEN:
        return 0
    return FORGOTTEN - (now - tries.since) + 1
