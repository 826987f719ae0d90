"""Know what an access key may do, as the statements of a policy, and what is known of who uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from triggerhub.aws import arn
from triggerhub.hub.tokens import Token
from triggerhub.policy import access
from triggerhub.policy.access import Principal, Role
from triggerhub.policy.iam import document
from triggerhub.policy.iam.document import Place, Statement
from triggerhub.web.lambda_api.actions import BY_URL, action, meant_of_keys
from triggerhub.web.lambda_api.beside import SERVICES
from triggerhub.web.lambda_api.description import service

PLACE = Place(("arn", "aws", "lambda", arn.REGION, arn.ACCOUNT), others=SERVICES)
"""What all ARNs of this hub's functions, layers and mappings begin with."""
_KINDS = "function", "layer", "event-source-mapping"
_FUNCTIONS = f"arn:aws:lambda:{arn.REGION}:{arn.ACCOUNT}:function:"


def user_arn(token: Token) -> str:
    """Return whom a key stands for, in AWS's words."""
    return f"arn:aws:iam::{arn.ACCOUNT}:user/{token.name}"


def read(text: str) -> str:
    """Return the text of a key's policy as it is kept. ValueError says where it is wrong."""
    found = document.loads(text)
    for number, one in enumerate(document.identity(found, meant_of_keys, PLACE)):
        for resource in filter(_names_nothing, one.resources):
            kinds = " or ".join(f"{kind}:NAME" for kind in _KINDS)
            text = f"{resource[:120]!r} names nothing: after {':'.join(PLACE.parts)}: stands {kinds}"
            raise ValueError(f"Statement[{number}]: Resource: {text}")
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _names_nothing(resource: str) -> bool:
    """Whether an ARN of Lambda's has no kind of thing that there is, or no name behind it."""
    *place, kind, name = (*resource.split(":", 6), "", "")[:7]
    plain = not any(sign in part for part in (*place, kind) for sign in "*?$")
    return plain and "lambda" in place and (kind not in _KINDS or not name)


def statements(token: Token) -> tuple[Statement, ...]:
    """Return what a key may do."""
    return _statements(token.policy, token.role, token.actions, token.functions)


@lru_cache(maxsize=1024)
def _statements(
    policy: str | None, role: Role, actions: Sequence[str], functions: Sequence[str]
) -> tuple[Statement, ...]:
    if policy:
        return document.identity(json.loads(policy), meant_of_keys, PLACE)
    resources: list[str] = []
    for one in functions:
        # Who may do it to a function may do it to its versions.
        resources += ["*"] if not one.strip("*") else [f"{_FUNCTIONS}{one}", f"{_FUNCTIONS}{one}:*"]
    allowed = tuple(map(str.lower, actions)) or _of_role(role)
    return (Statement(allows=True, actions=allowed, resources=tuple(resources) or ("*",)),)


@lru_cache
def _of_role(role: Role) -> tuple[str, ...]:
    """Return the actions of all operations that a role may ask for."""
    if role is Role.ADMIN:
        return ("*",)
    who = Principal(name="", role=role)
    names = {
        action(one.name)
        for one in service().operations.values()
        if access.refusal(who, access.needed(one.method, one.route.partition("?")[0])) is None
    }
    return tuple(f"lambda:{one}".lower() for one in (names | {*BY_URL} if role is Role.OPERATOR else names))


def known(
    token: Token | None, *, now: float, client: str | None, secure: bool, region: str, headers: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return what is known of a request, whatever it wants; without a *token* nobody signed it."""
    found = {
        "aws:currenttime": _written(int(now)),
        "aws:epochtime": str(int(now)),
        "aws:principalisawsservice": "false",
        "aws:principaltype": "Anonymous" if token is None else "User",
        "aws:requestedregion": region,
        "aws:resourceaccount": arn.ACCOUNT,
        "aws:securetransport": "true" if secure else "false",
        "aws:viaawsservice": "false",
    }
    if token is not None:
        found |= {
            "aws:principalaccount": arn.ACCOUNT,
            "aws:principalarn": user_arn(token),
            "aws:userid": token.id,
            "aws:username": token.name,
        }
    for key, value in (
        ("aws:sourceip", client),
        ("aws:useragent", headers.get("user-agent")),
        ("aws:referer", headers.get("referer")),
    ):
        if value is not None:
            found[key] = value
    return {key: (value,) for key, value in found.items()}


@lru_cache(maxsize=1)
def _written(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"
