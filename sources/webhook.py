"""Receive HTTP requests: verify who sent them, then store them or answer with the function's result.

A stored request is answered only after its commit, so what a sender was told is accepted is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, assert_never

import anyio
from pydantic import Field

from triggerhub import answered, settings, source
from triggerhub.auth import Auth, HeaderName, findings
from triggerhub.aws import apigateway
from triggerhub.crash import crash_point
from triggerhub.model import Event, Millis
from triggerhub.policy import cors as crossing
from triggerhub.policy import paths, replay, scheme, signature, tracecontext
from triggerhub.policy.rate import Bucket, take
from triggerhub.settings import MB, SECOND
from triggerhub.source import Accepted, Answer, Duplicate, Filtered, Finding, Request, Response, Route

BODY = 6 * MB
"""As much as Lambda takes in one request."""
BODY_MOST = 64 * MB
QUIET: Millis = SECOND
"""Refusals are logged once in this time, with a count: strangers must not fill the log."""
JSON = ("content-type", "application/json")
_CHALLENGES = {"basic": 'Basic realm="triggerhub", charset="UTF-8"', "bearer": "Bearer", "jwt": "Bearer"}


Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


Methods = Annotated[tuple[Method, ...], Field(min_length=1)]


class Limit(source.Options):
    """What a sender may send."""

    rate: source.RateLimit | None = None
    """Requests, of those that are authentic."""
    body: Annotated[source.Size, Field(gt=0, le=BODY_MOST)] = BODY


class Cors(source.Options):
    """Which web pages may call."""

    allow_origins: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    allow_methods: Methods | None = None
    """The trigger's own, by default."""
    allow_headers: Annotated[tuple[HeaderName, ...], Field(max_length=100)] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], Field(max_length=100)] = ()
    max_age: Annotated[source.Duration, Field(ge=0, le=settings.DAY)] = 0
    allow_credentials: bool = False

    def rules(self, methods: tuple[str, ...]) -> crossing.Cors:
        return crossing.Cors(
            origins=self.allow_origins, methods=self.allow_methods or methods,
            headers=self.allow_headers, expose=self.expose_headers,
            max_age=self.max_age // SECOND, credentials=self.allow_credentials,
        )  # fmt: skip


class Options(source.Options):
    """Options of ``type = "webhook"``."""

    path: str
    """Where it answers, below the ingress: ``/hooks/{name}``."""
    methods: Methods = ("POST",)
    auth: Literal["none"] | Auth
    """How a sender proves who it is; there is no default."""
    limit: Limit = Limit()
    respond: Literal["accepted", "result", "stream"] = "accepted"
    """``accepted``: 202 once the event is stored. ``result``: what the one function answers, without a queue."""
    cors: Cors | None = None


serves_routes = True


async def run(ctx: source.Context, options: Options) -> None:
    """Serve the route until cancelled."""
    receiver = _Receiver(ctx, options)
    methods: tuple[str, ...] = options.methods
    if options.cors is not None and "OPTIONS" not in methods:
        methods = (*methods, "OPTIONS")
    route = Route(
        path=options.path, methods=methods, body_limit=options.limit.body, endpoint=receiver.answer,
        owner=f"triggers.{ctx.trigger.name}", cors=options.cors.rules(options.methods) if options.cors else None,
    )  # fmt: skip
    async with ctx.routes.serve(route):
        ctx.begun()
        await anyio.sleep_forever()


