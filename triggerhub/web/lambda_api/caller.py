"""Know who signed a request of the Lambda API, refuse what he may not, and write down what he changes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from starlette.types import Scope

from triggerhub.aws import arn, reference
from triggerhub.aws.restjson import ApiError
from triggerhub.aws.service import Operation
from triggerhub.hub.hub import Hub
from triggerhub.hub.tokens import Token
from triggerhub.model import Json
from triggerhub.policy import access, sigv4, unrepeated
from triggerhub.policy.access import LOCAL, Needed, Principal
from triggerhub.policy.sigv4 import Refused, Signature, Signed
from triggerhub.web.access import write_down

SERVICE = "lambda"
UNKNOWN = "The security token included in the request is invalid."
_CALLS = {"Invoke": "InvokeFunction", "InvokeWithResponseStream": "InvokeFunction"}
"""Operations whose action has another name."""


def verified(hub: Hub, signature: Signature, request: Signed) -> Token:
    """Return the access key that signed *request*, which uses the signature up. Raises ApiError."""
    token = hub.tokens.by_key(signature.access_key)
    if token is None or token.secret is None or "x-amz-security-token" in request.headers:
        raise ApiError("UnrecognizedClientException", UNKNOWN)
    now = time.time()
    try:
        signed_at = sigv4.verify(signature, token.secret, request, service=SERVICE, now=now)
        hub.tokens.answered.take(signature.signature, signed_at, now, once=unrepeated.once(signature.signed))
    except Refused as error:
        raise ApiError(error.kind, error.message) from error
    return token


def require(token: Token, action: str, function: str, needed: Needed) -> None:
    """Raise ApiError where the key's patterns, or else its role, do not allow *action*."""
    if token.actions:
        allowed = any(fnmatchcase(f"lambda:{action}", pattern) for pattern in token.actions)
    else:
        allowed = access.refusal(token.principal, needed) is None
    if not allowed or (token.functions and not any(fnmatchcase(function, one) for one in token.functions)):
        raise ApiError(
            "AccessDeniedException",
            f"User: {user_arn(token)} is not authorized to perform: lambda:{action} on resource: "
            f"{arn.function(function)} because no identity-based policy allows the lambda:{action} action",
        )


def user_arn(token: Token) -> str:
    """Return whom a key stands for, in AWS's words."""
    return f"arn:aws:iam::{arn.ACCOUNT}:user/{token.name}"


class Callers:
    """Those who sign requests."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def known(self, signature: Signature, scope: Scope) -> None:
        """Refuse a key that is none before any of its request's body is read. Raises ApiError."""
        if self._asks(scope) and self._hub.tokens.by_key(signature.access_key) is None:
            raise ApiError("UnrecognizedClientException", UNKNOWN)

    def _asks(self, scope: Scope) -> bool:
        """Whether a signature must be that of a key."""
        return not scope.get("trusted") and (self._hub.project.console.auth != "none" or self._hub.tokens.keys)

    def authorized(
        self,
        signature: Signature,
        scope: Scope,
        headers: Mapping[str, str],
        body: bytes,
        operation: str,
        resource: str | None,
    ) -> Principal:
        """Return who signed a request and may have *operation* done to *resource*. Raises ApiError.

        Where there are no access keys and nobody is asked who he is, any signature will do.
        """
        if not self._asks(scope):
            return LOCAL
        request = Signed(
            method=scope["method"],
            raw_path=scope["raw_path"].decode("latin-1"),
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers=headers,
            body=body,
        )
        token = verified(self._hub, signature, request)
        found = reference.parse(resource) if resource else None
        needed = access.needed(scope["method"], scope["path"])
        require(token, _CALLS.get(operation, operation), found.name if found else "*", needed)
        return token.principal

    async def noted(
        self, who: Principal | None, scope: Scope, operation: Operation, given: Mapping[str, Json], *, ok: bool
    ) -> None:
        """Write down a change; what a token sent is written down before it gets here."""
        if who is None or operation.method == "GET" or not access.noted(scope["path"]):
            return
        client = scope.get("client")
        entry = {
            "text": f"{operation.name} {given.get('FunctionName') or given.get('Resource') or ''}".strip(),
            "who": who.name,
            "role": who.role.value,
            "from": client[0] if client else "socket",
            "query": scope["query_string"].decode("latin-1"),
            "order": None,
            "status": operation.status if ok else 400,
        }
        await write_down(self._hub, entry)
