"""Serve deliveries and events: list, look at, wait for, cancel, try now, deliver again."""

from __future__ import annotations

import re
import secrets
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from triggerhub import ids
from triggerhub.errors import BadInput, Conflict
from triggerhub.hub.hub import Hub
from triggerhub.hub.veil import KEYLESS
from triggerhub.model import Delivery, Json, State
from triggerhub.policy import orders
from triggerhub.web import asked, bulk, shape
from triggerhub.web.access import asker, remark
from triggerhub.web.stream import Lines, attended

_OWN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONGEST_WAIT = 60.0
"""Seconds that one request waits at most; a client that would wait longer asks again."""


class Deliveries:
    """The routes under /deliveries, /dead-letters and /events."""

    def __init__(self, hub: Hub, closing: anyio.Event) -> None:
        self._hub = hub
        self._closing = closing

    def routes(self) -> list[Route]:
        return [
            Route("/deliveries", self.page),
            Route("/deliveries/cancel", self.cancel_many, methods=["POST"]),
            Route("/deliveries/retry", self.retry_many, methods=["POST"]),
            Route("/deliveries/{id}", self.show),
            Route("/deliveries/{id}/wait", self.wait),
            Route("/deliveries/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/deliveries/{id}/redeliver", self.redeliver, methods=["POST"]),
            Route("/deliveries/{id}/retry", self.retry, methods=["POST"]),
            Route("/dead-letters/redrive", self.redrive_many, methods=["POST"]),
            Route("/dead-letters/discard", self.discard_many, methods=["POST"]),
            Route("/events/{id}", self.event),
            Route("/explain", self.explain),
        ]

    async def page(self, request: Request) -> Response:
        """List deliveries, newest first; a name that nothing has or had is an error, not an empty list.

        An ``error`` is found as it is shown to who asks; a ``key`` is no word for who may not see what events carry.
        """
        query = asked.query(request)
        rows = await self._hub.deliveries.page(query, told=_told(request))
        if not rows:
            await self._hub.deliveries.known(query)
        return json(shape.dump([self._row(row, request) for row in rows]))

    async def show(self, request: Request) -> Response:
        found, told = await self._hub.deliveries.get(_id(request)), _told(request)
        found = found if told else self._hub.veil.detail(found)
        return json(shape.detail(found, hidden=not told, mask=self._hub.veil.mask))

    async def event(self, request: Request) -> Response:
        return json(shape.event(*await self._hub.deliveries.event(_id(request)), mask=self._hub.veil.mask))

    async def explain(self, request: Request) -> Response:
        """Tell what became of an event, by ``id``, the hub's or its source's, or by a file's ``path``.

        Nothing that the event carries is in the answer, and who may not see that asks by the hub's own id only.
        """
        names = [name for part in ("id", "path") if (name := request.query_params.get(part))]
        if not names:
            raise BadInput("id: say which event")
        told, own = _told(request), [ids.event_of(name) for name in names if _OWN.fullmatch(name)]
        if not told and not own:
            raise BadInput(KEYLESS, hint="Give the id of an event or of one of its deliveries.")
        story = await self._hub.explainer.explain(own, [name for name in names if told])
        return json(shape.dump(shape.story(story, self._hub.veil, told=told)))

    async def wait(self, request: Request) -> Response:
        """Answer once the delivery is finished, or as it stands after ``timeout`` seconds."""
        text = request.query_params.get("timeout") or "30"
        try:
            seconds = min(float(text), LONGEST_WAIT)
        except ValueError:
            raise BadInput(f"timeout: expected seconds, got {text!r}") from None
        if not seconds >= 0:
            raise BadInput(f"timeout: expected seconds, got {text!r}")
        identifier = _id(request)
        await asked.body(request)
        row = await attended(request.receive, lambda: self._hub.deliveries.wait(identifier, seconds), self._closing)
        return json(shape.dump(self._row(row, request)))

    def _row(self, row: Delivery, request: Request) -> dict[str, Json]:
        """Return a delivery as who asks may see it."""
        return shape.delivery(row if _told(request) else self._hub.veil.delivery(row), self._hub.veil.mask)

    async def cancel(self, request: Request) -> Response:
        """End one delivery that is queued or running."""
        fields = await asked.fields(request, {"reason": str})
        identifier = _id(request)
        if not await self._hub.deliveries.cancel([identifier], fields.get("reason", "cancelled by hand")):
            row = (await self._hub.deliveries.get(identifier)).delivery
            raise Conflict(f"delivery {identifier} has {row.state.value} already")
        return await self.show(request)

    async def redeliver(self, request: Request) -> Response:
        """Queue one finished delivery again."""
        identifier = _id(request)
        if not await self._hub.deliveries.redrive([identifier]):
            raise unfinished((await self._hub.deliveries.get(identifier)).delivery)
        return await self.show(request)

    async def retry(self, request: Request) -> Response:
        """Try now one delivery that waits for its next attempt."""
        identifier = _id(request)
        if not await self._hub.deliveries.retry([identifier]):
            raise not_retrying((await self._hub.deliveries.get(identifier)).delivery)
        return await self.show(request)

    async def retry_many(self, request: Request) -> Lines:
        """Try now what waits for its next attempt, oldest first."""
        return await self._carried_out(request, bulk.RETRYING, lambda ids, _: self._hub.deliveries.retry(ids))

    async def redrive_many(self, request: Request) -> Lines:
        """Queue dead deliveries again, oldest first; see :mod:`triggerhub.web.bulk`."""
        return await self._carried_out(request, bulk.DEAD, lambda ids, _: self._hub.deliveries.redrive(ids, bulk.DEAD))

    async def discard_many(self, request: Request) -> Lines:
        """Remove dead deliveries."""
        return await self._carried_out(request, bulk.DEAD, self._hub.deliveries.discard)

    async def cancel_many(self, request: Request) -> Lines:
        """End queued and running deliveries."""
        return await self._carried_out(request, bulk.UNFINISHED, self._hub.deliveries.cancel)

    async def _carried_out(self, request: Request, states: tuple[State, ...], act: bulk.Act) -> Lines:
        fields = await asked.fields(request, bulk.MEMBERS)
        order, note = bulk.order(fields, states, told=_told(request)), partial(remark, request.scope)
        note(id=secrets.token_hex(8), order=orders.kept(fields))
        return Lines(lambda tell: bulk.carry_out(self._hub, order, act, tell, note), self._closing)


def unfinished(row: Delivery) -> Conflict:
    """Say why a delivery cannot be queued again: it is not finished."""
    hint = "Wait for it, or cancel it."
    if row.retrying(asked.now()):
        hint = "It waits for its next attempt: retry it now, or cancel it."
    return Conflict(f"delivery {row.id} is still {row.state.value}", hint=hint)


def not_retrying(row: Delivery) -> Conflict:
    """Say why a delivery cannot be tried now: it does not wait for its next attempt."""
    if row.state.finished:
        hint = "Redeliver it, to run it again."
    elif row.state is State.RUNNING:
        hint = "Its attempt is under way."
    elif row.due > asked.now():
        hint = "It was delayed by its sender, and is not tried before."
    else:
        hint = f"It is due; triggerhub explain {row.event_id} says what it is held by."
    return Conflict(f"delivery {row.id} is {row.state.value}, and waits for no further attempt", hint=hint)


def json(body: bytes, status: int = 200) -> Response:
    """Return an answer of JSON."""
    return Response(body, status, media_type="application/json")


def _told(request: Request) -> bool:
    """Whether who asks may see what events carry."""
    return asker(request.scope).principal.payloads


def _id(request: Request) -> str:
    return asked.identifier(request.path_params["id"])
