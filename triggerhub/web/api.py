"""Serve the JSON API that the command line uses; private, it may change between versions."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.hub import Answered, Hub
from triggerhub.hub.pause import Kind
from triggerhub.model import Json, State
from triggerhub.policy import units
from triggerhub.store import Query
from triggerhub.web import shape

Endpoint = Callable[[Request], Awaitable[Response]]
JSON = "application/json"
CHUNK = 100
"""How many dead letters are queued again at a time; each chunk is one line of progress."""


class Api:
    """The endpoints, over a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        """Return the routes, to be mounted at /api/v1."""

        def get(path: str, endpoint: Endpoint) -> Route:
            return Route(path, endpoint, methods=["GET"])

        def post(path: str, endpoint: Endpoint) -> Route:
            return Route(path, endpoint, methods=["POST"])

        return [
            get("/status", self.status),
            get("/audit", self.audit),
            post("/reload", self.reload),
            get("/deliveries", self.deliveries),
            get("/deliveries/{id}", self.delivery),
            get("/deliveries/{id}/wait", self.wait),
            post("/deliveries/{id}/cancel", self.cancel),
            post("/deliveries/{id}/redeliver", self.redeliver),
            get("/events/{id}", self.event),
            post("/dead-letters/redrive", self.redrive),
            post("/dead-letters/discard", self.discard),
            get("/functions", self.functions),
            get("/functions/{name}", self.function),
            post("/functions/{name}/invoke", self.invoke),
            post("/functions/{name}/pause", self.pausing("function", paused=True)),
            post("/functions/{name}/resume", self.pausing("function", paused=False)),
            get("/triggers", self.triggers),
            get("/triggers/{name}", self.trigger),
            post("/triggers/{name}/send", self.send),
            post("/triggers/{name}/fire", self.fire),
            post("/triggers/{name}/pause", self.pausing("trigger", paused=True)),
            post("/triggers/{name}/resume", self.pausing("trigger", paused=False)),
            get("/output", self.output),
            get("/watch", self.watch),
        ]

    async def status(self, request: Request) -> Response:
        found = await self._hub.status()
        return JSONResponse(shape.timed(found, "started"))

    async def audit(self, request: Request) -> Response:
        return JSONResponse(await self._hub.audit())

    async def reload(self, request: Request) -> Response:
        return JSONResponse({"problems": await self._hub.reload()})

    # deliveries

    async def deliveries(self, request: Request) -> Response:
        rows = await self._hub.page(query_of(request.query_params))
        return JSONResponse([shape.delivery(row) for row in rows])

    async def delivery(self, request: Request) -> Response:
        return Response(shape.detail(await self._hub.get(request.path_params["id"])), media_type=JSON)

    async def wait(self, request: Request) -> Response:
        timeout = number(request.query_params.get("timeout", "60"), "timeout", most=3600)
        return JSONResponse(shape.delivery(await self._hub.wait(request.path_params["id"], timeout)))

    async def cancel(self, request: Request) -> Response:
        reason = request.query_params.get("reason", "cancelled by hand")
        delivery = request.path_params["id"]
        await self._hub.get(delivery)
        return JSONResponse({"cancelled": await self._hub.cancel([delivery], reason)})

    async def redeliver(self, request: Request) -> Response:
        delivery = request.path_params["id"]
        await self._hub.get(delivery)
        return JSONResponse({"queued": await self._hub.redrive([delivery])})

    async def event(self, request: Request) -> Response:
        event, owed = await self._hub.event(request.path_params["id"])
        return Response(shape.event(event, owed), media_type=JSON)

    # dead letters

    async def redrive(self, request: Request) -> Response:
        """Queue dead letters again; answers a JSON line per chunk: how many so far, of how many."""
        wanted = await body_of(request)
        found = await self._dead(wanted)
        if wanted.get("dry_run"):
            return lines(once({"queued": 0, "of": len(found), "dry_run": True}))
        rate = units.rate(wanted["rate"]) if wanted.get("rate") else None

        async def progress() -> AsyncIterator[Json]:
            queued, began = 0, time.monotonic()
            size = CHUNK if rate is None else max(1, min(CHUNK, rate.count))
            for start in range(0, len(found), size):
                queued += len(await self._hub.redrive(found[start : start + size]))
                yield {"queued": queued, "of": len(found)}
                if rate is not None and start + size < len(found):
                    due = began + (start + size) * rate.per / rate.count / 1000
                    await anyio.sleep(max(0, due - time.monotonic()))
            if not found:
                yield {"queued": 0, "of": 0}

        return lines(progress())

    async def discard(self, request: Request) -> Response:
        wanted = await body_of(request)
        found = await self._dead(wanted)
        if wanted.get("dry_run"):
            return JSONResponse({"discarded": 0, "of": len(found), "dry_run": True})
        gone = await self._hub.discard(found, str(wanted.get("reason") or "discarded by hand"))
        return JSONResponse({"discarded": len(gone), "of": len(found)})

    async def _dead(self, wanted: dict[str, Any]) -> list[str]:
        """Return the ids that a body names, or all that its filter finds, oldest first."""
        if "ids" in wanted:
            return [str(one) for one in wanted["ids"]]
        filters = {key: str(wanted[key]) for key in ("function", "trigger", "since") if wanted.get(key)}
        if not filters and not wanted.get("all"):
            raise BadInput("name ids, a function, a trigger or a time, or say all")
        found: list[str] = []
        before = ""
        while True:
            query = query_of({**filters, "state": "dead", "limit": "1000", "before": before})
            rows = await self._hub.page(query)
            found += [row.id for row in rows]
            if len(rows) < query.limit:
                return found[::-1]
            before = rows[-1].id

    # functions and triggers

    async def functions(self, request: Request) -> Response:
        return JSONResponse(await self._hub.functions())

    async def function(self, request: Request) -> Response:
        return JSONResponse(pick(await self._hub.functions(), "function", request.path_params["name"]))

    async def triggers(self, request: Request) -> Response:
        return JSONResponse([shape.timed(row, "next") for row in await self._hub.triggers()])

    async def trigger(self, request: Request) -> Response:
        return JSONResponse(
            shape.timed(pick(await self._hub.triggers(), "trigger", request.path_params["name"]), "next")
        )

    async def invoke(self, request: Request) -> Response:
        name, body = request.path_params["name"], await request.body() or b"null"
        if request.query_params.get("async"):
            accepted = await self._hub.invoke_async(name, body)
            return JSONResponse(shape.answer(accepted), 202)
        answered = await self._hub.invoke(name, body)
        return Response(called(answered), media_type=JSON)

    async def send(self, request: Request) -> Response:
        params = request.query_params
        body = await request.body()
        answer = await self._hub.send(
            request.path_params["name"],
            body if body or (not params.get("sample") and params.get("empty")) else None,
            sample=params.get("sample") or None,
            delay=units.duration(params["delay"]) if params.get("delay") else 0,
            key=params.get("key") or None,
        )
        return JSONResponse(shape.answer(answer), 202)

    async def fire(self, request: Request) -> Response:
        return JSONResponse(shape.answer(await self._hub.fire(request.path_params["name"])), 202)

    def pausing(self, kind: Kind, *, paused: bool) -> Endpoint:
        """Return the endpoint that pauses or resumes."""

        async def endpoint(request: Request) -> Response:
            name = request.path_params["name"]
            await (self._hub.pause if paused else self._hub.resume)(kind, name)
            return JSONResponse({"kind": kind, "name": name, "paused": paused})

        return endpoint

    # what happens

    async def output(self, request: Request) -> Response:
        params = request.query_params
        function, delivery = params.get("function") or None, params.get("delivery") or None
        since = int(params["since"]) if params.get("since") else None
        limit = int(number(params.get("limit", "1000"), "limit", most=100_000))
        rows = await self._hub.output(function=function, delivery=delivery, since=since, limit=limit)
        if not params.get("follow"):
            return JSONResponse([shape.timed(row, "time") for row in rows])

        async def stream() -> AsyncIterator[Json]:
            for row in rows:
                yield shape.timed(row, "time")
            async with self._hub.follow(function) as following:
                async for line in following:
                    yield shape.timed(line, "time")

        return lines(stream())

    async def watch(self, request: Request) -> Response:
        async def stream() -> AsyncIterator[Json]:
            async with self._hub.watch() as happenings:
                async for one in happenings:
                    yield shape.happening(one)

        return lines(stream())