class _Receiver:
    """Answers the requests of one trigger."""

    def __init__(self, ctx: source.Context, options: Options) -> None:
        self._ctx = ctx
        self._options = options
        self._scheme = None if options.auth == "none" else options.auth.scheme()
        self._rate = options.limit.rate
        self._bucket = Bucket.full(self._rate, ctx.now()) if self._rate else None
        self._unlogged, self._logged = 0, 0

    async def answer(self, request: Request) -> Response:
        """Be the route's endpoint."""
        if request.method == "OPTIONS" and "OPTIONS" not in self._options.methods:
            return _message(405, "Method Not Allowed", ("allow", ", ".join(self._options.methods)))
        now, key = self._ctx.now(), None
        if self._scheme is None:
            key = replay.general(request.headers)
        else:
            message = scheme.Message(
                method=request.method, url=_url(request), headers=request.headers, body=request.body
            )  # fmt: skip
            if why := signature.verify(self._scheme, message, now):
                self._refused(request, why, now)
                return self._unauthorized()
            key = replay.delivery_id(self._scheme, message)
        if wait := self._wait(now):
            return _message(429, "Too Many Requests", ("retry-after", str(-(-wait // SECOND))))
        if isinstance(self._scheme, scheme.Slack) and (challenge := replay.slack_challenge(request.body)):
            return Response(status=200, body=challenge.encode(), headers=(("content-type", "text/plain"),))
        event = Event(
            data=_record(self._ctx.trigger.name, self._options, request, now),
            time=now,
            dedup_key=key,
            trace=tracecontext.incoming(request.header("x-amzn-trace-id"), request.header("traceparent")),
        )
        crash_point("after-receive")
        if self._options.respond == "result":
            return await self._result(event)
        [stored] = await self._ctx.emit(event, wait=False)
        return _told(stored)

    async def _result(self, event: Event) -> Response:
        try:
            parts = await answered.answer(await self._ctx.invoke(event))
        except apigateway.Malformed as error:
            self._ctx.log.warning("the function's answer is no HTTP response", why=str(error))
            parts = apigateway.malformed()
        return Response(status=parts.status, body=parts.body, headers=parts.headers)

    def _wait(self, now: Millis) -> Millis:
        if self._rate is None or self._bucket is None:
            return 0
        self._bucket, wait = take(self._bucket, self._rate, now)
        return wait

    def _refused(self, request: Request, why: str, now: Millis) -> None:
        self._unlogged += 1
        if abs(now - self._logged) >= QUIET:
            self._ctx.log.warning("a request is not authentic", why=why, client=request.client, count=self._unlogged)
            self._unlogged, self._logged = 0, now

    def _unauthorized(self) -> Response:
        challenge = _CHALLENGES.get(getattr(self._options.auth, "type", ""))
        return _message(401, "Unauthorized", *([("www-authenticate", challenge)] if challenge else []))


def _url(request: Request) -> str:
    query = f"?{request.query}" if request.query else ""
    return f"{request.scheme}://{request.host}{request.raw_path}{query}"


def _record(trigger: str, options: Options, request: Request, now: Millis) -> bytes:
    return apigateway.request(
        api=trigger,
        route=options.path,
        request_id=apigateway.request_id(os.urandom(11)),
        time=now,
        method=request.method,
        raw_path=request.raw_path,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        client=request.client,
        scheme=request.scheme,
        host=request.host,
        version=request.http_version,
        params=request.params,
    )


def _told(answer: Answer) -> Response:
    match answer:
        case Accepted():
            return Response(status=202, body=_ids(answer), headers=(JSON,))
        case Duplicate():
            return Response(status=200, body=_ids(answer), headers=(JSON,))
        case Filtered():
            return Response(status=200, body=_refusal(answer), headers=(JSON,))
        case _:
            assert_never(answer)


def _ids(answer: Accepted | Duplicate) -> bytes:
    deliveries = ", ".join(f'"{delivery}"' for delivery in answer.deliveries)
    return f'{{"id": "{answer.event}", "deliveries": [{deliveries}]}}'.encode()


def _refusal(answer: Filtered) -> bytes:
    return json.dumps({"filtered": answer.why, **({"id": answer.id} if answer.id else {})}).encode()


def _message(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status=status, body=json.dumps({"message": text}).encode(), headers=(JSON, *headers))


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Make the event of a request with this body; of type JSON if it parses, else text."""
    try:
        json.loads(body)
        kind = "application/json"
    except (ValueError, RecursionError):
        kind = "text/plain" if _is_text(body) else "application/octet-stream"
    return _made(options, trigger, body, kind, now)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return a request of each common kind."""
    return {
        "json": _made(options, trigger, b'{"hello": "world"}', "application/json", now),
        "form": _made(options, trigger, b"hello=world&number=1", "application/x-www-form-urlencoded", now),
        "binary": _made(options, trigger, bytes(range(256)), "application/octet-stream", now),
        "empty": _made(options, trigger, b"", "", now),
    }


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _made(options: Options, trigger: str, body: bytes, kind: str, now: Millis) -> Event:
    pattern = paths.parse(options.path)
    params = {name: name for name in pattern.names} if pattern else {}
    path = options.path.replace("{", "").replace("}", "")
    headers = [("host", "localhost"), ("user-agent", "triggerhub"), ("content-length", str(len(body)))]
    request = Request(
        method="POST" if "POST" in options.methods else options.methods[0], path=path, raw_path=path, query="",
        headers=[*headers, ("content-type", kind)] if kind else headers, body=body, client="127.0.0.1",
        scheme="http", host="localhost", params=params,
    )  # fmt: skip
    return Event(data=_record(trigger, options, request, now), time=now)


def check(options: Options, trigger: settings.Trigger) -> Iterator[Finding]:
    """Find what is wrong between options that are each right."""
    try:
        paths.parse(options.path)
    except ValueError as error:
        yield Finding(option="path", code="bad-path", message=str(error))
    yield from _check_respond(options, trigger)
    if options.cors and "*" in options.cors.allow_origins and options.cors.allow_credentials:
        yield Finding(
            option="cors", code="cors-credentials", message='allow_credentials does not go with the origin "*"',
            hint="Name the origins; browsers refuse the combination.",
        )  # fmt: skip
    if options.cors and (odd := crossing.unmatched(options.cors.allow_origins)) is not None:
        yield Finding(
            option="cors", code="cors-origin", warning=True,
            message=f"{odd!r} is no origin, so no page is ever let in by it",
            hint='Write it as browsers send it, as "https://app.example" or "http://localhost:3000"; "*" alone is all.',
        )  # fmt: skip
    yield from findings(options.auth)


def _check_respond(options: Options, trigger: settings.Trigger) -> Iterable[Finding]:
    if options.respond == "stream":
        yield Finding(
            option="respond", code="not-available", message='"stream" is not in this version',
            hint='Use "result", which answers once the function has returned.',
        )  # fmt: skip
    if options.respond != "result":
        return
    if len(trigger.functions) != 1:
        yield Finding(
            option="respond", code="result-fan-out",
            message=f'"result" takes exactly one function, got {len(trigger.functions)}',
            hint='Name one function, or use respond = "accepted".',
        )  # fmt: skip
    queued = {
        "key": trigger.key, "order": trigger.order, "batch": trigger.batch.size > 1, "retry": trigger.retry,
        "on_failure": trigger.on_failure, "maximum_concurrency": trigger.maximum_concurrency,
    }  # fmt: skip
    for name in (name for name, value in queued.items() if value):
        yield Finding(
            option=name, code="result-no-queue", warning=True,
            message=f'{name} does nothing with respond = "result": there is no queue',
        )  # fmt: skip
