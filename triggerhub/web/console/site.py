"""Put the console together: the routes under ``/``, and pages for what goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from triggerhub.errors import NotFound, TriggerhubError
from triggerhub.hub.hub import Hub
from triggerhub.web import refusal
from triggerhub.web.access import remark
from triggerhub.web.console import answer, asset, render
from triggerhub.web.console.alarms import Alarms
from triggerhub.web.console.deliveries import Deliveries
from triggerhub.web.console.entrance import Entrance
from triggerhub.web.console.frame import Frame
from triggerhub.web.console.functions import Functions
from triggerhub.web.console.letters import Letters
from triggerhub.web.console.live import Live, Readings
from triggerhub.web.console.overview import Overview
from triggerhub.web.console.settings import Settings
from triggerhub.web.console.triggers import Triggers
from triggerhub.web.session import Sessions
from triggerhub.web.versions import Versions

Page = Callable[[Request], Awaitable[Response]]


class Console:
    """The pages of one hub; event streams end once *closing* is set, and *held* counts them."""

    def __init__(
        self, hub: Hub, closing: anyio.Event, sessions: Sessions, versions: Versions, held: Sequence[Middleware]
    ) -> None:
        self._versions = versions
        self._held = held
        self._sessions = sessions
        self._readings = Readings(hub)
        self._closing = closing
        self._hub = hub
        self._frame = Frame(hub, self._readings)

    def routes(self) -> list[BaseRoute]:
        """Return the routes, whose templates are read now."""
        render.sources()
        overview = Overview(self._hub, self._frame, self._versions.canaries)
        deliveries = Deliveries(self._hub, self._frame)
        letters = Letters(self._hub, self._frame)
        found: list[tuple[str, Page, str]] = [
            ("/", overview.page, "GET"),
            ("/overview/attention", overview.attention, "GET"),
            ("/overview/cards", overview.cards, "GET"),
            ("/overview/series", overview.series, "GET"),
            *deliveries.routes(),
            *Functions(self._hub, self._frame, self._versions).routes(),
            *Triggers(self._hub, self._frame).routes(),
            *letters.routes(),
            *Alarms(self._hub, self._frame).routes(),
            *Settings(self._hub, self._frame).routes(),
            *Entrance(self._hub, self._sessions).routes(),
        ]
        return [
            Route("/static/{name}", asset.serve),
            Route("/live", Live(self._readings, self._closing), middleware=self._held),
            *(Route(path, self._shown(page), methods=[method]) for path, page, method in found),
        ]

    async def nowhere(self, request: Request) -> Response:
        """Say on a page that there is none; an address with a slash at its end leads to that without."""
        path = request.url.path
        if path.endswith("/") and not path.startswith("//"):
            return RedirectResponse(path.rstrip("/"), 307)

        async def none(_: Request) -> Response:
            raise NotFound(f"there is nothing at {path}")

        return await self._shown(none)(request)

    def _shown(self, page: Page) -> Page:
        """Return *page* with a page instead of JSON for what it refuses."""

        async def shown(request: Request) -> Response:
            try:
                return await page(request)
            except TriggerhubError as error:
                status = refusal.of(error).status_code
                if request.headers.get("hx-request"):
                    text = f"{error.message}. {error.hint}" if error.hint else error.message
                    remark(request.scope, status=status)
                    # Browsers write every answer from 400 on into their console as an error of the page. What the hub
                    # refuses is none: it is said on the page, and its code is in the log of changes.
                    told = status if status >= 500 else 200
                    response = await answer.html("nothing.html", {}, status=told, tell=text)
                    response.headers["HX-Reswap"] = "none"
                    return response
                return await self.refused(request, error)

        return shown

    async def refused(self, request: Request, error: TriggerhubError) -> Response:
        """Say on a page what is refused, or is not there."""
        around = await self._frame.around("overview", request)
        around |= {"title": "Not done", "here": "", "error": error}
        return await answer.html("error.html", around, status=refusal.of(error).status_code)
