"""Read the head of a request to a forwarding proxy, and write what is sent on and answered.

CONNECT opens a tunnel; any other method names its target by an absolute URI, whose request is written
anew for the server itself. Rules: RFC 9110 sections 7.6 and 9.3.6, RFC 9112 section 3.2. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

LONGEST = 16 * 1024
"""Bytes of a request's head."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#]+)):([0-9]{1,5})")
_OURS = frozenset({b"host", b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade"})
"""Fields between the client and this proxy alone, and Host, which is written anew."""


class BadRequest(ValueError):
    """What arrived is no request to a proxy; says what was wrong with it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a client wants to go."""

    host: str
    port: int
    head: bytes | None
    """What the server is sent first; None for a tunnel."""


def read(head: bytes) -> Asked:
    """Return what *head* (up to and with its empty line) asks for. Raises BadRequest."""
    request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = request.split(b" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not _TARGET.fullmatch(words[1]):
        raise BadRequest("expected a request line: METHOD TARGET HTTP/1.1")
    method, target, version = words
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest("expected HTTP/1.1")
    fields = [_field(line) for line in lines]
    if method == b"CONNECT":
        host, port = _authority(target.decode("ascii"))
        return Asked(host, port, None)
    return _forward(method, target.decode("ascii"), version, fields)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest(f"expected a header field, got {line[:80]!r}")
    return name, value


def _authority(text: str) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise BadRequest(f"expected HOST:PORT, got {text[:80]!r}")
    return match[1] or match[2], int(match[3])


def _forward(method: bytes, target: str, version: bytes, fields: list[tuple[bytes, bytes]]) -> Asked:
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"{target[:80]!r} is no address: {error}") from None
    if parts.scheme != "http" or not parts.hostname or port == 0:
        raise BadRequest(f"expected CONNECT HOST:PORT or an address that begins with http://, got {target[:80]!r}")
    if parts.username is not None:
        raise BadRequest("expected an address without a user")
    # A field that Connection names is for this hop alone, as Connection is.
    hop = _OURS | {
        word.strip().lower() for name, value in fields if name.lower() == b"connection" for word in value.split(b",")
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if method == b"OPTIONS" and not parts.path and not parts.query:
        path = "*"
    written = [b"%s %s %s" % (method, path.encode(), version), b"Host: " + parts.netloc.encode()]
    written += [
        name + b": " + value
        for name, value in fields
        if name.lower() not in hop and not name.lower().startswith(b"proxy-")
    ]
    # One request per connection: a second one might be for another host.
    written.append(b"Connection: close")
    return Asked(parts.hostname, port or 80, b"\r\n".join(written) + b"\r\n\r\n")


def answer(status: int, reason: str) -> bytes:
    """Return a whole answer whose reason says why, for many clients show nothing else of a refused tunnel."""
    line = re.sub(r"[^ -~]", "?", reason)
    body = line.encode() + b"\n"
    return (
        f"HTTP/1.1 {status} {line}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
