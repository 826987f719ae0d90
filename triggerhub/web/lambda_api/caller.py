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
from triggerhub.policy import access, sigv4
from triggerhub.policy.access import LOCAL, Principal
from triggerhub.policy.sigv4 import Refused, Signature, Signed
from triggerhub.web.access import write_down

SERVICE = "lambda"
UNKNOWN = "The security token included in the request is invalid."
_CALLS = {"Invoke": "InvokeFunction", "InvokeWithResponseStream": "InvokeFunction"}
"""Operations whose action has another name."""


class Callers:
    """Those who sign requests."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

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
        if scope.get("trusted", True) or (self._hub.project.console.auth == "none" and not self._hub.tokens.keys):
            return LOCAL
        token = self._hub.tokens.by_key(signature.access_key)
        if token is None or token.secret is None or "x-amz-security-token" in headers:
            raise ApiError("UnrecognizedClientException", UNKNOWN)
        request = Signed(
            method=scope["method"],
            raw_path=scope["raw_path"].decode("latin-1"),
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers=headers,
            body=body,
        )
        try:
            sigv4.verify(signature, token.secret, request, service=SERVICE, now=time.time())
        except Refused as error:
            raise ApiError(error.kind, error.message) from error
        self._may(token, scope, _CALLS.get(operation, operation), resource)
        return token.principal

    def _may(self, token: Token, scope: Scope, action: str, resource: str | None) -> None:
        """Raise ApiError where the key's patterns, or else its role, do not have this."""
        found = reference.parse(resource) if resource else None
        name = found.name if found else "*"
        if token.actions:
            allowed = any(fnmatchcase(f"lambda:{action}", pattern) for pattern in token.actions)
        else:
            allowed = access.refusal(token.principal, access.needed(scope["method"], scope["path"])) is None
        if not allowed or (token.functions and not any(fnmatchcase(name, one) for one in token.functions)):
            who = f"arn:aws:iam::{arn.ACCOUNT}:user/{token.name}"
            raise ApiError(
                "AccessDeniedException",
                f"User: {who} is not authorized to perform: lambda:{action} on resource: {arn.function(name)} because "
                f"no identity-based policy allows the lambda:{action} action",
            )

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
