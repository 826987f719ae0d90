"""Tell browsers which other sites may call a webhook.

The rules are those of function URLs and HTTP APIs: preflights are answered without the function, and
what is configured replaces what the function says of CORS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]
_PREFIX = "access-control-"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^\sA-Z*/?#@\[\]:]+)(:\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which pages may call. ``"*"`` stands for every origin or header."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: int = 0
    """In seconds; 0 leaves it to the browser."""
    credentials: bool = False


def unmatched(origins: Iterable[str]) -> str | None:
    """Return the first of *origins* that is none and no ``*``: browsers send no such, and it would be for nobody."""
    return next((one for one in origins if one not in ("*", "null") and not _ORIGIN.fullmatch(one)), None)


def is_preflight(method: str, headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a browser asks before it calls, after the Fetch standard."""
    names = {name for name, _ in headers}
    return method == "OPTIONS" and "origin" in names and "access-control-request-method" in names


def preflight(cors: Cors, origin: str) -> Headers:
    """Return the headers that answer a preflight; without an allow-origin the browser gives up."""
    allowed = _allow(cors, origin)
    if not allowed:
        return _vary(cors)
    headers = [*allowed, (f"{_PREFIX}allow-methods", ", ".join(cors.methods))]
    if cors.headers:
        headers.append((f"{_PREFIX}allow-headers", ", ".join(cors.headers)))
    if cors.max_age:
        headers.append((f"{_PREFIX}max-age", str(cors.max_age)))
    return (*headers, *_vary(cors))


def apply(cors: Cors, origin: str | None, headers: Sequence[tuple[str, str]]) -> Headers:
    """Return *headers* of an answer with its own CORS headers replaced by the configured ones."""
    kept = tuple((name, value) for name, value in headers if not name.lower().startswith(_PREFIX))
    allowed = _allow(cors, origin) if origin is not None else ()
    if allowed and cors.expose:
        allowed = (*allowed, (f"{_PREFIX}expose-headers", ", ".join(cors.expose)))
    return (*kept, *allowed, *_vary(cors))


def _allow(cors: Cors, origin: str) -> Headers:
    if _any(cors):
        return ((f"{_PREFIX}allow-origin", "*"),)
    if origin not in cors.origins and "*" not in cors.origins:
        return ()
    allowed = ((f"{_PREFIX}allow-origin", origin),)
    return (*allowed, (f"{_PREFIX}allow-credentials", "true")) if cors.credentials else allowed


def _vary(cors: Cors) -> Headers:
    """Keep caches from giving one origin's answer to another."""
    return () if _any(cors) else (("vary", "origin"),)


def _any(cors: Cors) -> bool:
    """Whether all are told the same. With credentials browsers take no ``*``: each origin is told itself, as at AWS."""
    return "*" in cors.origins and not cors.credentials
