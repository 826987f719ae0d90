"""Refuse requests that a browser was tricked into: the Host check and the Origin check of the admin listener.

Where nobody has to sign in, only this machine reaches the admin address. A web page can make a
browser on this machine reach it, too: under a name of its own that it points to 127.0.0.1, which the
Host check sees, or by sending a form or fetching something across origins, which the Origin check sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from triggerhub.web import refusal

EVERYWHERE = ("0.0.0.0", "::")


class Guard:
    """ASGI middleware. *host* is the address listened on; None is the unix socket, where any Host will do.

    *names* returns by which names it is called besides.
    """

    def __init__(self, app: ASGIApp, host: str | None, names: Callable[[], Collection[str]] = tuple) -> None:
        self._app = app
        self._host = host
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        site = next((value for name, value in headers if name == b"sec-fetch-site"), None)
        foreign = any(not _same(origin, hosts) for origin in origins) or (
            not origins and site in ("cross-site", "same-site")
        )
        if self._host is not None and (len(hosts) != 1 or not self.is_ours(hosts[0])):
            why = f"the Host header {', '.join(hosts) or '(none)'} is not this hub's"
            hint = "Use http://127.0.0.1, the address of [hub] admin, or a name of [console] hosts."
            response = refusal.response(421, "bad-host", why, hint)
        elif foreign and scope["method"] not in ("GET", "HEAD"):
            why = f"a page of {', '.join(origins) or 'another site'} may not change anything here"
            response = refusal.response(403, "bad-origin", why)
        elif foreign and not _visits(headers):
            # A link to a page may stand anywhere. What is taken without showing it would hold streams, or be measured.
            why = f"a page of {', '.join(origins) or 'another site'} may not read anything here"
            response = refusal.response(403, "bad-origin", why)
        else:
            return await self._app(scope, receive, send)
        return await response(scope, receive, send)

    def is_ours(self, host: str) -> bool:
        """Whether a request's one Host header names this hub."""
        return self._host is None or _ours(host, self._host, self._names())


@lru_cache(maxsize=64)
def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _ours(host: str, listening: str, names: Collection[str]) -> bool:
    name = _name(host)
    if name in ("localhost", listening.lower()) or name in names:
        return True
    # Whoever listens everywhere is called by any address; an address, unlike a name, cannot be pointed elsewhere.
    address = _address(name)
    return address is not None and (address.is_loopback or listening in EVERYWHERE)


@lru_cache(maxsize=64)
def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _visits(headers: list[tuple[bytes, str]]) -> bool:
    """Whether somebody goes to a page, in a tab of his browser."""
    return (b"sec-fetch-mode", "navigate") in headers and (b"sec-fetch-dest", "document") in headers


def _same(origin: str, hosts: list[str]) -> bool:
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and [rest.lower()] == [host.lower() for host in hosts]
