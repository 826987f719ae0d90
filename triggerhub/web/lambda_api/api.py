"""Route the Lambda API: find the operation, read and check its input, carry it out, write its answer.

A call of a function, which is nearly all that comes, goes by a short way of its own that needs no
description and no framework.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from functools import partial
from urllib.parse import parse_qs, unquote

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
from triggerhub.source import Parts
from triggerhub.web import refusal
from triggerhub.web.access import asker
from triggerhub.web.lambda_api import body, shape, support, whole
from triggerhub.web.lambda_api.absent import Absent
from triggerhub.web.lambda_api.account import Account
from triggerhub.web.lambda_api.asked import Answer, Asked, Perform
from triggerhub.web.lambda_api.body import LARGE, Bodies
from triggerhub.web.lambda_api.caller import Callers, shown
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.events import Events
from triggerhub.web.lambda_api.functions import Functions
from triggerhub.web.lambda_api.invoking import SYNCHRONOUS, Invoking
from triggerhub.web.lambda_api.layerpolicies import LayerPolicies
from triggerhub.web.lambda_api.layers import Layers
from triggerhub.web.lambda_api.link import PLACE, Links, is_link
from triggerhub.web.lambda_api.mappings import Mappings
from triggerhub.web.lambda_api.options import Options
from triggerhub.web.lambda_api.permissions import Permissions
from triggerhub.web.lambda_api.provisioned import ProvisionedConcurrency
from triggerhub.web.lambda_api.tags import Tags
from triggerhub.web.lambda_api.target import Targets
from triggerhub.web.lambda_api.urls import Urls
from triggerhub.web.lambda_api.versions import Versions
from triggerhub.web.lambda_api.wanted import call, wanted

log = structlog.get_logger("lambda")

INVOKE = "/2015-03-31/functions/", "/invocations"
_KINDS = frozenset(("RequestResponse", "Event", "DryRun"))
_TAILS = frozenset(("None", "Tail"))
_QUALIFIER = re.compile(r"[A-Za-z0-9$_-]{1,128}")
_UNUSUAL = frozenset(("x-amz-tenant-id", "x-amz-durable-execution-name"))
_Headers = list[tuple[bytes, bytes]]


class LambdaApi:
    """ASGI middleware: what is asked in AWS's way is answered here, all else goes on to *app*."""

    def __init__(self, hub: Hub, registry: Registry, app: ASGIApp) -> None:
        self._hub = hub
        self._registry = registry
        self._app = app
        self._caller = Callers(hub, registry)
        self._bodies = Bodies()
        self._links = Links()
        self._invoking = Invoking(hub, Targets(hub))
        self.operations = operations(hub, registry, self._invoking)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1")
        if path[1:3] != "20" or not (path.startswith(INVOKE[0]) or service().serves(path)):
            await self._app(scope, receive, send)
            return
        receive, send = refusal.patient(receive, send)
        try:
            answer = await self._answered(scope, path, receive)
        except ApiError as error:
            answer = _refusal(error)
        except TriggerhubError as error:
            answer = _refusal(_translated(error))
        except OSError as error:
            log.error("a request of the Lambda API failed for want of the disk", path=path, error=str(error))
            answer = _refusal(ApiError("ServiceException", f"The hub's disk: {error.strerror or error}."))
        except Exception:
            log.exception("a request of the Lambda API failed", method=scope["method"], path=path)
            answer = _refusal(ApiError("ServiceException", "The hub failed at this request; its log says why."))
        headers: _Headers = [
            (b"x-amzn-requestid", (answer.request_id or str(uuid.uuid4())).encode()),
            *((name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers),
        ]
        if answer.parts is not None:
            await _stream(answer, answer.parts, headers, receive, send)
            return
        if answer.status != 204:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answered(self, scope: Scope, path: str, receive: Receive) -> Answer:
        headers = _joined(scope["headers"])
        if self._hub.phase != "running":
            raise ApiError("ServiceException", f"The hub is {self._hub.phase}; ask again in a moment.")
        if is_link(scope["method"], path):
            return await self._archive(path.removeprefix(PLACE), scope["query_string"])
        signature = _signature(scope, headers)
        if signature is not None:
            self._caller.known(signature, scope, headers)
        if (
            scope["method"] == "POST"
            and path.startswith(INVOKE[0])
            and path.endswith(INVOKE[1])
            and not _UNUSUAL & headers.keys()
        ):
            kind = headers.get("x-amz-invocation-type", "RequestResponse")
            tail = headers.get("x-amz-log-type", "None")
            name = path[len(INVOKE[0]) : -len(INVOKE[1])]
            query = scope["query_string"]
            qualifier = parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else None
            chosen = qualifier["Qualifier"][-1] if qualifier and "Qualifier" in qualifier else None
            plain = "/" not in name and (chosen is None or _QUALIFIER.fullmatch(chosen))
            if plain and kind in _KINDS and tail in _TAILS and (qualifier is None or len(qualifier) == 1):
                payload = await body.read(receive, SYNCHRONOUS, "InvokeFunction")
                if signature is not None:
                    caller = self._caller.verified(signature, scope, headers, payload)
                    self._caller.require(caller, [call(unquote(name), chosen)])
                return await self._invoking.invoke(
                    unquote(name),
                    payload,
                    qualifier=chosen,
                    kind=kind,
                    log=tail,
                    context=headers.get("x-amz-client-context"),
                )
        return await self._described(scope, path, receive, headers, signature)

    async def _archive(self, name: str, query: bytes) -> Answer:
        """Send an archive to whoever has a link, as GetFunction and GetLayerVersion give it."""
        if not self._links.opens(name, parse_qs(query.decode("latin-1"))):
            raise ApiError("AccessDeniedException", "This link does not hold, or no more: ask GetFunction for one.")
        known = [self._registry.layers.codes, *(one.codes for one in self._registry.functions.values())]
        if not any(name in codes for codes in known):
            raise ApiError("ResourceNotFoundException", "There is no such archive.")
        data = await asyncio.to_thread(self._registry.shelf.path(name).read_bytes)
        return Answer(status=200, body=data, headers=(("content-type", "application/zip"),))

    async def _described(
        self,
        scope: Scope,
        path: str,
        receive: Receive,
        headers: Mapping[str, str],
        signature: sigv4.Signature | None,
    ) -> Answer:
        """Answer by the description of the service."""
        lambdas = service()
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        found = lambdas.find(scope["method"], path, query)
        if found is None:
            message = f"AWS Lambda has no operation {scope['method']} {path[:200]}"
            raise ApiError("UnknownOperationException", message)
        operation, parts = found
        sent = await self._bodies.gathered(receive, operation, signature, headers)
        caller = None
        if signature is not None:
            digest = await asyncio.to_thread(sigv4.digest, sent) if len(sent) > LARGE else None
            caller = self._caller.verified(signature, scope, headers, sent, digest)
        rest, archive = body.parted(operation.name, sent)
        given = _given(lambdas, operation, parts, query, headers, rest)
        if caller is not None:
            self._caller.require(caller, wanted(self._registry, operation.name, given))
        if archive is not None:
            await body.put_back(given, archive)
        who = None if caller is None else caller.principal
        whole.check(operation.name, given)
        perform = self.operations.get(operation.name)
        if perform is None:
            raise refused(lambdas, operation)
        try:
            host = headers.get("host", "")
            link = partial(self._links.to, f"{scope.get('scheme', 'http')}://{host}")
            result = await perform(Asked(operation=operation.name, given=given, host=host, link=link))
        except Exception:
            await self._caller.noted(who, scope, operation, given, ok=False)
            raise
        await self._caller.noted(who, scope, operation, given, ok=True)
        if isinstance(result, Answer):
            return result
        if not (who or asker(scope).principal).settings:
            result = shape.without_variables(result)
        status, fields, text = restjson.write(lambdas, operation, result)
        return Answer(status=status, body=text, headers=tuple(fields))


def operations(hub: Hub, registry: Registry, invoking: Invoking) -> dict[str, Perform]:
    """Return everything that is built, by the operation's name."""
    functions, targets = Functions(hub, registry), Targets(hub)
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
        **Layers(registry).operations(),
        **LayerPolicies(registry).operations(),
        **Mappings(hub, targets, registry).operations(),
        **Account(hub, registry).operations(),
    }


