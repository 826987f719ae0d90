"""Answer requests to function URLs: at the ingress, below ``/_url/``."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from urllib.parse import parse_qsl

import structlog

from triggerhub import answered
from triggerhub.aws import apigateway, arn, runtimeapi
from triggerhub.aws.apigateway import BYTES
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import BUFFERED, Deployed, Url
from triggerhub.deploy.registry import Registry
from triggerhub.hub.call import throttled
from triggerhub.hub.hub import Hub
from triggerhub.hub.outflow import Broken, Outflow
from triggerhub.hub.tokens import Token
from triggerhub.model import Interrupted, Json, Outcome, Returned
from triggerhub.policy import cors
from triggerhub.policy.sigv4 import Signed
from triggerhub.policy.unrepeated import BEGUN
from triggerhub.settings import DEPLOYED, MB
from triggerhub.source import Request, Response, Route
from triggerhub.web.lambda_api.actions import BY_URL
from triggerhub.web.lambda_api.caller import require, shown, verified
from triggerhub.web.lambda_api.identity import known, user_arn
from triggerhub.web.lambda_api.permissions import opens
from triggerhub.web.lambda_api.target import Targets
from triggerhub.web.lambda_api.urls import PREFIX
from triggerhub.web.lambda_api.wanted import call, resource_tags

log = structlog.get_logger("lambda")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
LIMIT = 6 * MB
_SIGNED = {"lambda:functionurlauthtype": ("AWS_IAM",), "lambda:invokedviafunctionurl": ("true",)}
"""What is known of a call by a function URL that asks for a signature."""
_JSON = ("content-type", "application/json")
_FORBIDDEN_BODY = b'{"Message":"Forbidden"}'
_FORBIDDEN = Response(
    status=403, body=b'{"Message":null}', headers=(_JSON, ("x-amzn-errortype", "AccessDeniedException"))
)
"""One answer to an address that is none and to one that is closed: nobody learns which there are."""


class Doorway:
    """The ingress's side of function URLs."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry
        self._targets = Targets(hub)

    def route(self) -> Route:
        """Return the one route of all function URLs."""
        return Route(
            path=f"{PREFIX}*",
            methods=METHODS,
            body_limit=LIMIT,
            endpoint=self.answer,
            owner="function URLs",
            heeds=lambda raw_path: self._find(_key(raw_path)[0]) is not None,
        )

    async def answer(self, request: Request) -> Response:
        """Be the route's endpoint."""
        key, rest = _key(request.raw_path)
        found = self._find(key)
        if found is None or not request.heeded:
            return _FORBIDDEN
        deployed, alias, url = found
        if url.auth != "AWS_IAM" and not self._opened(request, deployed, alias):
            return _FORBIDDEN
        rules = _rules(url)
        origin = request.header("origin")
        if rules is not None and origin is not None and cors.is_preflight(request.method, request.headers):
            return Response(status=204, headers=cors.preflight(rules, origin))
        signer = None
        if url.auth == "AWS_IAM":
            try:
                signer = self._signer(request, deployed, alias)
            except ApiError as error:
                if error.kind == BEGUN:
                    return _plain(503, "Service Unavailable")
                return Response(status=403, body=_FORBIDDEN_BODY, headers=(_JSON, ("x-amzn-errortype", error.kind)))
        response = await self._called(request, deployed, alias, url, f"/{rest}", signer)
        if rules is None:
            return response
        headers = cors.apply(rules, origin, response.headers)
        return replace(response, headers=headers)

    def _opened(self, request: Request, deployed: Deployed, alias: str) -> bool:
        """Whether the policy of a function lets everybody call it by its URL."""
        policy = deployed.policies.get(alias, ())
        told = {**_known(None, request, arn.REGION), **resource_tags(deployed.tags)}
        return opens(policy, arn.function(deployed.name, alias or None), told)

    def _signer(self, request: Request, deployed: Deployed, alias: str) -> Token:
        """Return the access key that signed a request and may call a function by its URL. Raises ApiError."""
        headers: dict[str, str] = {}
        for name, value in request.headers:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        signature = shown(headers, request.query)
        signed = Signed(
            method=request.method,
            raw_path=request.raw_path,
            query=parse_qsl(request.query, keep_blank_values=True),
            headers=headers,
            body=request.body,
        )
        token = verified(self._hub, signature, signed)
        told = {
            **_known(token, request, signature.region),
            **resource_tags(deployed.tags),
            **_SIGNED,
            "lambda:functionarn": (arn.function(deployed.name),),
        }
        for does in BY_URL:
            require(token, call(deployed.name, alias, does), deployed.policies.get(alias, ()), told)
        return token

    async def _called(
        self, request: Request, deployed: Deployed, alias: str, url: Url, raw_path: str, signer: Token | None
    ) -> Response:
        path = request.path.removeprefix(f"{PREFIX}{url.id}") or "/"
        payload = apigateway.request(
            api=url.id,
            route=apigateway.DEFAULT_ROUTE,
            account="anonymous" if signer is None else arn.ACCOUNT,
            authorizer=None if signer is None else _authorizer(signer),
            request_id=apigateway.request_id(os.urandom(11)),
            time=time.time_ns() // 1_000_000,
            method=request.method,
            raw_path=raw_path,
            path=path,
            query=request.query,
            headers=request.headers,
            body=request.body,
            client=request.client,
            scheme=request.scheme,
            host=request.host,
            version=request.http_version,
            params={},
        )
        try:
            target = self._targets.find(deployed.name, alias or None)
            if target.stopped:
                return _plain(429, "Rate Exceeded.")
            if url.mode == BUFFERED:
                call = await self._hub.invoke(target.function, payload, arn=target.arn)
            else:
                flow = Outflow()
                asked = self._hub.invoke(target.function, payload, arn=target.arn, sink=flow)
                answered = await flow.calling(asked)
                if answered is None:
                    return await _streamed(deployed.name, flow)
                call = answered
        except ApiError as error:
            log.warning("a function URL leads nowhere", function=deployed.name, why=error.message)
            return _plain(502, "Internal Server Error")
        return await _response(deployed.name, call.outcome)

    def _find(self, key: str) -> tuple[Deployed, str, Url] | None:
        place = self._registry.urls.get(key)
        if place is None:
            return None
        name, alias = place
        function = self._hub.project.functions.get(name)
        if function is not None and function.source != DEPLOYED:
            return None  # the handlers folder has this name now
        deployed = self._registry.functions[name]
        return deployed, alias, deployed.urls[alias]