def called(answered: Answered) -> bytes:
    """Return a call that was waited for: its report, whether it was a success, and its payload as it came."""
    name, payload, _ = shape.outcome(answered.outcome)
    report = shape.dump({**shape.report(answered), "ok": name == "returned"})
    return report[:-1] + b',"payload":' + (payload or b"null") + b"}"


def lines(values: AsyncIterator[Json]) -> Response:
    """Stream values as JSON lines."""

    async def encoded() -> AsyncIterator[bytes]:
        async for value in values:
            yield json.dumps(value).encode() + b"\n"

    return StreamingResponse(encoded(), media_type="application/x-ndjson")


async def once(value: Json) -> AsyncIterator[Json]:
    yield value


def pick(rows: list[dict[str, Json]], kind: str, name: str) -> dict[str, Json]:
    """Return the row of that name; NotFound names those there are."""
    for row in rows:
        if row["name"] == name:
            return row
    raise NotFound(
        f"no {kind} {name!r}", hint=f"This hub has: {', '.join(str(row['name']) for row in rows) or 'none'}."
    )


async def body_of(request: Request) -> dict[str, Any]:
    """Return the request's body, a JSON object. BadInput."""
    try:
        value = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput("the body must be a JSON object")
    return value


def query_of(params: Any) -> Query:
    """Read a query from parameters; ``since`` is milliseconds since the epoch. BadInput."""
    state = params.get("state") or None
    if state is not None and state not in {one.value for one in State}:
        raise BadInput(f"no state {state!r}", hint=f"There is: {', '.join(one.value for one in State)}.")
    return Query(
        state=State(state) if state else None,
        function=params.get("function") or None,
        trigger=params.get("trigger") or None,
        since=int(number(params["since"], "since")) if params.get("since") else None,
        before=params.get("before") or None,
        limit=int(number(params.get("limit") or "100", "limit", most=1000)),
    )


def number(text: str, name: str, most: float = float("inf")) -> float:
    """Read a number that is not negative. BadInput."""
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"{name} must be a number, not {text!r}") from None
    if not 0 <= value <= most:
        raise BadInput(f"{name} must be between 0 and {most:g}, not {text}")
    return value
