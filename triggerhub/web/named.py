"""Serve functions and triggers: look at them, call and feed them, pause and resume them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.hub import Hub
from triggerhub.model import Json
from triggerhub.source import Answer, Filtered
from triggerhub.web import asked, shape
from triggerhub.web.deliveries import json
from triggerhub.web.stream import attended


class Named:
    """The routes under /functions and /triggers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [
            Route("/functions", self.functions),
            Route("/functions/{name}", self.function),
            Route("/functions/{name}/invoke", self.invoke, methods=["POST"]),
            Route("/functions/{name}/pause", self.pause_function, methods=["POST"]),
            Route("/functions/{name}/resume", self.resume_function, methods=["POST"]),
            Route("/triggers", self.triggers),
            Route("/triggers/{name}", self.trigger),
            Route("/triggers/{name}/send", self.send, methods=["POST"]),
            Route("/triggers/{name}/fire", self.fire, methods=["POST"]),
            Route("/triggers/{name}/pause", self.pause_trigger, methods=["POST"]),
            Route("/triggers/{name}/resume", self.resume_trigger, methods=["POST"]),
        ]

    async def functions(self, request: Request) -> Response:
        return json(shape.dump([{**row, "recent": self._recent(row["name"])} for row in await self._hub.functions()]))

    def _recent(self, name: str) -> dict[str, Json]:
        point = self._hub.pulse.function(name)
        return {
            "seconds": point.length / 1000,
            "calls": point.calls,
            "errors": point.errors,
            "p50_ms": point.p50,
            "p95_ms": point.p95,
        }

    async def function(self, request: Request) -> Response:
        return json(shape.dump(_one("function", await self._hub.functions(), _name(request))))

    async def triggers(self, request: Request) -> Response:
        return json(shape.dump([shape.timed(row, "next") for row in await self._hub.triggers()]))

    async def trigger(self, request: Request) -> Response:
        return json(shape.dump(shape.timed(_one("trigger", await self._hub.triggers(), _name(request)), "next")))

    async def invoke(self, request: Request) -> Response:
        """Call with the body as payload; ``async=true`` queues instead.

        The answer's body is the payload; with ``report=true`` a first line goes before it, which has all else
        that is known of the call, its log too.
        """
        payload = await asked.body(request) or b"{}"
        name, parameters = _name(request), request.query_params
        delay = asked.duration(parameters.get("delay"), "delay")
        context = asked.client_context(parameters.get("client_context"))
        if asked.flag(parameters.get("async")):
            if context is not None:
                raise BadInput("client_context does not go with async=true")
            return _answered(await self._hub.invoke_async(name, payload, delay=delay))
        if delay:
            raise BadInput("delay goes with async=true only")
        call = await attended(request.receive, lambda: self._hub.invoke(name, payload, client_context=context))
        outcome, answer, _ = shape.outcome(call.outcome)
        head = shape.dump(shape.report(call)) + b"\n" if asked.flag(parameters.get("report")) else b""
        response = json(head + answer)
        response.headers["X-Triggerhub-Outcome"] = outcome
        response.headers["X-Triggerhub-Request-Id"] = call.request_id
        response.headers["X-Triggerhub-Version"] = call.version
        return response

    async def send(self, request: Request) -> Response:
        """Push the body, or a sample, through the trigger's filter, key and queue; ``empty=true`` means that body."""
        parameters = request.query_params
        body: bytes | None = await asked.body(request)
        if not body and not asked.flag(parameters.get("empty")):
            body = None
        sample = parameters.get("sample") or None
        if body is not None and sample is not None:
            raise BadInput("a sample does not go with data", hint="Leave one of them out.")
        delay = asked.duration(parameters.get("delay"), "delay")
        key = parameters.get("key") or None
        return _answered(await self._hub.send(_name(request), body, sample=sample, delay=delay, key=key))

    async def fire(self, request: Request) -> Response:
        return _answered(await self._hub.fire(_name(request)))

    async def pause_function(self, request: Request) -> Response:
        await self._hub.pause("function", _name(request))
        return await self.function(request)

    async def resume_function(self, request: Request) -> Response:
        await self._hub.resume("function", _name(request))
        return await self.function(request)

    async def pause_trigger(self, request: Request) -> Response:
        await self._hub.pause("trigger", _name(request))
        return await self.trigger(request)

    async def resume_trigger(self, request: Request) -> Response:
        await self._hub.resume("trigger", _name(request))
        return await self.trigger(request)


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _one(kind: str, rows: Sequence[dict[str, Json]], name: str) -> dict[str, Json]:
    for row in rows:
        if row["name"] == name:
            return row
    known = ", ".join(sorted(row["name"] for row in rows)) or "none"
    raise NotFound(f"no {kind} {name!r}", hint=f"This hub has: {known}.")


def _answered(answer: Answer) -> Response:
    return json(shape.dump(shape.answer(answer)), 200 if isinstance(answer, Filtered) else 202)
