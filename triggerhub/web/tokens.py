"""Serve tokens: make, list and revoke them; and the log of changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from json import loads

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from triggerhub.errors import BadInput
from triggerhub.hub.hub import Hub
from triggerhub.hub.tokens import Token
from triggerhub.model import Json
from triggerhub.policy.access import Role
from triggerhub.web import asked, shape
from triggerhub.web.access import asker
from triggerhub.web.deliveries import json
from triggerhub.web.lambda_api import identity
from triggerhub.web.lambda_api.actions import meant_of_keys
from triggerhub.web.refusal import Forbidden


class Tokens:
    """The routes under /tokens, and /changes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [
            Route("/tokens", self.all),
            Route("/tokens", self.create, methods=["POST"]),
            Route("/tokens/{name}", self.one),
            Route("/tokens/{name}/revoke", self.revoke, methods=["POST"]),
            Route("/changes", self.changes),
        ]

    async def all(self, request: Request) -> Response:
        return json(shape.dump([_shown(one) for one in self._hub.tokens.all()]))

    async def one(self, request: Request) -> Response:
        return json(shape.dump(_shown(self._hub.tokens.find(request.path_params["name"]))))

    async def create(self, request: Request) -> Response:
        """Make a token; the answer is the only place where it is ever shown."""
        fields = await asked.fields(request, _FIELDS)
        if "policy" in fields and "role" in fields:
            raise BadInput("a policy says what a key may do, whatever its role", hint="Leave the role out.")
        try:
            role = Role(fields.get("role", Role.VIEWER))
        except ValueError:
            raise BadInput(f"there is no role {fields['role']!r}", hint=f"There is: {', '.join(Role)}.") from None
        lasts = asked.duration(fields["lasts"], "lasts") if "lasts" in fields else None
        payloads = fields.get("payloads", False)
        if (payloads or fields.get("aws")) and not asker(request.scope).principal.payloads:
            raise Forbidden("who may not see what events carry cannot make a token that may")
        actions = _texts(fields, "actions")
        for pattern in actions:
            if not meant_of_keys(pattern):
                text = f"no action of Lambda is like {pattern[:60]!r}"
                raise BadInput(text, hint="Write one like lambda:InvokeFunction, or lambda:Get*.")
        made, text = await self._hub.tokens.create(
            fields.get("name", ""),
            role,
            payloads=payloads,
            lasts=lasts,
            aws=fields.get("aws", False),
            actions=actions,
            functions=_texts(fields, "functions"),
            policy=_policy(fields.get("policy")),
        )
        return json(shape.dump({**_shown(made), "secret" if made.key else "token": text}), 201)

    async def revoke(self, request: Request) -> Response:
        fields = await asked.fields(request, {"open": bool})
        gone = await self._hub.tokens.revoke(request.path_params["name"], open_=fields.get("open", False))
        last = gone.key is not None and not any(one.key for one in self._hub.tokens.all())
        return json(
            shape.dump(
                {
                    **_shown(gone),
                    "last_key": last,
                    "signatures": self._hub.tokens.signatures(asks=self._hub.project.console.auth != "none"),
                }
            )
        )

    async def changes(self, request: Request) -> Response:
        """List who changed what, newest first."""
        limit = asked.number(request.query_params.get("limit"), 100, 10_000, "limit")
        found = await anyio.to_thread.run_sync(self._hub.changes.newest, limit)
        # What was asked for may name what is behind dots.
        return json(self._hub.veil.payload(shape.dump([shape.timed(one, "time") for one in found])))


_FIELDS = {
    "name": str, "role": str, "payloads": bool, "lasts": str, "aws": bool, "actions": list, "functions": list,
    "policy": str,
}  # fmt: skip


def _texts(fields: Mapping[str, Json], name: str) -> list[str]:
    found = fields.get(name, [])
    if not all(isinstance(one, str) for one in found):
        raise BadInput(f"{name}: expected a list of texts")
    return list(found)


def _policy(text: str | None) -> str | None:
    """Return the text of a policy as it is kept."""
    try:
        return None if text is None else identity.read(text)
    except ValueError as error:
        raise BadInput(f"policy: {error}", hint="docs/lambda-api.md says what a policy may have.") from None


def _shown(one: Token) -> dict[str, Json]:
    fields = {name: value for name, value in asdict(one).items() if name not in ("digest", "secret")}
    fields["policy"] = loads(one.policy) if one.policy else None
    return shape.timed(fields, "created", "expires")
