"""Read HTTP/1.1 requests off one connection's bytes, whole, within limits.

llhttp refuses what request smuggling is made of; what it lets pass and the hub does not is refused
here, as early as it shows: a body that is not wanted is never read.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

import httptools
import structlog

from triggerhub.policy.quiet import Quiet
from triggerhub.source import Request, Response, Route
from triggerhub.web import http, session
from triggerhub.web.limit import SMALL, Limits
from triggerhub.web.proxy import HOST, Proxies, neighbours
from triggerhub.web.routing import Table
from triggerhub.web.session import COOKIE

log = structlog.get_logger("ingress")

SLICE = 16 * 1024
"""How much is parsed at once: bounds how many requests one read can put into the queue."""
_NAMES: dict[bytes, str] = {}
"""Header names as they come to how they are kept; bounded, since clients choose them."""
_WATCHED = frozenset(("host", "content-length", "transfer-encoding", "expect"))
_AUTHORITY = re.compile("[/?]")
"""Behind it another part of a target begins."""
_CONTROL = frozenset(map(chr, (*range(32), 127)))

Item: TypeAlias = tuple[Request, Route, int, bool, bool] | tuple[Response, None, int, bool, bool]
"""What is answered next: a request and its route, or a refusal; bytes held; whether it is HEAD; whether HTTP/1.0."""


class Refused(Exception):
    """A request is answered without an endpoint; *close* where what is left of it will not be read."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str], close: bool = True) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers
        self.close = close


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the connections of one listener have in common."""

    table: Table
    proxies: Proxies
    limits: Limits
    secure: bool
    loop: asyncio.AbstractEventLoop
    buffered: int = 0
    """Bytes of bodies that are held."""
    by_peer: Counter[str] = field(default_factory=Counter)
    """Of them by the address, or the network of IPv6, that they came from, where that is bounded."""
    draining: bool = False
    refusals: Quiet = field(default_factory=Quiet)
    failures: Quiet = field(default_factory=Quiet)

    def refused(self, status: int, why: str, client: str) -> None:
        """Log a refusal, once a second and with a count: strangers must not fill the log."""
        if count := self.refusals.due(self.loop.time()):
            log.info("a request was refused", status=status, why=why, client=client, count=count)

    def failed(self, path: str, error: str) -> None:
        """Log that the hub itself could not take a request, as quietly: a full disk must not be filled further."""
        if count := self.failures.due(self.loop.time()):
            log.error("a request could not be taken", path=path, error=error, count=count)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, and where it came in."""

    address: str = ""
    trusted: bool = False
    local: str = "localhost"
    bounded: bool = False
    """Whether bodies from here may take only a part of what is held: not those of a proxy, or of this machine."""


