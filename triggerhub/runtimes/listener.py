"""Serve HTTP/1.1 to one worker's processes, and to nobody else.

The way of a request is one read and one write. A browser that was led here, and another user of the
host, are refused: what they took would be an event lost to its handler.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools

from triggerhub.runtimes.bounds import Bounds
from triggerhub.settings import KB

MAX_HEAD = 64 * KB
"""The most bytes that the headers and trailers of one request may have."""
TURN = 32 * KB
"""Bytes of one connection that are read in one turn of the loop, which is everybody's; more where they cost little."""
PARTS = 32
"""Pieces of bodies after which they cost more than that: the parser calls for each."""
AHEAD = 8
"""Requests that may come at once: clients wait for an answer before they ask again."""
_PER_HEADER = 32
"""How many more each counts for: that is about what it costs beside its own bytes."""
_LONG = f"the headers have more than {MAX_HEAD} bytes"
_JSON = (("Content-Type", "application/json"),)
_OF_BROWSERS = ("origin", "sec-fetch-mode", "sec-fetch-site")
_OF_UPGRADES = ("connection", "upgrade", "http2-settings")
_MAPPED = "0000000000000000FFFF0000"
"""What an address of version 4 begins with as one of version 6, as the kernel prints it."""


class Request:
    """One request, whole."""

    __slots__ = ("body", "headers", "method", "oversize", "target", "trailers")

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.headers: dict[str, str] = {}
        """Names in lower case; of equal ones the last."""
        self.trailers: dict[str, str] = {}
        """What came after a chunked body."""
        self.body = bytearray()
        self.oversize = False
        """Whether the body was over the limit; what was is dropped."""


