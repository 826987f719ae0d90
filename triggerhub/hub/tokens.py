"""Keep the tokens by which programs prove who they are.

Of a token only its digest is kept. An access key for the Lambda API is another matter: whoever verifies a
signature must know the secret that made it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import anyio

from triggerhub.aws import arn
from triggerhub.errors import BadInput, Conflict, NotFound
from triggerhub.model import Millis
from triggerhub.policy.access import Principal, Role
from triggerhub.policy.unrepeated import Answered
from triggerhub.store import Store

SCOPE, DOOR = "tokens", "lambda-api"
CLOSED = "closed"
"""What is kept of the Lambda API once an access key was made, and stays when that is gone."""
MOST = 1000
"""Tokens of one hub."""
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_ACTION = re.compile(r"[A-Za-z0-9_:*?-]{1,128}")
_FUNCTION = re.compile(r"[A-Za-z0-9_*?-]{1,128}(:[A-Za-z0-9_*?-]{1,128})?")
_ARN = arn.function("")
"""What the ARN of a function begins with, which may stand before its name."""
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
    key: str | None = None
    """The id of an access key for the Lambda API, where it is one."""
    secret: str | None = None
    """What an access key signs with."""
    actions: tuple[str, ...] = ()
    """Patterns of the operations that an access key may call, like ``lambda:Invoke*``; none leaves it to its role."""
    functions: tuple[str, ...] = ()
    """Patterns of the functions that it may name; none is all."""
    policy: str | None = None
    """The IAM policy that an access key has instead of a role and patterns, as JSON."""

    @property
    def principal(self) -> Principal:
        name = f"{'key' if self.key else 'token'} {self.name}"
        named = bool(self.actions or self.policy)
        return Principal(name=name, role=self.role, payloads=self.payloads, named=named)


class Tokens:
    """The tokens of one hub, in memory and in its store."""

    def __init__(self, store: Store, now: Callable[[], Millis], draw: Callable[[int], bytes] = os.urandom) -> None:
        self._store, self._now, self._draw = store, now, draw
        self._known: dict[str, Token] = {}
        self._ids: dict[str, str] = {}
        """Of the access keys, by what they are called in a signature."""
        self._closed = False
        self._changing = anyio.Lock()
        self.answered = Answered(now() / 1000)
        """The signatures of access keys that were used up."""

    async def load(self) -> None:
        """Read what was made before."""
        for key, text in (await self._store.checkpoints(SCOPE)).items():
            fields = json.loads(text)
            lists = {name: tuple(fields.get(name, ())) for name in ("actions", "functions")}
            self._add(Token(**{**fields, **lists, "id": key, "role": Role(fields["role"])}))
        self._closed = CLOSED in await self._store.checkpoints(DOOR)

    def _add(self, token: Token) -> None:
        self._known[token.id] = token
        if token.key is not None:
            self._ids[token.key] = token.id

    def all(self) -> list[Token]:
        """Return the tokens, oldest first."""
        return sorted(self._known.values(), key=lambda one: (one.created, one.id))

    async def create(
        self,
        name: str,
        role: Role,
        *,
        payloads: bool,
        lasts: Millis | None,
        aws: bool = False,
        actions: Sequence[str] = (),
        functions: Sequence[str] = (),
        policy: str | None = None,
    ) -> tuple[Token, str]:
        """Make a token; return it and the text that proves it, which nobody can read again. BadInput, Conflict.

        With *aws* it is an access key, and the text is its secret; its *policy* was found right before. From the first
        on the Lambda API asks for one.
        """
        if not _NAME.fullmatch(name):
            raise BadInput("a token's name has letters, digits, '_', '-', '.' and '@', at most 64")
        if lasts is not None and lasts <= 0:
            hint = "Give a time like 30d, or none for a token that never ends."
            raise BadInput("a token that lasts no time proves nothing", hint=hint)
        if (actions or functions or policy) and not aws:
            raise BadInput("actions, functions and policies are for access keys", hint="Add --aws, or leave them out.")
        if (actions or functions) and policy:
            raise BadInput("a policy says itself which actions and functions it is about", hint="Leave the others out.")
        functions = [pattern.removeprefix(_ARN) for pattern in functions]
        for pattern in actions:
            if not _ACTION.fullmatch(pattern):
                raise BadInput(f"{pattern[:60]!r} is no pattern", hint="Write one like lambda:Invoke*.")
        for pattern in functions:
            if not _FUNCTION.fullmatch(pattern):
                hint = "Write one like orders-*, orders:live or the ARN of one of this hub's."
                raise BadInput(f"{pattern[:120]!r} is no pattern of functions", hint=hint)
        async with self._changing:
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
                payloads=payloads or aws,
                created=self._now(),
                expires=None if lasts is None else self._now() + lasts,
                digest="" if aws else _digest(secret),
                key=f"AKIA{base64.b32encode(self._draw(10)).decode()}" if aws else None,
                secret=secret if aws else None,
                actions=tuple(actions),
                functions=tuple(functions),
                policy=policy,
            )
            text = json.dumps({key: value for key, value in asdict(made).items() if key != "id"})
            if aws and not self._closed:
                await self._close()
            await self._store.set_checkpoints(SCOPE, {made.id: text})
            self._add(made)
            return made, secret if aws else f"th_{made.id}_{secret}"

    @property
    def keys(self) -> bool:
        """Whether the Lambda API asks for an access key: one was made, and nobody has opened it since."""
        return self._closed or any(one.key for one in self._known.values())

    def signatures(self, *, asks: bool) -> str:
        """Whose signatures the Lambda API takes: ``any``, those of ``keys``, or ``none`` as there is no key.

        *asks* is whether [console] auth asks who one is.
        """
        if any(one.key for one in self._known.values()):
            return "keys"
        return "none" if asks or self._closed else "any"

    def by_key(self, key: str) -> Token | None:
        """Return the access key of this id; None where there is none, or not any more."""
        found = self._known.get(self._ids.get(key, ""))
        return None if found is None or self._expired(found) else found

    def find(self, name: str) -> Token:
        """Return a token by its name or id. NotFound."""
        for one in self._known.values():
            if name in (one.name, one.id):
                return one
        raise NotFound(f"there is no token {name!r}", hint="See: triggerhub token list")

    async def revoke(self, name: str, *, open_: bool = False) -> Token:
        """Take a token's power, by its name or id. NotFound.

        With *open_*, which is for the last access key alone, the Lambda API takes any signature again. Conflict.
        """
        async with self._changing:
            one = self.find(name)
            if open_ and (one.key is None or any(other.key for other in self._known.values() if other is not one)):
                text = f"{name!r} is not the last access key, so that nothing would open"
                raise Conflict(text, hint="Leave --open out; see: triggerhub token list")
            if one.key and not self._closed:
                # A key of a version that did not write it down.
                await self._close()
            del self._known[one.id]
            self._ids.pop(one.key or "", None)
            await self._store.set_checkpoints(SCOPE, {one.id: None})
            if open_:
                await self._store.set_checkpoints(DOOR, {CLOSED: None})
                self._closed = False
            return one

    async def _close(self) -> None:
        await self._store.set_checkpoints(DOOR, {CLOSED: "1"})
        self._closed = True

    def principal(self, text: str) -> Principal | None:
        """Return whom a token stands for; None where it is none, or not any more."""
        match = _FORM.fullmatch(text)
        one = self._known.get(match[1]) if match else None
        if match is None or one is None or one.key or not hmac.compare_digest(_digest(match[2]), one.digest):
            return None
        return None if self._expired(one) else one.principal

    def _expired(self, one: Token) -> bool:
        return one.expires is not None and one.expires <= self._now()


def _digest(secret: str) -> str:
    # The secret is 256 bits of chance: it needs no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()
