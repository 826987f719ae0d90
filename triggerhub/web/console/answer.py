"""Answer with a page or a piece of one, under a policy that lets a browser load nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from typing import Any

import anyio
from starlette.responses import Response

from triggerhub.model import Json
from triggerhub.web import shape
from triggerhub.web.console import render

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # None at all would make the origin of a form null.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "HX-Request",
}


async def html(name: str, values: Mapping[str, Any], *, status: int = 200, tell: str | None = None) -> Response:
    """Return the page of a template; *tell* is a sentence that the script shows for a moment."""
    if not render.ready(name):
        # The first page takes the engine in and compiles, for which no event shall wait.
        await anyio.to_thread.run_sync(render.prepare, name)
    response = Response(render.page(name, values), status, HEADERS, "text/html; charset=utf-8")
    if tell is not None:
        response.headers["HX-Trigger"] = _header({"tell": tell})
    return response


def json(value: Json) -> Response:
    """Return what a page's script asks for."""
    return Response(shape.dump(value), headers=HEADERS, media_type="application/json")


def nothing() -> Response:
    """Return that nothing has changed: the page keeps what it shows."""
    return Response(status_code=204, headers=HEADERS)


def file(body: bytes, name: str, kind: str = "application/octet-stream") -> Response:
    """Return something to keep, never to be shown in place."""
    disposition = f'attachment; filename="{name}"'
    return Response(body, headers={**HEADERS, "Content-Disposition": disposition}, media_type=kind)


def _header(value: Json) -> str:
    """Write JSON as a header may carry it."""
    return dumps(value, ensure_ascii=True)