class Connection(asyncio.Protocol):
    """One connection: a request is answered before the next one is read."""

    def __init__(
        self,
        take: Callable[[Connection, Request], None],
        lost: Callable[[Connection], None],
        trusts: Callable[[asyncio.Transport], bool],
        bounds: Bounds,
        opens: Callable[[Connection, Request], Callable[[bytes], None] | None] | None = None,
    ) -> None:
        """*take* is given each request and answers it, then or later; *trusts* says whether a client may ask.

        *bounds* are what it shares with the worker's other connections. *opens* is given each request before its
        body, and may return what takes that as it comes.
        """
        self._bounds = bounds
        self._opens = opens
        self._part: Callable[[bytes], None] | None = None
        self._take = take
        self._lost = lost
        self._trusts = trusts
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._head = 0
        self._unfinished = 0
        """Bytes that came since the parser last found a whole part of a request in them."""
        self._most = 0
        """Bytes that the body may have."""
        self._in_body = False
        self._begun = False
        """Whether a request has begun to come, and not ended."""
        self._waiting = False
        """Whether a request was taken and is not answered yet."""
        self._held = False
        """Whether what is sent is left in the socket until somebody has room for it."""
        self._rest = b""
        """What came and is not read yet."""
        self._behind = False
        """Whether there is such, so that nothing more is taken meanwhile."""
        self._turn = 0
        """Requests that ended in this turn."""
        self._parts = 0
        """Pieces of bodies that were read in it."""
        self._choked = False
        """Whether the client leaves so much unread that nothing more is taken of it."""
        self._last = False
        """Whether the client takes no more than the answer to this request."""
        self._closing = False

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._trusts(self._transport) or not self._bounds.enter(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) == len(data):
            self._read()

    def _read(self) -> None:
        """Read a little of what came; the rest has its turn after whatever else the hub has to do."""
        self._turn = self._parts = at = 0
        while at < len(self._rest) and self._parts < PARTS and not self._closing:
            data = self._rest[at : at + TURN]
            at += TURN
            while data and not self._closing:
                data = self._feed(data)
        self._rest = self._rest[at:]
        behind = bool(self._rest) and not self._closing
        if behind:
            asyncio.get_running_loop().call_soon(self._read)
        if behind != self._behind:
            self._behind = behind
            self._flow()

    def _feed(self, data: bytes) -> bytes:
        """Read *data*; return what is to be read after it."""
        self._unfinished += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(str(cause if isinstance(cause, _Unfit) else error))
        else:
            if self._unfinished > MAX_HEAD and not self._closing:
                # The parser keeps a header until it has ended.
                self._refuse(_LONG)
        return b""

    def _go_on(self, rest: bytes) -> bytes:
        """Return what reads a request that would rather be of another protocol as one of this; *rest* follows its head.

        Java's client asks every server for HTTP/2, and is content with who has none.
        """
        request = self._request
        if request.method == "CONNECT":
            self._refuse("a tunnel is not offered")
            return b""
        kept = [f"{name}: {value}" for name, value in request.headers.items() if name not in _OF_UPGRADES]
        head = "\r\n".join([f"{request.method} {request.target} HTTP/1.1", *kept, "", ""])
        self._parser = httptools.HttpRequestParser(self)
        return head.encode("utf-8", "replace") + rest

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        # The parser and this hold one another: what was read, a header that had not ended too, would stay until they
        # are collected.
        del self._parser
        self._request, self._rest = Request(), b""
        self._part = None
        self._bounds.leave(self)
        self._lost(self)

    def pause_writing(self) -> None:
        self._choked = True
        self._flow()

    def resume_writing(self) -> None:
        self._choked = False
        self._flow()

    # httptools

    def on_message_begin(self) -> None:
        if self._waiting:
            raise _Unfit("a request came before the one in front of it was answered")
        self._request = Request()
        self._head = self._unfinished = 0
        self._in_body = False
        self._begun = True
        self._part = None

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unfinished = 0
        self._count(len(name) + len(value) + _PER_HEADER)
        headers = self._request.trailers if self._in_body else self._request.headers
        headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._unfinished = 0
        self._request.method = self._parser.get_method().decode()
        if self._parser.should_upgrade():
            return
        if any(name in self._request.headers for name in _OF_BROWSERS):
            raise _Unfit("the Runtime API is not for browsers")
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._opens is not None:
            self._part = self._opens(self, self._request)
        if self._part is None:
            self._most = self._bounds.most(self, self._request)

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        self._parts += 1
        if self._part is not None:
            self._part(body)
            return
        request = self._request
        if len(request.body) + len(body) > self._most:
            request.oversize = True
            request.body.clear()
        if not request.oversize:
            request.body += body

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        self._turn += 1
        if self._turn > AHEAD:
            raise _Unfit(f"more than {AHEAD} requests came at once")
        request, self._request = self._request, Request()
        self._begun, self._waiting = False, True
        # Known now: it is forgotten by the time that a later answer is written.
        self._last = not self._parser.should_keep_alive()
        self._bounds.read(self)
        self._take(self, request)

    # answers

    def answer(self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = _JSON) -> None:
        """Answer the request that was taken; nothing happens where its sender is gone."""
        self._waiting = False
        if self._closing:
            return
        self._bounds.used(self)
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
        if self._last:
            head.append("Connection: close")
        head.append(f"Content-Length: {len(body)}\r\n\r\n")
        self._transport.write("\r\n".join(head).encode() + body)
        if self._last:
            self.close()

    @property
    def idle(self) -> bool:
        """Whether no request is on its way by it, and none waits for its answer."""
        return not self._begun and not self._waiting

    @property
    def behind(self) -> bool:
        """Whether something came that is not read yet."""
        return self._behind

    @property
    def unread(self) -> bool:
        """Whether some of what was answered is not taken yet."""
        return not self._closing and self._transport.get_write_buffer_size() > 0

    def pause(self) -> None:
        """Leave in the socket what the client sends, so that it waits."""
        self._held = True
        self._flow()

    def resume(self) -> None:
        """Go on reading."""
        self._held = False
        self._flow()

    def _flow(self) -> None:
        if self._closing:
            return
        if self._held or self._choked or self._behind:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once, so that the client's next write fails."""
        self._closing = True
        self._transport.abort()

    def close(self) -> None:
        """Close once what was written has gone."""
        self._closing = True
        self._transport.close()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise _Unfit(_LONG)

    def _refuse(self, why: str) -> None:
        body = f"{why}\n".encode("utf-8", "replace")
        head = (
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {len(body)}"
        )
        self._transport.write(f"{head}\r\n\r\n".encode() + body)
        self.close()


class _Unfit(Exception):
    """A request that is not answered by the API."""


def listen() -> socket.socket:
    """Return a socket that listens on a free port of the loopback interface. Raises OSError."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def same_user(transport: asyncio.Transport) -> bool:
    """Whether a client on the loopback interface is a process of this process's own user."""
    return _is_of(transport, os.geteuid())


def of_user(uid: int | None) -> Callable[[asyncio.Transport], bool]:
    """Return what tells whether a client is a process of the user *uid*; None is this one's own."""
    wanted = os.geteuid() if uid is None else uid
    return lambda transport: _is_of(transport, wanted)


def _is_of(transport: asyncio.Transport, uid: int) -> bool:
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    # Programs like Java reach an address of version 4 by a socket of version 6, which has a table of its own.
    return any(owner(_table(name), peer, own) == uid for name in ("tcp", "tcp6"))


def _table(name: str) -> str:
    try:
        return Path("/proc/net", name).read_text()
    except OSError:
        return ""


def owner(table: str, client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user whose socket is *client*'s end of a connection, by the kernel's table of them; pure."""
    local, remote = _hex(client), _hex(server)
    for row in table.splitlines()[1:]:
        fields = row.split(None, 8)
        if len(fields) > 8 and (fields[1].removeprefix(_MAPPED), fields[2].removeprefix(_MAPPED)) == (local, remote):
            return int(fields[7])
    return None


def _hex(address: tuple[str, int]) -> str:
    # The kernel prints the four bytes as one number of the machine's own order.
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
