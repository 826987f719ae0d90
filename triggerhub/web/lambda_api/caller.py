"""Know who signed a request of the Lambda API, refuse what he may not, and write down what he changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from starlette.types import Scope

from triggerhub.aws import arn, reference
from triggerhub.aws.reference import Reference
from triggerhub.aws.restjson import ApiError
from triggerhub.aws.service import Operation
from triggerhub.deploy.registry import Registry
from triggerhub.hub.hub import Hub
from triggerhub.hub.tokens import Token
from triggerhub.model import Json
from triggerhub.policy import access, sigv4, unrepeated
from triggerhub.policy.access import LOCAL, Needed, Principal
from triggerhub.policy.resourcepolicy import grants
from triggerhub.policy.sigv4 import Refused, Signature, Signed
from triggerhub.settings import DEPLOYED
from triggerhub.web.access import write_down
from triggerhub.web.lambda_api.actions import action

SERVICE = "lambda"
UNKNOWN = "The security token included in the request is invalid."


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


def require(
    token: Token,
    wanted: str,
    function: str,
    needed: Needed,
    policy: Sequence[Json] = (),
    context: Mapping[str, str] | None = None,
) -> None:
    """Raise ApiError where neither the key's patterns, or else its role, nor the function's *policy* allow it.

    *wanted* is the action, *context* what is known of the call beside who makes it.
    """
    if token.actions:
        # Of actions IAM does not tell capitals from small letters.
        allowed = any(fnmatchcase(f"lambda:{wanted}".lower(), pattern.lower()) for pattern in token.actions)
    else:
        allowed = access.refusal(token.principal, needed) is None
    if allowed and (not token.functions or any(fnmatchcase(function, one) for one in token.functions)):
        return
    user = user_arn(token)
    known = {"aws:PrincipalArn": user, "aws:PrincipalAccount": arn.ACCOUNT, **(context or {})}
    if not grants(policy, f"lambda:{wanted}", known, user):
        raise ApiError(
            "AccessDeniedException",
            f"User: {user} is not authorized to perform: lambda:{wanted} on resource: "
            f"{arn.function(function)} because no identity-based policy allows the lambda:{wanted} action",
        )


def user_arn(token: Token) -> str:
    """Return whom a key stands for, in AWS's words."""
    return f"arn:aws:iam::{arn.ACCOUNT}:user/{token.name}"


class Callers:
    """Those who sign requests."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry

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
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        request = Signed(
            method=scope["method"],
            raw_path=scope["raw_path"].decode("latin-1"),
            query=query,
            headers=headers,
            body=body,
        )
        token = verified(self._hub, signature, request)
        found = reference.parse(resource) if resource else None
        needed = access.needed(scope["method"], scope["path"])
        policy = self._policy(found, dict(query).get("Qualifier")) if found else ()
        require(token, action(operation), found.name if found else "*", needed, policy)
        return token.principal

    def _policy(self, found: Reference, qualifier: str | None) -> Sequence[Json]:
        """Return the policy of the function, version or alias that is named."""
        deployed = self._registry.functions.get(found.name)
        function = self._hub.project.functions.get(found.name)
        if deployed is None or function is None or function.source != DEPLOYED:
            return ()  # there is none, or the handlers folder has its name now
        return deployed.policies.get(found.qualifier or qualifier or "", ())

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
