"""Serve the console's few files: compressed once, named by their content, kept by browsers for a year."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from triggerhub.errors import NotFound

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes as they are and compressed."""

    kind: str
    plain: bytes
    packed: bytes
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """Return the files by name; read and compressed at the first call."""
    found = {}
    for file in (resources.files(__package__) / "static").iterdir():
        suffix = file.name[file.name.rindex(".") :]
        if suffix in TYPES:
            plain = file.read_bytes()
            digest = hashlib.sha256(plain).hexdigest()[:12]
            found[file.name] = Asset(TYPES[suffix], plain, gzip.compress(plain, 9, mtime=0), digest)
    return found


def address(name: str) -> str:
    """Return where a page finds the file *name*."""
    return f"/static/{name}?v={assets()[name].digest}"


async def serve(request: Request) -> Response:
    """Answer with one file. NotFound."""
    name = request.path_params["name"]
    asset = assets().get(name)
    if asset is None:
        raise NotFound(f"the console has no file {name!r}")
    packed = "gzip" in request.headers.get("accept-encoding", "")
    known = request.query_params.get("v") == asset.digest
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if known else "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.packed if packed else asset.plain, headers=headers, media_type=asset.kind)
