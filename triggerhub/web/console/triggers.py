"""Show triggers: what feeds which functions, what waits, when it fires next; pause, fire, send, examine."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.errors import BadInput
from triggerhub.hub.hub import Hub
from triggerhub.source import Accepted, Answer, Duplicate, Filtered
from triggerhub.web import asked
from triggerhub.web.console import answer, render
from triggerhub.web.console.frame import Frame
from triggerhub.web.console.named import Named


class Triggers:
    """The pages under /triggers."""

    def __init__(self, hub: Hub, frame: Frame) -> None:
        self._hub, self._frame = hub, frame
        self._named = Named(hub, "trigger", hub.triggers)

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            ("/triggers", self.page, "GET"),
            ("/triggers/list", self.listed, "GET"),
            ("/triggers/{name}", self.one, "GET"),
            ("/triggers/{name}/standing", self.standing, "GET"),
            *self._named.routes(),
            ("/triggers/{name}/fire", self.fire, "POST"),
            ("/triggers/{name}/send", self.send, "POST"),
            ("/triggers/{name}/examine", self.examine, "POST"),
        ]

    async def page(self, request: Request) -> Response:
        return await answer.html("triggers.html", await self._frame.around("triggers", request) | await self._rows())

    async def listed(self, request: Request) -> Response:
        """The table alone."""
        return await answer.html("triggerlist.html", self._frame.common() | await self._rows())

    async def _rows(self) -> dict[str, Any]:
        rows = [(row, self._hub.trial.fires(row["name"])) for row in await self._hub.triggers()]
        return {"rows": rows}

    async def standing(self, request: Request) -> Response:
        """How one does, alone."""
        return await answer.html("standing.html", self._frame.common() | _standing(await self._named.row(request)))

    async def one(self, request: Request) -> Response:
        row = await self._named.row(request)
        trigger = self._hub.project.triggers[row["name"]]
        values = _standing(row) | {
            "fires": self._hub.trial.fires(row["name"]),
            "filter": None if trigger.filter is None else render.laid(trigger.filter),
            "settings": _settings(trigger),
        }
        return await answer.html(
            "trigger.html", await self._frame.around("triggers", request) | values | {"title": row["name"]}
        )

    async def fire(self, request: Request) -> Response:
        return await self._told(await self._hub.fire(request.path_params["name"]))

    async def send(self, request: Request) -> Response:
        """Push what was written through filter, key and queue."""
        body, whole = await self._written(request)
        name = request.path_params["name"]
        if whole:
            raise BadInput("a record cannot be sent whole", hint="Send what a sender sends, or redeliver a delivery.")
        return await self._told(await self._hub.send(name, body))

    async def examine(self, request: Request) -> Response:
        """Say what would become of what was written."""
        body, whole = await self._written(request)
        found = await self._hub.trial.examine(request.path_params["name"], body, whole=whole)
        return await answer.html(
            "examined.html", self._frame.common() | {"found": found, "why": getattr(found, "why", None)}
        )

    async def _written(self, request: Request) -> tuple[bytes, bool]:
        fields = await asked.form(request)
        return fields.get("event", "").encode("utf-8", "replace"), fields.get("whole") == "yes"

    async def _told(self, given: Answer) -> Response:
        values: dict[str, Any] = {"result": "", "why": "", "deliveries": ()}
        match given:
            case Accepted():
                values |= {"result": "accepted", "deliveries": given.deliveries}
            case Duplicate():
                values |= {"result": "a duplicate", "deliveries": given.deliveries}
            case Filtered():
                values |= {"result": "filtered", "why": given.why}
        return await answer.html("sent.html", self._frame.common() | values, tell=f"It was {values['result']}")


def _standing(row: dict[str, Any]) -> dict[str, Any]:
    return {"row": row, "link": quote(row["name"], safe="")}


def _settings(trigger: Any) -> list[tuple[str, str]]:
    """Return a trigger's policies, in words."""
    batch = trigger.batch
    options = trigger.options.model_dump(exclude_defaults=True)
    found = [
        *((name.capitalize(), _shown(value)) for name, value in options.items() if name not in ("auth", "secret")),
        ("Key", trigger.key or ""),
        ("Order", trigger.order or ""),
        ("Batch", f"{batch.size} within {render.took(batch.window)}" if batch.size > 1 else ""),
        ("Backlog", render.number(trigger.backlog)),
    ]
    return [(name, text) for name, text in found if text]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
