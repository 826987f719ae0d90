"""Show deliveries: searched, plotted, listed, and one of them in full, with what can be done about it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from triggerhub import ids
from triggerhub.errors import Conflict, SourceFailed
from triggerhub.hub.hub import Hub
from triggerhub.hub.veil import KEYLESS
from triggerhub.model import Delivery, State
from triggerhub.policy import searching
from triggerhub.policy.masking import restored
from triggerhub.policy.prettyjson import pretty
from triggerhub.policy.scatter import plot
from triggerhub.policy.searching import Search
from triggerhub.policy.strict import is_json
from triggerhub.policy.timeline import phases, waited
from triggerhub.settings import MINUTE
from triggerhub.web import asked
from triggerhub.web.access import asker
from triggerhub.web.console import answer, render
from triggerhub.web.console.frame import Frame
from triggerhub.web.deliveries import not_retrying, unfinished

LISTED = 50
PLOTTED = 300
LINES = 1000
"""Lines of a delivery's log on its page."""
TYPED = 4096
"""The longest event that is put into a command, in bytes."""
EDITED = 256 * 1024
"""The largest event that is offered for editing, in bytes."""


class Deliveries:
    """The pages under /deliveries."""

    def __init__(self, hub: Hub, frame: Frame) -> None:
        self._hub, self._frame = hub, frame

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            ("/deliveries", self.page, "GET"),
            ("/deliveries/list", self.listed, "GET"),
            ("/deliveries/{id}", self.one, "GET"),
            ("/deliveries/{id}/pane", self.pane, "GET"),
            ("/deliveries/{id}/logs", self.logs, "GET"),
            ("/deliveries/{id}/story", self.story, "GET"),
            ("/deliveries/{id}/event.json", self.event, "GET"),
            ("/deliveries/{id}/payload.json", self.payload, "GET"),
            ("/deliveries/{id}/result.json", self.result, "GET"),
            ("/deliveries/{id}/redeliver", self.redeliver, "POST"),
            ("/deliveries/{id}/retry", self.retry, "POST"),
            ("/deliveries/{id}/cancel", self.cancel, "POST"),
            ("/deliveries/{id}/resend", self.resend, "POST"),
        ]

    async def page(self, request: Request) -> Response:
        values = await self._frame.around("deliveries", request) | await self._list(request) | {"detail": None}
        return await answer.html("deliveries.html", values)

    async def listed(self, request: Request) -> Response:
        """The plot and the table alone."""
        return await answer.html("list.html", self._frame.common() | await self._list(request))

    async def one(self, request: Request) -> Response:
        values = await self._frame.around("deliveries", request) | await self._list(request)
        return await answer.html("deliveries.html", values | await self._pane(_id(request), request))

    async def pane(self, request: Request) -> Response:
        """One delivery alone; nothing where it is as it was *seen*."""
        seen = request.query_params.get("seen")
        if seen is not None and seen == _mark((await self._hub.deliveries.get(_id(request))).delivery):
            return answer.nothing()
        return await self._shown(request, _id(request))

    async def _shown(self, request: Request, delivery: str, tell: str | None = None) -> Response:
        return await answer.html("pane.html", self._frame.common() | await self._pane(delivery, request), tell=tell)

    async def _list(self, request: Request) -> dict[str, Any]:
        text, before = request.query_params.get("q", ""), request.query_params.get("before")
        try:
            search, trouble = searching.parse(text), None
        except ValueError as error:
            search, trouble = Search(), str(error)
        told = asker(request.scope).principal.payloads
        if search.key is not None and not told:
            search, trouble = Search(), KEYLESS
        rows = [] if trouble else await self._found(search, asked.identifier(before) if before else None, told=told)
        rows = rows if told else [self._hub.veil.delivery(row) for row in rows]
        more = len(rows) > LISTED
        stats = await self._hub.stats()
        counts = {
            state.value: sum(
                numbers.get(state, 0)
                for lane, numbers in stats.by_lane.items()
                if search.function in (None, lane.function) and search.trigger in (None, lane.trigger)
            )
            for state in State
        }
        return {
            "q": text,
            "search": search,
            "trouble": trouble,
            "rows": rows[:LISTED],
            "plot": plot(rows),
            "older": f"/deliveries?{urlencode({'q': text, 'before': rows[LISTED - 1].id})}" if more else None,
            "before": before,
            "live": "" if before else f"/deliveries/list?{urlencode({'q': text})}",
            "counts": counts if not (search.error or search.key or search.since or search.id) else None,
            "states": {state.value: f"/deliveries?{urlencode({'q': str(_with(search, state))})}" for state in State},
            "every": f"/deliveries?{urlencode({'q': str(_with(search, None))})}",
            "query": urlencode({"q": text}) if text else "",
        }

    async def _found(self, search: Search, before: str | None, *, told: bool) -> list[Delivery]:
        now = time.time_ns() // 1_000_000
        if search.id is not None:
            if search.id == ids.event_of(search.id):
                rows = (await self._hub.deliveries.event(search.id))[1]
            else:
                rows = [(await self._hub.deliveries.get(search.id)).delivery]
            veil = self._hub.veil
            return [
                row
                for row in rows
                if searching.holds(search, replace(row, error=veil.fault(row.error, told=told)), now)
            ]
        return await self._hub.deliveries.page(
            asked.searched(search, search.state, before=before, limit=PLOTTED), told=told
        )

    async def _pane(self, delivery: str, request: Request) -> dict[str, Any]:
        shown, veil = asker(request.scope).principal.payloads, self._hub.veil
        found = await self._hub.deliveries.get(delivery)
        size = len(found.event.data)
        found = found if shown else veil.detail(found)
        row, now = found.delivery, time.time_ns() // 1_000_000
        last = found.attempts[-1] if found.attempts else None
        siblings = [one for one in (await self._hub.deliveries.event(row.event_id))[1] if one.id != row.id]
        data = found.event.data
        return {
            "detail": found,
            "row": row,
            "seen": _mark(row),
            "phases": phases(row, found.attempts, now=now),
            "held": self._hub.explainer.limits(row) if waited(row, found.attempts) else "",
            "last": last,
            "shown": shown,
            "event": self._laid_out(data) if shown else {"text": "", "cut": False, "size": size},
            "result": self._laid_out(last.payload) if shown and last and last.payload is not None else None,
            "editable": self._for_editing(data)[0] if shown and _can_be_edited(data) else None,
            "siblings": siblings,
            "commands": self._commands(row, data if shown else None),
        }

    def _commands(self, row: Delivery, data: bytes | None) -> list[tuple[str, str, str | None]]:
        """Return what to type in a terminal for what is shown here, and what of it is to be downloaded before.

        It is typed anywhere on the hub's machine. *data* is None for whoever may not see it.
        """
        folder = os.fsencode(self._hub.project.hub.project).decode("utf-8", "replace")
        start = f"triggerhub -C {shlex.quote(folder)}"
        found: list[tuple[str, str, str | None]] = [
            ("Show it", f"{start} deliveries show {row.id}", None),
            ("Try it now", f"{start} deliveries retry {row.id}", None)
            if row.retrying(asked.now())
            else ("Deliver it again", f"{start} deliveries redeliver {row.id}", None),
            ("Read its log", f"{start} logs --delivery {row.id}", None),
            ("Tell the event's story", f"{start} explain {row.event_id}", None),
        ]
        if data is not None and row.function in self._hub.project.functions:
            payload = self._payload(row, data)
            # With dots in it, it would be another event.
            if payload is not None and self._hub.veil.payload(payload) == payload:
                call = f"{start} invoke {shlex.quote(row.function)} -d"
                if (text := _typed(payload)) is not None:
                    found.append(("Call it with the event", f"{call} {shlex.quote(text)}", None))
                else:
                    name = f"payload-{row.id}.json"
                    found.append(("Call it with the event", f"{call} @{name}", name))
        return found

    def _payload(self, row: Delivery, data: bytes) -> bytes | None:
        """Return what the function gets; None where the source cannot tell, which the delivery's error says."""
        try:
            return self._hub.trial.payload(row.trigger, row.function, data)
        except SourceFailed:
            return None

    def _laid_out(self, data: bytes) -> dict[str, Any]:
        """Return a payload as a page shows it: whole, or its beginning; without secrets."""
        text = self._hub.veil.text(render.begun(data))
        cut = len(data) > render.SHOWN
        laid = pretty(text) if not cut else text[: render.SHOWN]
        return {"text": laid, "cut": cut, "size": len(data)}

    def _for_editing(self, data: bytes) -> tuple[str, Mapping[str, str]]:
        """Return an event laid out, with a mark for each secret, and what the marks stand for."""
        text, mask = pretty(data.decode()), self._hub.veil.mask
        return (text, {}) if mask is None else mask.numbered(text)

    async def logs(self, request: Request) -> Response:
        """What the delivery's attempts wrote."""
        delivery = _id(request)
        # Nothing is older than the delivery: what is followed must not read the whole log again and again.
        since = (await self._hub.deliveries.get(delivery)).delivery.created - MINUTE
        lines = await self._hub.output(delivery=delivery, since=since, limit=LINES)
        return await answer.html("logs.html", self._frame.common() | {"lines": lines, "most": LINES})

    async def story(self, request: Request) -> Response:
        """Which triggers saw its event, and what else ``explain`` tells; nothing of what it carries."""
        row = (await self._hub.deliveries.get(_id(request))).delivery
        told = await self._hub.explainer.explain([row.event_id], [])
        return await answer.html("story.html", self._frame.common() | {"row": row, "story": told})

    async def event(self, request: Request) -> Response:
        """The record as it arrived, but for secrets."""
        found = await self._hub.deliveries.get(_id(request))
        return answer.file(self._hub.veil.payload(found.event.data), f"event-{found.event.id}.json")

    async def payload(self, request: Request) -> Response:
        """What the function gets for the event, but for secrets."""
        found = await self._hub.deliveries.get(_id(request))
        row = found.delivery
        data = self._hub.trial.payload(row.trigger, row.function, found.event.data)
        return answer.file(self._hub.veil.payload(data), f"payload-{row.id}.json")

    async def result(self, request: Request) -> Response:
        """What the last attempt answered."""
        found = await self._hub.deliveries.get(_id(request))
        payload = found.attempts[-1].payload if found.attempts else None
        return answer.file(self._hub.veil.payload(payload or b""), f"result-{found.delivery.id}.json")

    async def redeliver(self, request: Request) -> Response:
        delivery = _id(request)
        if not await self._hub.deliveries.redrive([delivery]):
            raise unfinished((await self._hub.deliveries.get(delivery)).delivery)
        return await self._shown(request, delivery, "Queued again")

    async def retry(self, request: Request) -> Response:
        delivery = _id(request)
        if not await self._hub.deliveries.retry([delivery]):
            raise not_retrying((await self._hub.deliveries.get(delivery)).delivery)
        return await self._shown(request, delivery, "It is due now")

    async def cancel(self, request: Request) -> Response:
        delivery = _id(request)
        if not await self._hub.deliveries.cancel([delivery], "cancelled by hand"):
            row = (await self._hub.deliveries.get(delivery)).delivery
            raise Conflict(f"this delivery has {row.state.value} already")
        return await self._shown(request, delivery, "Cancelled")

    async def resend(self, request: Request) -> Response:
        """Queue the edited event, with the secrets that it was shown without, and show its delivery."""
        text = (await asked.form(request)).get("event", "")
        data = (await self._hub.deliveries.get(_id(request))).event.data
        if _can_be_edited(data):
            text = restored(text, self._for_editing(data)[1])
        accepted = await self._hub.resend(_id(request), text.encode("utf-8", "replace"))
        response = await self._shown(request, accepted.deliveries[0], "Sent as a new event")
        response.headers["HX-Push-Url"] = f"/deliveries/{accepted.deliveries[0]}"
        return response


def _with(search: Search, state: State | None) -> Search:
    return Search(**{part: getattr(search, part) for part in searching.PARTS} | {"state": state})


def _mark(row: Delivery) -> str:
    """Return what is another once anything that a page shows of a delivery has changed."""
    return f"{row.state.value}.{row.attempts}.{row.due}.{row.finished}"


def _id(request: Request) -> str:
    return asked.identifier(request.path_params["id"])


def _can_be_edited(data: bytes) -> bool:
    return len(data) <= EDITED and is_json(data)


def _typed(payload: bytes) -> str | None:
    """Return a payload as one argument of a command; None where it is too long for that, or no text for a terminal."""
    if len(payload) > TYPED:
        return None
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    text = text.replace("\r", " ").replace("\n", " ").replace("\t", " ")  # in JSON they are space between tokens
    return text if text.isprintable() else None
