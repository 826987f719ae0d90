"""Keep the tokens by which programs prove who they are; of a token only its digest is kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from triggerhub.errors import BadInput, Conflict, NotFound
from triggerhub.model import Millis
from triggerhub.policy.access import Principal, Role
from triggerhub.store import Store

SCOPE = "tokens"
MOST = 1000
"""Tokens of one hub."""
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_FORM = re.compile(r"th_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; not the token."""

    id: str
    name: str
    role: Role
    payloads: bool
    created: Millis
    expires: Millis | None
    digest: str


class Tokens:
    """The tokens of one hub, in memory and in its store."""

    def __init__(self, store: Store, now: Callable[[], Millis], draw: Callable[[int], bytes] = os.urandom) -> None:
        self._store, self._now, self._draw = store, now, draw
        self._known: dict[str, Token] = {}

    async def load(self) -> None:
        """Read what was made before."""
        for key, text in (await self._store.checkpoints(SCOPE)).items():
            fields = json.loads(text)
            self._known[key] = Token(**{**fields, "id": key, "role": Role(fields["role"])})

    def all(self) -> list[Token]:
        """Return the tokens, oldest first."""
        return sorted(self._known.values(), key=lambda one: (one.created, one.id))

    async def create(self, name: str, role: Role, *, payloads: bool, lasts: Millis | None) -> tuple[Token, str]:
        """Make a token; return it and the text that proves it, which nobody can read again. BadInput, Conflict."""
        if not _NAME.fullmatch(name):
            raise BadInput("a token's name has letters, digits, '_', '-', '.' and '@', at most 64")
        if any(one.name == name for one in self._known.values()):
            raise Conflict(
                f"there is a token {name!r} already", hint=f"Revoke it first: triggerhub token revoke {name}"
            )
        if len(self._known) >= MOST:
            raise Conflict(f"there are {MOST} tokens already", hint="Revoke some: triggerhub token list")
        secret = base64.urlsafe_b64encode(self._draw(32)).decode().rstrip("=")
        made = Token(
            id=self._draw(6).hex(),
            name=name,
            role=role,
            payloads=payloads,
            created=self._now(),
            expires=self._now() + lasts if lasts else None,
            digest=_digest(secret),
        )
        text = json.dumps(
            {
                "name": made.name,
                "role": made.role,
                "payloads": made.payloads,
                "created": made.created,
                "expires": made.expires,
                "digest": made.digest,
            }
        )
        await self._store.set_checkpoints(SCOPE, {made.id: text})
        self._known[made.id] = made
        return made, f"th_{made.id}_{secret}"

    async def revoke(self, name: str) -> Token:
        """Take a token's power, by its name or id. NotFound."""
        for one in self._known.values():
            if name in (one.name, one.id):
                del self._known[one.id]
                await self._store.set_checkpoints(SCOPE, {one.id: None})
                return one
        raise NotFound(f"there is no token {name!r}", hint="See: triggerhub token list")

    def principal(self, text: str) -> Principal | None:
        """Return whom a token stands for; None where it is none, or not any more."""
        match = _FORM.fullmatch(text)
        one = self._known.get(match[1]) if match else None
        if match is None or one is None or not hmac.compare_digest(_digest(match[2]), one.digest):
            return None
        if one.expires is not None and one.expires <= self._now():
            return None
        return Principal(name=f"token {one.name}", role=one.role, payloads=one.payloads)


def _digest(secret: str) -> str:
    # The secret is 256 bits of chance: it needs no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()
