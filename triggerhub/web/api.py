"""Put the admin API together: what the CLI and other programs of this machine ask the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import anyio
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from triggerhub.deploy.registry import Registry
from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.canaries import Canaries
from triggerhub.hub.hub import Hub
from triggerhub.model import Json, Millis
from triggerhub.policy.access import STRANGER
from triggerhub.web import asked, refusal, shape
from triggerhub.web.access import asker
from triggerhub.web.backup import Backup
from triggerhub.web.console.site import Console
from triggerhub.web.deliveries import Deliveries, json
from triggerhub.web.lambda_api.api import LambdaApi
from triggerhub.web.named import Named
from triggerhub.web.quota import Held, Quota
from triggerhub.web.session import Sessions
from triggerhub.web.stream import Lines, Tell
from triggerhub.web.tokens import Tokens
from triggerhub.web.versions import Versions

PLACES = {
    "/": "the console, for a browser",
    "/2015-03-31/": "the API of AWS Lambda, and its other dates beside it",
    "/api/v1/": "what the command line asks; private, it may change between versions",
    "/healthz": "200 while the process is alive",
    "/metrics": "metrics for Prometheus",
    "/readyz": "200 while events are taken, else 503; the reasons are for those who may look",
}
PROBES = ("/healthz", "/readyz")
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def application(
    hub: Hub, registry: Registry, canaries: Canaries, closing: anyio.Event, sessions: Sessions
) -> tuple[LambdaApi, Console]:
    """Return the ASGI application, and the console in it; streams and waits end once *closing* is set.

    Who asks is known before.
    """
    admin, versions = _Admin(hub, canaries, closing), Versions(hub, registry, canaries)
    held = [Middleware(Held, Quota())]
    console = Console(hub, closing, sessions, versions, held)
    api: list[BaseRoute] = [
        Route("/status", admin.status),
        Route("/alarms", admin.alarms),
        Route("/audit", admin.audit),
        Route("/output", admin.output, middleware=held),
        Route("/watch", admin.watch, middleware=held),
        Route("/reload", admin.reload, methods=["POST"]),
        Route("/prune", admin.prune, methods=["POST"]),
        # It reads nothing but costs a copy of the database, which no link in a page of another may ask for.
        Route("/backup", admin.backup, methods=["POST"]),
        *Deliveries(hub, closing).routes(),
        *versions.routes(),
        *Named(hub).routes(),
        *Tokens(hub).routes(),
    ]
    routes = [
        Route("/healthz", admin.alive),
        Route("/readyz", admin.ready),
        Route("/metrics", admin.metrics),
        Mount("/api/v1", app=_router(api)),
        *console.routes(),
    ]

    async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if page and asker(scope).principal is not STRANGER:
            return await (await console.nowhere(request))(scope, receive, send)
        return await _nowhere(scope, receive, send)

    return LambdaApi(hub, registry, refusal.Refusals(_Phased(hub, _router(routes, nowhere)))), console


def _router(routes: list[BaseRoute], default: ASGIApp | None = None) -> Router:
    return Router(routes, redirect_slashes=False, default=default or _nowhere)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    message = f"there is nothing at {path}"
    body = {"error": {"code": "no-such-path", "message": message, "hint": None}, "there_is": PLACES}
    await json(shape.dump(body), 404)(scope, receive, send)


class _Phased:
    """ASGI middleware: while the hub starts or stops it can be looked at, as far as it is there, and not changed."""

    def __init__(self, hub: Hub, app: ASGIApp) -> None:
        self._hub = hub
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        phase = self._hub.phase
        if (phase == "starting" and scope["path"] not in PROBES) or (phase == "stopping" and scope["method"] != "GET"):
            raise refusal.Stopping(f"the hub is {phase}", hint="Ask again in a moment.")
        await self._app(scope, receive, send)


class _Admin:
    """What is neither a delivery nor a name."""

    def __init__(self, hub: Hub, canaries: Canaries, closing: anyio.Event) -> None:
        self._hub = hub
        self._canaries = canaries
        self._closing = closing

    async def alive(self, request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def ready(self, request: Request) -> Response:
        """Answer 200 while events are taken, else 503; the reasons are also what limps while it is ready.

        Strangers are not told what limps: it names functions, and quotes what they did.
        """
        if self._hub.phase == "running":
            ready, reasons = self._hub.ready, list[str]()
            if asker(request.scope).principal is not STRANGER:
                status = await self._hub.status()
                reasons = [*status["problems"], *map(shape.alarm, status["alarms"])]
            reasons = reasons or ([] if ready else ["it takes no events"])
        else:
            ready, reasons = False, [f"the hub is {self._hub.phase}"]
        return json(shape.dump({"ready": ready, "reasons": reasons}), 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        told = asker(request.scope).principal.payloads
        return Response(await self._hub.metrics(told=told), headers={"Content-Type": PROMETHEUS})

    async def status(self, request: Request) -> Response:
        tried = [shape.timed(row, "began", "ended") for row in self._canaries.rows()]
        found = shape.timed(await self._hub.status(), "started")
        alarms = [shape.timed(row, "since") for row in found["alarms"]]
        return json(shape.dump({**found, "alarms": alarms, "canaries": tried}))

    async def alarms(self, request: Request) -> Response:
        """Tell of every alarm whether it is on, since when, and what it measured last."""
        return json(shape.dump([shape.timed(row, "since") for row in self._hub.alarms.rows()]))

    async def audit(self, request: Request) -> Response:
        """Count every row and compare with the ledgers: a sentence per difference."""
        return json(shape.dump(await self._hub.audit()))

    async def reload(self, request: Request) -> Response:
        return json(shape.dump({"problems": await self._hub.reload()}))

    async def prune(self, request: Request) -> Response:
        """Remove history now; ``keep`` replaces what the configuration keeps of it."""
        order = await asked.fields(request, {"keep": str})
        keep = asked.duration(order["keep"], "keep") if "keep" in order else None
        return json(shape.dump({"pruned": await self._hub.prune(keep)}))

    async def backup(self, request: Request) -> Backup:
        """Send the archive of everything at this moment."""
        await asked.body(request)
        return Backup(self._hub, self._closing)

    async def watch(self, request: Request) -> Lines:
        """Tell what happens from now on."""
        await asked.body(request)

        async def work(tell: Tell) -> None:
            async with self._hub.watch() as happenings:
                async for one in happenings:
                    await tell(shape.happening(one))

        return Lines(work, self._closing)

    async def output(self, request: Request) -> Lines:
        """Tell the lines that functions wrote, oldest first, and with ``follow=true`` those that come.

        Without it a last line says that they are all: an answer that breaks off is not taken for whole.
        """
        asking = _Asking(request)
        await asked.body(request)
        if asking.delivery is not None:
            await self._hub.deliveries.get(asking.delivery)
        if asking.function is not None and asking.function not in self._hub.project.functions:
            known = ", ".join(sorted(self._hub.project.functions)) or "none"
            raise NotFound(f"no function {asking.function!r}", hint=f"This hub has: {known}.")

        async def work(tell: Tell) -> None:
            if not asking.follow:
                await self._past(asking, tell)
                await tell({"finished": True})
                return
            async with self._hub.follow(asking.function) as lines:
                seen = Counter(map(_key, await self._past(asking, tell)))
                async for line in lines:
                    if not asking.fits(line):
                        continue
                    if seen[key := _key(line)] > 0:
                        # It came after the following began and before the past was read: told already.
                        seen[key] -= 1
                    else:
                        await tell(self._shown(line))

        return Lines(work, self._closing)

    async def _past(self, asking: _Asking, tell: Tell) -> list[Mapping[str, Json]]:
        lines = await self._hub.output(
            function=asking.function,
            delivery=asking.delivery,
            since=asking.since,
            search=asking.search,
            limit=asking.limit,
        )
        for line in lines:
            await tell(self._shown(line))
        return lines

    def _shown(self, line: Mapping[str, Json]) -> dict[str, Json]:
        # A secret may be younger than a line.
        return shape.timed({**line, "text": self._hub.veil.text(line["text"])}, "time")


class _Asking:
    """Which lines are asked for."""

    def __init__(self, request: Request) -> None:
        parameters = request.query_params
        self.function = parameters.get("function") or None
        self.delivery = asked.identifier(parameters["delivery"]) if parameters.get("delivery") else None
        self.since = asked.since(parameters.get("since"))
        self.search = parameters.get("search") or None
        self.limit = asked.number(parameters.get("limit"), 1000, 100_000, "limit")
        self.follow = asked.flag(parameters.get("follow"))
        if self.function and self.delivery:
            raise BadInput("a delivery has one function; give only one of the two")

    def fits(self, line: Mapping[str, Json]) -> bool:
        if line["request_id"] is None and line["stream"] == "hub":
            return True  # it says how many were skipped
        text = self.search is None or self.search.casefold() in line["text"].casefold()
        return text and self.delivery in (None, line["request_id"])


def _key(line: Mapping[str, Json]) -> tuple[Millis, str | None, str]:
    return line["time"], line["request_id"], line["text"]
