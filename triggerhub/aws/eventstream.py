"""Write messages of ``application/vnd.amazon.eventstream``: a length, headers, a payload, and checksums of both."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
"""The type of a header whose value is a text, the only one that is written here."""


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message."""
    fields = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(fields) + len(payload), len(fields))
    message = b"%b%b%b%b" % (prelude, struct.pack(">I", crc32(prelude)), fields, payload)
    return message + struct.pack(">I", crc32(message))


def event(kind: str, payload: bytes, content_type: str) -> bytes:
    """Return the message of one event of a stream."""
    return encode({":message-type": "event", ":event-type": kind, ":content-type": content_type}, payload)


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return b"%c%b%c%b%b" % (len(name), name.encode(), _STRING, struct.pack(">H", len(text)), text)