def refused(lambdas: Service, operation: Operation) -> ApiError:
    """Return the answer to an operation that is not built, of a class that the operation knows."""
    why = support.REFUSED.get(operation.name, support.NOT_YET)
    kind = next(one for one in ("InvalidParameterValueException", "ServiceException") if one in operation.errors)
    return ApiError(kind, f"triggerhub does not do {operation.name}: {why}.")


def _given(
    lambdas: Service,
    operation: Operation,
    parts: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    sent: bytes,
) -> dict[str, Json]:
    given = restjson.read(lambdas, operation, path=parts, query=query, headers=headers, body=sent)
    if operation.input is not None and (broken := constraints.violations(lambdas, operation.input, given)):
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


def _joined(headers: _Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        joined[name] = f"{joined[name]},{text}" if name in joined else text
    return joined


def _signature(scope: Scope, headers: Mapping[str, str]) -> sigv4.Signature | None:
    """Return how a request is signed; None where who sent it is known by a token. Raises ApiError."""
    authorization = headers.get("authorization")
    if authorization is not None and not authorization.startswith(sigv4.ALGORITHM) and "asker" in scope:
        return None
    return shown(headers, scope["query_string"].decode("latin-1"))


def _translated(error: TriggerhubError) -> ApiError:
    text = error.message if error.hint is None else f"{error.message} {error.hint}"
    match error:
        case NotFound():
            return ApiError("ResourceNotFoundException", text)
        case Conflict():
            return ApiError("ResourceConflictException", text)
        case StorageExceeded():
            return ApiError("CodeStorageExceededException", f"Code storage limit exceeded: {text}")
        case BacklogFull():
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
}
"""Statuses of the errors that all services of AWS know, and no description has."""


def _refusal(error: ApiError) -> Answer:
    status, headers, body = restjson.write_error(service(), error)
    if error.kind == "TooManyRequestsException":
        headers.append(("retry-after", "1"))
    return Answer(status=_ELSE.get(error.kind, status), body=body, headers=tuple(headers))