class RequestParser:
    """Puts what is to be answered into :attr:`queue`, in order."""

    def __init__(self, shared: Shared, peer: Peer) -> None:
        self.queue: deque[Item] = deque()
        self.closing = False
        """Nothing more is read: once the queue is answered, the connection ends."""
        self.early = False
        """It ends although the client may still be sending."""
        self.expects = False
        """The client waits for ``100 Continue``."""
        self.in_head = True
        self.partial = 0
        """Bytes of a header that is not complete."""
        self.since = self.progress = shared.loop.time()
        """When this header, body or rest began; when the body last grew."""
        self._shared = shared
        self._limits = shared.limits
        self._peer = peer
        self._counted = neighbours(peer.address) if peer.bounded else ""
        self._parser: Any = httptools.HttpRequestParser(self)
        self._held = 0
        self._asked: tuple[bytes, list[str], str] | None = None
        """Target, hosts and version of the latest request that names a path."""
        self._settled = ("", "", "")
        """Host, path and query that they stand for."""
        self._offered: list[tuple[str, str]] | None = None
        """The header of a request that offers another protocol, while it is being read again without that."""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._head_size = 0
        self._refused = False
        self._body: bytes | bytearray = b""
        self._size = self._kept = self._fed = 0
        self._route: Route | None = None
        self._heeded = True
        self._params: Mapping[str, str] = {}
        self._method = self._version = ""

    def feed(self, data: bytes | memoryview) -> None:
        fed = len(data)
        if self.in_head:
            if self.partial == 0:
                self.since = self._shared.loop.time()
            self.partial += fed
        else:
            self._fed += fed
            self.progress = self._shared.loop.time()
        try:
            self._parse(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken here: the request is answered, what follows it is not read.
            self.closing = True
        except httptools.HttpParserCallbackError:
            log.exception("the ingress failed on a request", client=self._peer.address)
            self.refuse(500, "Internal Server Error")
        except httptools.HttpParserError as error:
            self.refuse(400, f"Malformed request: {error}")
        if self.closing:
            return
        if not self.in_head:
            self.partial = 0
            # Chunk headers and trailers are bytes that no body limit sees.
            if self._fed - self._size > self._limits.head + SLICE + 8 * self._size:
                self.refuse(400, "Malformed request: more framing than body")
        elif self.partial > self._limits.head + SLICE:
            self.refuse(431, "The request's header is too large")

    def _parse(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._offered is None:
                raise
            # Offered with a body, by Java's client for one. llhttp would skip the body: read it as if nothing
            # had been offered, and end the connection after it.
            method, version = self._parser.get_method(), self._parser.get_http_version().encode()
            dropped = (b"connection", b"upgrade")
            lines = [(name.encode(), value.encode("latin-1")) for name, value in self._offered]
            head = b"".join(b"%b: %b\r\n" % line for line in lines if line[0] not in dropped)
            self._parser = httptools.HttpRequestParser(self)
            first = b"%b %b HTTP/%b\r\n" % (method, self._url, version)
            self._parser.feed_data(b"%b%bconnection: close\r\n\r\n" % (first, head))
            self._parser.feed_data(data[upgrade.args[0] :])

    def on_message_begin(self) -> None:
        self._begin()
        if self.partial == 0:  # behind another request in the same piece
            self.partial = 1
            self.since = self._shared.loop.time()

    def on_url(self, part: bytes) -> None:
        self._url += part
        if len(self._url) > self._limits.line:
            self.refuse(414, "The request's target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head or self._refused:
            return  # a trailer, for one: nothing that was decided by the header may change
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._limits.head or len(self._headers) >= self._limits.fields:
            self.refuse(431, "The request's header is too large")
            return
        key, text = _NAMES.get(name) or _name(name), value.strip(b" \t").decode("latin-1")
        # A browser sends the cookies of a host to all its ports: a session of the console is no handler's business.
        if key == "cookie" and COOKIE in text and not (text := session.without(text)):
            return
        self._headers.append((key, text))

    def on_headers_complete(self) -> None:
        if self._offered is not None:
            self._headers, self._offered = self._offered, None
        elif not (self._refused or self.closing) and self._offers():
            self._offered = self._headers
            return
        self.in_head = False
        self.since = self.progress = self._shared.loop.time()
        if self._refused or self.closing:
            return
        try:
            self._judge()
        except Refused as refusal:
            self.refuse(refusal.status, refusal.text, *refusal.headers, close=refusal.close)

    def _offers(self) -> bool:
        """Whether another protocol is offered by a request that has a body."""
        return (
            self._parser.should_upgrade()
            and self._parser.get_method() != b"CONNECT"
            and any(
                name == "transfer-encoding" or (name == "content-length" and value.strip("0"))
                for name, value in self._headers
            )
        )

    def _judge(self) -> None:
        """Find the route; raise Refused for all that can be refused before the body."""
        self._method = self._parser.get_method().decode()
        self._version = self._parser.get_http_version()
        if self._version not in ("1.1", "1.0"):
            raise Refused(505, "The protocol here is HTTP/1.1")
        length, chunked, expect, hosts = 0, False, "", []
        for name, value in self._headers:
            if name in _WATCHED:
                if name == "host":
                    hosts.append(value)
                elif name == "content-length":
                    # Python reads 4,300 digits, llhttp any number of zeros.
                    length = int(value.lstrip("0") or 0)
                elif name == "expect":
                    expect = value.lower()
                elif chunked or value.lower() != "chunked" or self._version == "1.0":
                    raise Refused(501, "The only transfer encoding here is chunked, once, of HTTP/1.1")
                else:
                    chunked = True
        self._address(hosts)
        self._route = self._find(has_body=chunked or length > 0)
        self._heeded = self._route.heeds is None or self._route.heeds(self._raw_path)
        if length > self._route.body_limit:
            raise _too_large(self._route)
        if expect and (chunked or length):
            if expect != "100-continue":
                raise Refused(417, "The only expectation met here is 100-continue")
            self.expects = self._version == "1.1"

    def _address(self, hosts: list[str]) -> None:
        """Settle host, path and query; a client that asks for the same again is told the same."""
        if self._asked == (asked := (self._url, hosts, self._version)):
            self._host, self._raw_path, self._query = self._settled
            return
        if len(hosts) > 1 or (self._version == "1.1" and not hosts) or (hosts and not HOST.fullmatch(hosts[0])):
            raise Refused(400, "A request has one Host header, and it names a host")
        self._host = hosts[0] if hosts else self._peer.local
        url = self._url.decode("ascii")
        if not url.startswith("/"):
            scheme, _, rest = url.partition("://")
            authority = _AUTHORITY.split(rest, 1)[0]
            path = rest[len(authority) :]
            if scheme.lower() not in ("http", "https") or not HOST.fullmatch(authority):
                raise Refused(400, "The request's target is no path")
            self._host, url = authority, path if path.startswith("/") else f"/{path}"
        self._raw_path, _, self._query = url.partition("?")
        if "#" in url or ("%" in url and not _CONTROL.isdisjoint(unquote(self._raw_path))):
            raise Refused(400, "The request's target is no path")
        self._asked, self._settled = asked, (self._host, self._raw_path, self._query)

    def _find(self, *, has_body: bool) -> Route:
        found = self._shared.table.find(self._method, self._raw_path)
        self._params = found.params
        self._route = found.vacated
        if found.route is not None:
            return found.route
        if found.allow:
            allow = ", ".join(found.allow)
            raise Refused(405, f"This path takes {allow}", ("allow", allow), close=has_body)
        if found.vacated is not None:
            raise Refused(503, "This path is being set up again", ("retry-after", "1"), close=has_body)
        if found.awaited:
            raise Refused(503, "The hub is starting", ("retry-after", "1"), close=has_body)
        raise Refused(404, "Not Found", close=has_body)

    def on_body(self, part: bytes) -> None:
        if self._refused or self.closing:
            return
        assert self._route is not None, "a request without a route is refused"
        self.expects = False
        self._size += len(part)
        if self._size > self._route.body_limit:
            refusal = _too_large(self._route)
            self.refuse(refusal.status, refusal.text)
            return
        if not self._heeded:
            return
        self._kept += len(part)
        self._held += len(part)
        self._shared.buffered += len(part)
        if self._peer.bounded:
            self._shared.by_peer[self._counted] += len(part)
        if not self._body:
            self._body = part
        else:
            # Joined at once: of chunks of a byte each their objects would take many times what is counted.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part
        all_held = self._shared.buffered
        if (self._size > SMALL or all_held > self._limits.buffered) and self._limits.full(
            self._size, of_peer=self._shared.by_peer[self._counted], of_all=all_held
        ):
            self.refuse(503, "Too much is being received", ("retry-after", "1"))

    def on_message_complete(self) -> None:
        if self._offered is not None:
            return
        self.in_head = True
        self.partial = 0
        if self.closing:
            return
        self.closing = not self._parser.should_keep_alive()
        if self._refused:
            return
        assert self._route is not None, "a request without a route is refused"
        request = self._request()
        self._body = b""
        self.queue.append((request, self._route, self._kept, self._method == "HEAD", self._version == "1.0"))

    def _request(self) -> Request:
        client, host, scheme = self._peer.address, self._host, "https" if self._shared.secure else "http"
        if self._peer.trusted:
            client, scheme, host = self._shared.proxies.caller(self._headers, client=client, scheme=scheme, host=host)
        return Request(
            method=self._method,
            path=unquote(self._raw_path) if "%" in self._raw_path else self._raw_path,
            raw_path=self._raw_path,
            query=self._query,
            headers=self._headers,
            body=bytes(self._body),
            client=client,
            scheme=scheme,
            host=host,
            http_version=self._version,
            params=self._params,
            heeded=self._heeded,
        )

    def refuse(self, status: int, text: str, *headers: tuple[str, str], close: bool = True) -> None:
        """Answer instead of an endpoint; *close* where the rest of the request cannot be or is not worth reading."""
        if self.closing:
            return
        self._refused = True
        self._body = b""
        self.expects = False
        self.closing = self.early = close
        self._shared.refused(status, text, self._peer.address)
        response = http.message(status, text, *headers)
        if self._route is not None and not self.in_head:
            response = self._route.across(self._headers, response)
        self.queue.append((response, None, self._kept, self._method == "HEAD", self._version == "1.0"))

    def release(self, size: int | None = None) -> None:
        """Give back what *size* bytes of bodies held, or all."""
        size = self._held if size is None else min(size, self._held)
        self._held -= size
        self._shared.buffered -= size
        if self._peer.bounded:
            left = self._shared.by_peer[self._counted] - size
            if left > 0:
                self._shared.by_peer[self._counted] = left
            else:
                del self._shared.by_peer[self._counted]

    def end(self) -> None:
        """Let go of all that is held. llhttp's parser and this one refer to each other: nobody else would, for long."""
        self.queue.clear()
        self._body = b""
        self.release()
        self._parser = None


def _name(name: bytes) -> str:
    text = name.decode("ascii").lower()
    if len(_NAMES) < 1000 and len(name) <= 64:
        _NAMES[name] = text
    return text


def _too_large(route: Route) -> Refused:
    return Refused(413, f"The body may have {route.body_limit} bytes at most")
