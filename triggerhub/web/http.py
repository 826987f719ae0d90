"""Write HTTP/1.1 answers as bytes.

One answer is one ``bytes``: head and body leave in the same segment, and nothing of it is an object
that the hot path must build anew.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from triggerhub.errors import BacklogFull, BadInput, Conflict, NotFound, StoreBroken, StoreFull, TriggerhubError
from triggerhub.source import Response

LAST = b"0\r\n\r\n"
"""What ends a body that came in parts."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = ("content-type", "application/json")

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset(
    ("connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that say how the message is framed; an endpoint's own are left out."""
_BODILESS = frozenset((204, 304))
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ndate: ".encode() for status in HTTPStatus}


class BadHeader(ValueError):
    """An endpoint answered with a header that HTTP cannot carry."""


class _Date:
    """The Date header's value, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode()
        return self._text


_date = _Date()


def encode(response: Response, *, head: bool, close: bool, keep: bool = False, own: bytes = b"") -> bytes:
    """Return the whole answer. *head* leaves the body out; *keep* tells an HTTP/1.0 client to keep the connection.

    *own* are lines of the header that the hub itself wrote, other ones for every answer.

    Raises BadHeader for a status or a header that cannot be sent: one with a line break is never written.
    """
    status = response.status
    if not 200 <= status <= 999:
        raise BadHeader(f"expected a status from 200 to 999, got {status}")
    first = _STATUS.get(status) or f"HTTP/1.1 {status} \r\ndate: ".encode()
    headers = response.headers
    fields = own + (_fields(headers) if type(headers) is tuple else _encode_fields(headers))
    ending = b"connection: close\r\n\r\n" if close else b"connection: keep-alive\r\n\r\n" if keep else b"\r\n"
    body = response.body
    if status in _BODILESS:
        return b"%b%b\r\n%b%b" % (first, _date(), fields, ending)
    return b"%b%b\r\ncontent-length: %d\r\n%b%b%b" % (
        first, _date(), len(body), fields, ending, b"" if head else body,
    )  # fmt: skip


def begin(response: Response, *, close: bool, chunked: bool) -> bytes:
    """Return the head of an answer whose length is not known, with what is known of its body. Raises BadHeader.

    Without *chunked* it ends with the connection, as HTTP/1.0 has it.
    """
    status = response.status
    if not 200 <= status <= 999:
        raise BadHeader(f"expected a status from 200 to 999, got {status}")
    first = _STATUS.get(status) or f"HTTP/1.1 {status} \r\ndate: ".encode()
    fields = _encode_fields(response.headers)
    framed = b"transfer-encoding: chunked\r\n" if chunked else b""
    ending = b"connection: close\r\n\r\n" if close else b"\r\n"
    body = (chunk(response.body) if chunked else response.body) if response.body else b""
    return b"%b%b\r\n%b%b%b%b" % (first, _date(), framed, fields, ending, body)


def chunk(data: bytes) -> bytes:
    """Return a part of a body whose length is not known."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bodiless(status: int) -> bool:
    """Whether an answer of this status has no body."""
    return status in _BODILESS


def _encode_fields(headers: Sequence[tuple[str, str]]) -> bytes:
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadHeader(f"expected a header that fits on one line, got {name[:100]!r}: {value[:100]!r}")
        if name.lower() not in _OURS:
            lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


_fields = lru_cache(maxsize=256)(_encode_fields)


def message(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """Return an answer of the ingress itself: ``{"message": …}``."""
    return Response(status=status, body=json.dumps({"message": text}).encode(), headers=(JSON, *headers))


def of_error(error: TriggerhubError) -> Response:
    """Return what a client may know of an error that an endpoint raised."""
    match error:
        case BacklogFull():
            return message(429, "Too many events are waiting", ("retry-after", str(error.retry_after)))
        case StoreFull():
            return message(507, "The disk has no room for another event")
        case StoreBroken():
            return message(503, "The store is out of order", ("retry-after", "30"))
        case BadInput():
            return message(400, error.message)
        case NotFound():
            return message(404, error.message)
        case Conflict():
            return message(409, error.message)
        case _:
            return message(500, "Internal Server Error")