def _key(raw_path: str) -> tuple[str, str]:
    """Return the id of a URL, and what stands behind it in a path."""
    key, _, rest = raw_path.removeprefix(PREFIX).partition("/")
    return key, rest


def _known(token: Token | None, request: Request, region: str) -> dict[str, tuple[str, ...]]:
    return known(
        token,
        now=time.time(),
        client=request.client,
        secure=request.scheme == "https",
        region=region,
        headers=dict(request.headers),
    )


def _authorizer(token: Token) -> Json:
    """Return who signed, as the request's context tells it."""
    return {
        "iam": {
            "accessKey": token.key,
            "accountId": arn.ACCOUNT,
            "callerId": token.id,
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": user_arn(token),
            "userId": token.id,
        }
    }


async def _response(function: str, outcome: Outcome) -> Response:
    match outcome:
        case Returned(payload=payload):
            try:
                parts = await answered.response(payload, apigateway.JSON_TYPE)
            except apigateway.Malformed as error:
                log.warning("the function's answer is no HTTP response", function=function, why=str(error))
                return _plain(502, "Internal Server Error")
            return Response(status=parts.status, body=parts.body, headers=parts.headers)
        case Interrupted():
            return _plain(503, "Service Unavailable")
        case failed if throttled(failed):
            return _plain(429, "Rate Exceeded.")
        case _:
            return _plain(502, "Internal Server Error")


async def _streamed(function: str, flow: Outflow) -> Response:
    """Return the response whose body goes on as the handler writes it, once its head is there."""
    if flow.content_type.partition(";")[0].strip() != runtimeapi.INTEGRATION:
        return Response(status=200, headers=(("content-type", flow.content_type),), parts=flow)
    begun = b""
    try:
        while runtimeapi.PRELUDE_ENDS not in begun and len(begun) <= runtimeapi.HEAD:
            data = await flow.next()
            if data is None:  # without a head, what came is the body
                return Response(status=200, headers=(("content-type", BYTES),), body=begun)
            begun += data
        head, rest = apigateway.streamed(begun)
    except (Broken, apigateway.Malformed) as error:
        flow.leave()
        log.warning("the function's answer is no HTTP response", function=function, why=str(error))
        return _plain(502, "Internal Server Error")
    return Response(status=head.status, headers=head.headers, body=rest, parts=flow)


def _plain(status: int, text: str) -> Response:
    return Response(status=status, body=text.encode(), headers=(("content-type", "text/plain"),))


def _rules(url: Url) -> cors.Cors | None:
    given = url.cors
    if not given:
        return None
    return cors.Cors(
        origins=tuple(given.get("AllowOrigins", ())),
        methods=tuple(given.get("AllowMethods", ())),
        headers=tuple(given.get("AllowHeaders", ())),
        expose=tuple(given.get("ExposeHeaders", ())),
        max_age=given.get("MaxAge", 0),
        credentials=given.get("AllowCredentials", False),
    )
