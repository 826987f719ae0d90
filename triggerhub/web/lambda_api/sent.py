"""Hold a request of the Lambda API as it came, and read a plain call of a function off its head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

from starlette.types import Scope

INVOKE = "/2015-03-31/functions/", "/invocations"
"""What stands before and behind a function's name in the path of a call."""
_KINDS = frozenset(("RequestResponse", "Event", "DryRun"))
_TAILS = frozenset(("None", "Tail"))
_QUALIFIER = re.compile(r"[A-Za-z0-9$_-]{1,128}")
_UNUSUAL = frozenset(("x-amz-tenant-id", "x-amz-durable-execution-name"))


@dataclass(slots=True, kw_only=True)
class Sent:
    """All of a request but its body, which may still be on its way."""

    method: str
    raw_path: str
    """As it came, without the query."""
    query: str
    headers: Mapping[str, str]
    """By names in lower case; several of one name are joined by commas."""
    client: str | None
    """The address that it came from; None where it came by the hub's own socket."""
    secure: bool
    trusted: bool
    """Whether it came by the hub's own socket, which is its user's."""
    from_afar: bool
    """Whether it came from another machine."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A call of a function that can be understood without the service's description."""

    name: str
    qualifier: str | None
    kind: str
    log: str
    context: str | None


def of(scope: Scope) -> Sent:
    """Return the request of an ASGI scope."""
    client = scope.get("client")
    return Sent(
        method=scope["method"],
        raw_path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=joined(scope["headers"]),
        client=client[0] if client else None,
        secure=scope.get("scheme") == "https",
        trusted=bool(scope.get("trusted")),
        from_afar=bool(scope.get("from_afar")),
    )


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names, which are in lower case already."""
    found: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def call(sent: Sent) -> Call | None:
    """Return the call that a request is; None where it is something else, or one that takes a closer look."""
    path, headers = sent.raw_path, sent.headers
    if sent.method != "POST" or not (path.startswith(INVOKE[0]) and path.endswith(INVOKE[1])):
        return None
    name = path[len(INVOKE[0]) : -len(INVOKE[1])]
    kind, log = headers.get("x-amz-invocation-type", "RequestResponse"), headers.get("x-amz-log-type", "None")
    if "/" in name or kind not in _KINDS or log not in _TAILS or not _UNUSUAL.isdisjoint(headers):
        return None
    chosen = None
    if sent.query:
        query = parse_qs(sent.query, keep_blank_values=True)
        chosen = query["Qualifier"][-1] if query.keys() == {"Qualifier"} else ""
        if not _QUALIFIER.fullmatch(chosen):
            return None
    return Call(
        name=unquote(name) if "%" in name else name,
        qualifier=chosen,
        kind=kind,
        log=log,
        context=headers.get("x-amz-client-context"),
    )
