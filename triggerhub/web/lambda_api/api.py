"""Route the Lambda API: find the operation, read and check its input, carry it out, write its answer.

A call of a function, which is nearly all that comes, goes by a short way of its own that needs no
description and no framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NoReturn
from urllib.parse import parse_qs

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from triggerhub.aws import constraints, restjson
from triggerhub.aws.restjson import ApiError
from triggerhub.aws.service import Operation, Service
from triggerhub.deploy.registry import Registry
from triggerhub.deploy.shelf import StorageExceeded
from triggerhub.errors import BacklogFull, BadInput, Conflict, NotFound, StoreBroken, StoreFull, TriggerhubError
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.policy import sigv4
from triggerhub.policy.access import LOCAL
from triggerhub.source import Parts
from triggerhub.web import refusal
from triggerhub.web.access import asker, remark, whose
from triggerhub.web.lambda_api import body, change, members, sent, shape, support, whole
from triggerhub.web.lambda_api.absent import Absent
from triggerhub.web.lambda_api.account import Account
from triggerhub.web.lambda_api.actions import action
from triggerhub.web.lambda_api.asked import Answer, Asked, Perform
from triggerhub.web.lambda_api.body import LARGE, PLAIN
from triggerhub.web.lambda_api.caller import Caller, Callers, is_presigned, shown
from triggerhub.web.lambda_api.code import Codes
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.events import Events
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.invoking import ENTITY, SYNCHRONOUS, Invoking
from triggerhub.web.lambda_api.layerpolicies import LayerPolicies
from triggerhub.web.lambda_api.layers import Layers
from triggerhub.web.lambda_api.link import PLACE, Links, is_link
from triggerhub.web.lambda_api.mappings import Mappings
from triggerhub.web.lambda_api.options import Options
from triggerhub.web.lambda_api.permissions import Permissions
from triggerhub.web.lambda_api.pieces import Pieces
from triggerhub.web.lambda_api.provisioned import ProvisionedConcurrency
from triggerhub.web.lambda_api.sent import Call, Sent
from triggerhub.web.lambda_api.tags import Tags
from triggerhub.web.lambda_api.target import Targets
from triggerhub.web.lambda_api.urls import Urls
from triggerhub.web.lambda_api.versions import Versions
from triggerhub.web.lambda_api.wanted import Wanted, wanted
from triggerhub.web.lambda_api.wanted import call as wanted_of_call
from triggerhub.web.room import Crowded, Place, Room

log = structlog.get_logger("lambda")

_Headers = list[tuple[bytes, bytes]]


class LambdaApi:
    """ASGI middleware: what is asked in AWS's way is answered here, all else goes on to *app*."""

    def __init__(self, hub: Hub, registry: Registry, app: ASGIApp) -> None:
        self._hub = hub
        self._registry = registry
        self._app = app
        self._caller = Callers(hub, registry)
        self._room = Room()
        self._links = Links()
        self._invoking = Invoking(hub, Targets(hub))
        self.operations = operations(hub, registry, self._invoking)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1")
        # Whoever is local here has what there is, as this machine has at the ingress.
        name = None if asker(scope).principal is LOCAL else whose(scope)
        with Place(None if scope.get("trusted") else self._room, name) as place:
            if path[1:3] == "20" and (path.startswith(sent.INVOKE[0]) or service().serves(path)):
                await self._serve(scope, *refusal.patient(receive, send), place)
            else:
                await self._app(scope, place.counted(receive), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, place: Place) -> None:
        request = sent.of(scope)
        try:
            answer = await self._answered(scope, request, receive, place)
        except Exception as error:
            answer = _refusal(_told(error, request))
        headers: _Headers = [
            (b"x-amzn-requestid", answer.id.encode()),
            *((name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers),
        ]
        if answer.parts is not None:
            await _stream(answer, answer.parts, headers, receive, send)
            return
        if answer.status != 204:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def call(self, request: Sent, asked: Call, payload: bytes) -> Answer:
        """Answer a signed call of a function whose body is there already, whatever comes of it."""
        try:
            return await self._called(request, asked, shown(request.headers, request.query), payload)
        except Exception as error:
            return _refusal(_told(error, request))

    async def _answered(self, scope: Scope, request: Sent, receive: Receive, place: Place) -> Answer:
        if self._hub.phase != "running":
            raise ApiError("ServiceException", f"The hub is {self._hub.phase}; ask again in a moment.")
        if is_link(request.method, request.raw_path):
            return await self._archive(request.raw_path.removeprefix(PLACE), request.query)
        signature = _signature(scope, request)
        if signature is not None:
            # Where nobody is asked, whoever signs is local, too.
            place.given(f"access key {signature.access_key}" if self._caller.known(signature, request) else None)
        asked = sent.call(request)
        if asked is None:
            return await self._described(scope, request, receive, place, signature)
        if signature is not None and body.is_large(request.headers):
            needs = [wanted_of_call(asked.name, asked.qualifier)]
            if not self._caller.may(signature, request, needs):
                await self._refuse(signature, request, receive, needs, "InvokeFunction", SYNCHRONOUS)
        payload = await body.read(place.counted(receive), SYNCHRONOUS, "InvokeFunction")
        return await self._called(request, asked, signature, payload)

    async def _refuse(
        self,
        signature: sigv4.Signature,
        request: Sent,
        receive: Receive,
        needs: Sequence[Wanted],
        operation: str,
        most: int,
    ) -> NoReturn:
        """Raise what is told to somebody who may not, once it is known that it is he: the body is not kept for that."""
        digest = await body.digest(receive, most, operation)
        self._caller.require(self._caller.verified(signature, request, b"", digest), needs)
        raise ApiError("ServiceException", "What this key may do was changed while its request came; ask again.")

    async def _called(self, request: Sent, asked: Call, signature: sigv4.Signature | None, payload: bytes) -> Answer:
        if signature is not None:
            caller = self._caller.verified(signature, request, payload)
            self._caller.require(caller, [wanted_of_call(asked.name, asked.qualifier)])
        return await self._invoking.invoke(
            asked.name,
            payload,
            qualifier=asked.qualifier,
            kind=asked.kind,
            log=asked.log,
            context=asked.context,
        )

    async def _archive(self, name: str, query: str) -> Answer:
        """Send an archive to whoever has a link, as GetFunction and GetLayerVersion give it."""
        if not self._links.opens(name, parse_qs(query)):
            raise ApiError("AccessDeniedException", "This link does not hold, or no more: ask GetFunction for one.")
        known = [self._registry.layers.codes, *(one.codes for one in self._registry.functions.values())]
        if not any(name in codes for codes in known):
            raise ApiError("ResourceNotFoundException", "There is no such archive.")
        pieces = await asyncio.to_thread(Pieces, self._registry.shelf.path(name))
        headers = (("content-type", "application/zip"), ("content-length", str(pieces.size)))
        return Answer(status=200, headers=headers, parts=pieces)

    async def _described(
        self,
        scope: Scope,
        request: Sent,
        receive: Receive,
        place: Place,
        signature: sigv4.Signature | None,
    ) -> Answer:
        """Answer by the description of the service."""
        lambdas, headers = service(), request.headers
        query = parse_qs(request.query, keep_blank_values=True)
        found = lambdas.find(request.method, request.raw_path, query)
        if found is None:
            message = f"AWS Lambda has no operation {request.method} {request.raw_path[:200]}"
            raise ApiError("UnknownOperationException", message)
        operation, parts = found
        most = body.most(operation)
        if signature is not None and most > PLAIN and body.is_large(headers):
            await self._may(scope, request, receive, signature, operation, _ahead(parts, query))
        text = await body.read(place.counted(receive), most, operation.name)
        caller = None
        if signature is not None:
            digest = await asyncio.to_thread(sigv4.digest, text) if len(text) > LARGE else None
            caller = self._caller.verified(signature, request, text, digest)
        rest, archive = body.parted(operation.name, text)
        given = _given(lambdas, operation, parts, query, headers, rest)
        try:
            if caller is not None:
                self._caller.require(caller, wanted(self._registry, self._caller.deployed, operation.name, given))
                self._caller.unlocked(caller, operation.name, given)
            if archive is not None:
                await body.put_back(given, archive)
            result = await self._performed(scope, headers, operation, given)
        except Exception as error:
            refused = _told(error, request)
            await self._noted(caller, scope, operation, given, _status(refused))
            raise refused from error
        if isinstance(result, Answer):
            await self._noted(caller, scope, operation, given, operation.status)
            return result
        await self._noted(caller, scope, operation, given, operation.status, result)
        who = None if caller is None else caller.principal
        if not (who or asker(scope).principal).settings:
            result = shape.without_variables(result)
        status, fields, written = restjson.write(lambdas, operation, result)
        return Answer(status=status, body=written, headers=tuple(fields))

    async def _may(
        self,
        scope: Scope,
        request: Sent,
        receive: Receive,
        signature: sigv4.Signature,
        operation: Operation,
        given: Mapping[str, Json],
    ) -> None:
        """Raise ApiError where by all that is known without its body a request asks for what its key may not."""
        if "FunctionName" in given or "LayerName" in given:
            needs = wanted(self._registry, self._caller.deployed, operation.name, given)
            may = self._caller.may(signature, request, needs)
        else:
            does = action(operation.name)
            needs = [Wanted(action=does)]
            may = self._caller.may_some(signature, request, does)
        if may:
            return
        try:
            await self._refuse(signature, request, receive, needs, operation.name, body.most(operation))
        except ApiError as error:
            if error.kind == "AccessDeniedException":
                caller = self._caller.of(signature, request)
                await self._noted(caller, scope, operation, given, _status(error))
            raise

    async def _noted(
        self,
        caller: Caller | None,
        scope: Scope,
        operation: Operation,
        given: Mapping[str, Json],
        status: int,
        made: Mapping[str, Json] | None = None,
    ) -> None:
        if caller is not None:
            await self._caller.noted(caller, scope, operation, given, status=status, made=made)
        elif "remarks" in scope:
            # What came with a token, and changes something, is written down by who let it in.
            remark(scope, order=change.order(service(), operation, given, made))

    async def _performed(
        self, scope: Scope, headers: Mapping[str, str], operation: Operation, given: dict[str, Json]
    ) -> Mapping[str, Json] | Answer:
        whole.check(operation.name, given)
        perform = self.operations.get(operation.name)
        if perform is None:
            raise not_built(service(), operation)
        host = headers.get("host", "")
        link = partial(self._links.to, f"{scope.get('scheme', 'http')}://{host}")
        return await perform(Asked(operation=operation.name, given=given, host=host, link=link))


def operations(hub: Hub, registry: Registry, invoking: Invoking) -> dict[str, Perform]:
    """Return everything that is built, by the operation's name."""
    codes, targets = Codes(registry), Targets(hub)
    functions = Functions(hub, registry, codes)
    return {
        **invoking.operations(),
        **functions.operations(),
        **Versions(functions, registry).operations(),
        **Options(functions, registry).operations(),
        **Tags(functions, registry).operations(),
        **Absent(functions).operations(),
        **ProvisionedConcurrency(hub, functions, registry).operations(),
        **Events(functions, targets, registry).operations(),
        **Permissions(functions, registry).operations(),
        **Urls(hub, functions, registry).operations(),
        **Layers(registry, codes).operations(),
        **LayerPolicies(registry).operations(),
        **Mappings(hub, targets, registry).operations(),
        **Account(hub, registry).operations(),
    }


def not_built(lambdas: Service, operation: Operation) -> ApiError:
    """Return the answer to an operation that is not built, of a class that the operation knows."""
    why = support.REFUSED.get(operation.name, support.NOT_YET)
    kind = next(one for one in ("InvalidParameterValueException", "ServiceException") if one in operation.errors)
    return ApiError(kind, f"triggerhub does not do {operation.name}: {why}.")


def _ahead(parts: Mapping[str, str], query: Mapping[str, list[str]]) -> dict[str, Json]:
    """Return what is known of an operation's input before its body is there: what it is about."""
    return {**parts, **({"Qualifier": query["Qualifier"][-1]} if "Qualifier" in query else {})}


def _given(
    lambdas: Service,
    operation: Operation,
    parts: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    text: bytes,
) -> dict[str, Json]:
    given = restjson.read(lambdas, operation, path=parts, query=query, headers=headers, body=text)
    if operation.input is not None:
        checked = {name: value for name, value in given.items() if name not in members.CHECKED}
        if broken := constraints.violations(lambdas, operation.input, checked):
            raise ApiError("ValidationException", constraints.message(broken))
    return given


async def _stream(answer: Answer, parts: Parts, headers: _Headers, receive: Receive, send: Send) -> None:
    """Send an answer as it comes; its parts are left when the client is gone."""
    watching = asyncio.create_task(_watch(receive, parts))
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        while (data := await parts.next()) is not None:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        watching.cancel()
        parts.leave()


async def _watch(receive: Receive, parts: Parts) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    parts.leave()


def _signature(scope: Scope, request: Sent) -> sigv4.Signature | None:
    """Return how a request is signed; None where it is known who sent it: by a token, or by the hub's own socket.

    Raises ApiError.
    """
    authorization = request.headers.get("authorization")
    if authorization is None:
        known = request.trusted and not is_presigned(request.query)
    else:
        known = not authorization.startswith(sigv4.ALGORITHM)
    if known and "asker" in scope:
        return None
    return shown(request.headers, request.query)


def _told(error: Exception, request: Sent) -> ApiError:
    """Return what is told of a failure, of which the log tells the rest."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, TriggerhubError):
        return _translated(error)
    if isinstance(error, OSError):
        log.error("a request of the Lambda API failed for want of the disk", path=request.raw_path, error=str(error))
        return ApiError("ServiceException", f"The hub's disk: {error.strerror or error}.")
    log.error("a request of the Lambda API failed", method=request.method, path=request.raw_path, exc_info=error)
    return ApiError("ServiceException", "The hub failed at this request; its log says why.")


def _translated(error: TriggerhubError) -> ApiError:
    text = error.message if error.hint is None else f"{error.message.rstrip('.')}. {error.hint}"
    match error:
        case NotFound():
            return ApiError("ResourceNotFoundException", text)
        case Conflict():
            return ApiError("ResourceConflictException", text)
        case StorageExceeded():
            return ApiError("CodeStorageExceededException", f"Code storage limit exceeded: {text}")
        case BacklogFull() | Crowded():
            return ApiError("TooManyRequestsException", text, Reason="CallerRateLimitExceeded")
        case BadInput():
            return ApiError("InvalidParameterValueException", text)
        case StoreFull() | StoreBroken() | _:
            return ApiError("ServiceException", text)


_ELSE = {
    "MissingAuthenticationTokenException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "AccessDeniedException": 403,
    "UnknownOperationException": 404,
    ENTITY: 413,
}
"""Statuses of the errors that AWS answers, and the description of this service has not."""


def _status(error: ApiError) -> int:
    return _ELSE.get(error.kind) or service().status_of(error.kind)


def _refusal(error: ApiError) -> Answer:
    _, headers, body = restjson.write_error(service(), error)
    if error.kind == "TooManyRequestsException":
        headers.append(("retry-after", "1"))
    return Answer(status=_status(error), body=body, headers=tuple(headers))
