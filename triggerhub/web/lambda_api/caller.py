"""Know who signed a request of the Lambda API, refuse what he may not, and write down what he changes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

import structlog
from starlette.types import Scope

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.aws.service import Operation
from triggerhub.deploy.record import Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.hub.hub import Hub
from triggerhub.hub.tokens import Token
from triggerhub.model import Json
from triggerhub.policy import access, sigv4, unrepeated
from triggerhub.policy.access import LOCAL, Principal
from triggerhub.policy.iam import document
from triggerhub.policy.iam.decision import Request, Verdict, allows_some, decide
from triggerhub.policy.iam.pattern import Known, Late
from triggerhub.policy.refusals import Refusals
from triggerhub.policy.sigv4 import Refused, Signature, Signed
from triggerhub.settings import DEPLOYED
from triggerhub.web.access import write_down
from triggerhub.web.lambda_api import change
from triggerhub.web.lambda_api.actions import meant
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.identity import known, statements, user_arn
from triggerhub.web.lambda_api.permissions import place_of
from triggerhub.web.lambda_api.sent import Sent
from triggerhub.web.lambda_api.wanted import Wanted, is_whole, resource_tags

log = structlog.get_logger("lambda")

SERVICE = "lambda"
_SESSION = "x-amz-security-token"
"""What comes with keys that last for a while, which no hub gives."""
UNKNOWN = "The security token included in the request is invalid."


@dataclass(slots=True)
class Caller:
    """Who signed a request, and what is known of it."""

    token: Token | None
    """None where nobody is asked who he is."""
    known: Known

    @property
    def principal(self) -> Principal:
        return LOCAL if self.token is None else self.token.principal


def shown(headers: Mapping[str, str], query: str) -> Signature:
    """Return the signature that a request shows, by its header or as a link. Raises ApiError."""
    authorization = headers.get("authorization")
    try:
        if not is_presigned(query):
            return sigv4.parse(authorization)
        if authorization is not None:
            text = "A request has one signature: in its query, or in an Authorization header."
            raise Refused("InvalidSignatureException", text)
        return sigv4.parse_query(parse_qsl(query, keep_blank_values=True))
    except Refused as error:
        raise ApiError(error.kind, error.message) from error


def is_presigned(query: str) -> bool:
    """Whether a query says that it has a signature in it."""
    return f"{sigv4.SIGNATURE}=" in query


def verified(hub: Hub, signature: Signature, request: Signed) -> Token:
    """Return the access key that signed *request*, which uses the signature up, save that of a link which reads.

    Raises ApiError.
    """
    token = hub.tokens.by_key(signature.access_key)
    session = _SESSION in request.headers or any(name.lower() == _SESSION for name, _ in request.query)
    if token is None or token.secret is None or session:
        raise ApiError("UnrecognizedClientException", UNKNOWN)
    now = time.time()
    try:
        signed_at = sigv4.verify(signature, token.secret, request, service=SERVICE, now=now)
        if not unrepeated.repeatable(request.method, signature):
            unrepeated.check_link(request.method, signature, signed_at, now)
            alone = unrepeated.once(signature.signed)
            hub.tokens.answered.take(signature.access_key, signature.signature, signed_at, now, once=alone)
    except Refused as error:
        raise ApiError(error.kind, error.message) from error
    return token


def require(token: Token, wanted: Wanted, policy: Sequence[Json], known: Known, *, also: str | None = None) -> None:
    """Raise ApiError where neither a key's policy nor that of the function allows what is wanted, or one denies it.

    *also* is another ARN of what it is about: what is denied of that is denied.
    """
    user, action = user_arn(token), wanted.action
    action = action if ":" in action else f"lambda:{action}"
    asked = Request(
        action=action,
        resource=wanted.resource,
        also=also,
        who=user,
        known=Late(lambda: {**known, **wanted.known}),
    )
    try:
        own, others = statements(token), document.kept(policy)
    except ValueError as error:
        log.error("a policy cannot be read, so nothing is allowed", user=user, resource=asked.resource, why=str(error))
        text = f"User: {user} is not authorized to perform: {action} on resource: {asked.resource}"
        raise ApiError("AccessDeniedException", f"{text} because a policy cannot be read") from error
    match decide(own, others, asked):
        case Verdict.ALLOWED:
            return
        case Verdict.NOT_ALLOWED if wanted.unless_denied:
            return
        case Verdict.NOT_ALLOWED:
            why = f"because no identity-based policy allows the {action} action"
        case Verdict.DENIED_BY_IDENTITY:
            why = "with an explicit deny in an identity-based policy"
        case Verdict.DENIED_BY_RESOURCE:
            why = "with an explicit deny in a resource-based policy"
    text = f"User: {user} is not authorized to perform: {action} on resource: {wanted.resource} {why}"
    raise ApiError("AccessDeniedException", text)


def policy_of(deployed: Deployed, qualifier: str) -> Sequence[Json]:
    """Return the statements that are asked about a function, a version or an alias.

    ``$LATEST`` has no policy of its own: what that of the function denies is denied of it.
    """
    return deployed.policies.get("" if qualifier == LATEST else qualifier, ())


def _of(deployed: Deployed, known: Known) -> Known:
    """Return what is known of a request besides for a function that it is about."""
    return Late(lambda: {**known, **resource_tags(deployed.tags)})


class Callers:
    """Those who sign requests."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry
        self._refusals = Refusals()

    def known(self, signature: Signature, request: Sent) -> bool:
        """Refuse a key that is none, and what was not signed now, before any of the body is read. Raises ApiError.

        Return whether the key is one: where nobody is asked who he is, it may be any.
        """
        if not self._asks(request):
            return False
        if self._hub.tokens.by_key(signature.access_key) is None:
            raise ApiError("UnrecognizedClientException", UNKNOWN)
        try:
            sigv4.dated(signature, request.headers, service=SERVICE, now=time.time())
        except Refused as error:
            raise ApiError(error.kind, error.message) from error
        return True

    def _asks(self, request: Sent) -> bool:
        """Whether a signature must be that of a key."""
        anybody = self._hub.project.console.auth == "none" and not request.from_afar and not self._hub.tokens.keys
        return not request.trusted and not anybody

    def verified(self, signature: Signature, request: Sent, body: bytes, digest: str | None = None) -> Caller:
        """Return who signed a request, of whose body the *digest* may be known already. Raises ApiError.

        Where there are no access keys and nobody is asked who he is, any signature will do.
        """
        if not self._asks(request):
            return Caller(None, {})
        signed = Signed(
            method=request.method,
            raw_path=request.raw_path,
            query=parse_qsl(request.query, keep_blank_values=True) if request.query else (),
            headers=request.headers,
            body=body,
            digest=digest,
        )
        return self._as(verified(self._hub, signature, signed), signature, request)

    def of(self, signature: Signature, request: Sent) -> Caller:
        """Return who says that he signed a request, which was not looked at."""
        return self._as(self._hub.tokens.by_key(signature.access_key), signature, request)

    def _as(self, token: Token | None, signature: Signature, request: Sent) -> Caller:
        now = time.time()
        told = Late(
            lambda: known(
                token,
                now=now,
                client=request.client,
                secure=request.secure,
                region=signature.region,
                headers=request.headers,
            )
        )
        return Caller(token, told)

    def may(self, signature: Signature, request: Sent, wanted: Iterable[Wanted]) -> bool:
        """Whether who says that he signed a request may have what is *wanted*; for him alone to know."""
        if not self._asks(request):
            return True
        try:
            self.require(self.of(signature, request), wanted)
        except ApiError:
            return False
        return True

    def may_some(self, signature: Signature, request: Sent, action: str) -> bool:
        """Whether who says that he signed a request may do *action* to anything."""
        token = self._hub.tokens.by_key(signature.access_key)
        if not self._asks(request) or token is None:
            return True
        try:
            return allows_some(statements(token), f"lambda:{action}")
        except ValueError:
            return False  # it cannot be read, which is said once the request is there

    def require(self, caller: Caller, wanted: Iterable[Wanted]) -> None:
        """Raise ApiError where *caller* may not have all of what is *wanted*."""
        if caller.token is None:
            return
        for one in wanted:
            deployed = self.deployed(one.function) if one.function else None
            policy = () if deployed is None else policy_of(deployed, one.qualifier)
            told = caller.known if deployed is None else _of(deployed, caller.known)
            also = None
            if one.function and one.qualifier and is_whole(deployed, one.qualifier):
                also = arn.function(one.function)
            require(caller.token, one, policy, told, also=also)

    def unlocked(self, caller: Caller, operation: str, given: Mapping[str, Json]) -> None:
        """Raise ApiError where a policy would leave who puts it no way to put another or to take it away."""
        place = place_of(given["ResourceArn"]) if operation == "PutResourcePolicy" else None
        if caller.token is None or place is None:
            return
        resource, deployed = arn.function(place[0], place[1] or None), self.deployed(place[0])
        try:
            policy = document.kept(document.resource(document.loads(given["Policy"]), meant, resource))
        except ValueError:
            return  # the operation itself says why
        told = caller.known if deployed is None else _of(deployed, caller.known)
        own, who = statements(caller.token), user_arn(caller.token)
        ways = (f"lambda:{does}ResourcePolicy" for does in ("Put", "Delete"))
        asked = (Request(action=way, resource=resource, who=who, known=told) for way in ways)
        if all(decide(own, policy, one) is not Verdict.ALLOWED for one in asked):
            text = f"Policy: it would leave {who} no way to put another or to delete it. Let it allow your key one of "
            why = f"{text}these, or leave what your key may do of them out of what it denies."
            raise ApiError("InvalidParameterValueException", why)

    def deployed(self, name: str) -> Deployed | None:
        """Return what is known of a function; None where the handlers folder has its name now, or there is none."""
        function = self._hub.project.functions.get(name)
        return self._registry.functions.get(name) if function is None or function.source == DEPLOYED else None

    async def noted(
        self,
        caller: Caller,
        scope: Scope,
        operation: Operation,
        given: Mapping[str, Json],
        *,
        status: int,
        made: Mapping[str, Json] | None = None,
    ) -> None:
        """Write down a change, and of those that are refused so many as do not fill the log."""
        if operation.method == "GET" or not access.noted(scope["path"]):
            return
        who, refused = caller.principal, status >= 400
        left_out = self._refusals.due(who.name, time.time_ns() // 1_000_000) if refused else 0
        if left_out is None:
            return
        client = scope.get("client")
        entry = {
            "text": change.text(operation, given),
            "who": who.name,
            "role": None if who.named else who.role.value,
            "from": client[0] if client else "socket",
            "query": "",
            "order": change.order(service(), operation, given, made),
            "status": status,
        }
        await write_down(self._hub, entry | ({"left_out": left_out} if left_out else {}))
