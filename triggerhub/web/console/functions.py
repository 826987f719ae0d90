"""Show functions: how often, how fast, how much fails; try one with an event, pause it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.errors import SourceFailed
from triggerhub.hub.hub import Hub
from triggerhub.policy import units
from triggerhub.policy.prettyjson import pretty
from triggerhub.settings import DEPLOYED, HOUR
from triggerhub.web import asked, shape
from triggerhub.web.console import answer, render
from triggerhub.web.console.frame import Frame
from triggerhub.web.console.named import Named, again
from triggerhub.web.stream import attended
from triggerhub.web.versions import Versions

LINES = 200
"""Lines of its log on a function's page."""


class Functions:
    """The pages under /functions."""

    def __init__(self, hub: Hub, frame: Frame, versions: Versions) -> None:
        self._hub, self._frame, self._versions = hub, frame, versions
        self._named = Named(hub, "function", hub.functions)

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            ("/functions", self.page, "GET"),
            ("/functions/list", self.listed, "GET"),
            ("/functions/{name}", self.one, "GET"),
            ("/functions/{name}/numbers", self.numbers, "GET"),
            ("/functions/{name}/logs", self.logs, "GET"),
            *self._named.routes(),
            ("/functions/{name}/test", self.test, "POST"),
            ("/functions/{name}/rollback", self.rollback, "POST"),
            ("/functions/{name}/canary/end", self.end, "POST"),
        ]

    async def page(self, request: Request) -> Response:
        return await answer.html("functions.html", await self._frame.around("functions", request) | await self._rows())

    async def listed(self, request: Request) -> Response:
        """The table alone."""
        return await answer.html("functionlist.html", self._frame.common() | await self._rows())

    async def _rows(self) -> dict[str, Any]:
        pulse = self._hub.pulse
        rows = [(row, pulse.function(row["name"]), pulse.memory(row["name"])) for row in await self._hub.functions()]
        return {"rows": rows}

    async def one(self, request: Request) -> Response:
        row = await self._named.row(request)
        name = row["name"]
        samples = {
            f"{trigger}: {sample}": pretty(render.readable(record))
            for trigger in row["triggers"]
            for sample, record in self._samples(trigger).items()
        }
        function = self._hub.project.functions[name]
        # Versions and aliases are functions of their own here, of which there are no versions.
        versioned = function.source == DEPLOYED and ":" not in name
        values = await self._numbers(row, request) | {
            "settings": _settings(function),
            "versions": self._versions.rows(name) if ":" not in name else [],
            "canaries": self._versions.canaries.rows(name) if versioned else [],
            "samples": samples,
            "sample_data": render.data(samples),
        }
        return await answer.html(
            "function.html", await self._frame.around("functions", request) | values | {"title": name}
        )

    def _samples(self, trigger: str) -> Mapping[str, bytes]:
        """Return what to try a function with; none where the source cannot make it, which ``send --sample`` tells."""
        try:
            return self._hub.trial.samples(trigger)
        except SourceFailed:
            return {}

    async def numbers(self, request: Request) -> Response:
        """How it does, alone."""
        values = await self._numbers(await self._named.row(request), request)
        return await answer.html("numbers.html", self._frame.common() | values)

    async def _numbers(self, row: dict[str, Any], request: Request) -> dict[str, Any]:
        name, pulse = row["name"], self._hub.pulse
        return {
            "row": row,
            "link": quote(name, safe=""),
            "recent": pulse.function(name),
            "hour": pulse.function(name, HOUR),
            "memory": pulse.memory(name),
            "causes": [one for one in await self._frame.graves(request) if one.function == name][:5],
        }

    async def logs(self, request: Request) -> Response:
        """What it wrote lately, searched."""
        name, text = (await self._named.row(request))["name"], request.query_params.get("q", "")
        wrote = self._hub.wrote(name)
        if request.query_params.get("seen") == str(wrote):
            return answer.nothing()
        lines = await self._hub.output(function=name, search=text or None, limit=LINES)
        values = {"lines": lines, "most": LINES, "name": name, "text": text, "tail": _tail(name, text, wrote)}
        return await answer.html("functionlog.html", self._frame.common() | values)

    async def rollback(self, request: Request) -> Response:
        """Make the version that the form names what runs."""
        await self._versions.back(request.path_params["name"], (await asked.form(request)).get("to"), None)
        return again()

    async def end(self, request: Request) -> Response:
        """Promote the canary of the alias that the form names, or take it back."""
        form = await asked.form(request)
        promote = form.get("promote") == "true"
        await self._versions.ended(request.path_params["name"], form.get("alias"), promote=promote)
        return again()

    async def test(self, request: Request) -> Response:
        """Call it once and show what it answered; the caller waits."""
        name = request.path_params["name"]
        text = (await asked.form(request)).get("event", "") or "{}"
        payload = text.encode("utf-8", "replace")
        call = await attended(request.receive, lambda: self._hub.invoke(name, payload))
        outcome, body, fault = shape.outcome(call.outcome)
        # Without secrets before it is cut: of one that is cut in two a mask would not know the half.
        answer_text = self._hub.veil.text(render.begun(body))[: render.SHOWN]
        values = {
            "call": call,
            "outcome": outcome,
            "fault": fault,
            "usage": call.outcome.usage,
            "text": pretty(answer_text),
        }
        return await answer.html("tested.html", self._frame.common() | values)


def _tail(name: str, text: str, wrote: int) -> str:
    """Return where its log is read again, by a page that has seen all of *wrote* lines."""
    return f"/functions/{quote(name, safe='')}/logs?{urlencode({'q': text, 'seen': wrote})}"


def _settings(function: Any) -> list[tuple[str, str]]:
    """Return what bounds a function, in words."""
    retry = function.retry
    waits = f"{render.took(retry.initial)} to {render.took(retry.max)}"
    found = [
        (
            "Retries",
            f"{units.counted(retry.attempts, 'attempt')}, {retry.backoff}, {waits}",
        ),
        ("On success", ", ".join(map(str, function.on_success))),
        ("On failure", ", ".join(map(str, function.on_failure))),
        ("Environment", ", ".join(sorted(function.env))),
        ("Idempotency", function.idempotency.key if function.idempotency else ""),
        ("Rate", f"{function.rate.count} per {render.took(function.rate.per)}" if function.rate else ""),
    ]
    return [(name, text) for name, text in found if text]
