"""Read and write the frames that the hub and a warm worker exchange.

A frame is twelve bytes (``TH``, kind, a zero, the length of the header, the length of the payload,
big-endian), a JSON object of strings, and the payload's bytes as they are. The reader believes
nothing: what is not exactly so raises :class:`Malformed`, and the worker that sent it is killed.
Pure: bytes in, frames out.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from enum import IntEnum
from json.encoder import encode_basestring_ascii as _quote
from typing import NamedTuple

from triggerhub.aws.errors import MAX_RESPONSE
from triggerhub.model import Json

HEAD = struct.Struct(">2sBBII")
MAX_HEADER = 64 * 1024
_MAGIC = b"TH"
_LONE = re.compile(rb'\{"id": ?"([0-9A-Za-z-]*)"\}')
"""The header of nearly every answer, read without a parser."""


class Kind(IntEnum):
    """What a frame is; the bootstraps know the same numbers."""

    INVOKE = 1
    """To the worker: run the handler on the payload. Header: id, arn, attempt, deadline, remaining, trace, client."""
    READY = 2
    """From the worker: the user's code is loaded."""
    UNLOADABLE = 3
    """From the worker: it is not. Header: type, message; the payload is the error object."""
    RESULT = 4
    """From the worker: the handler's answer. Header: id, and memory, in bytes, from one that forks."""
    ERROR = 5
    """From the worker: the handler failed. Header: id, type, message, and last if the worker ends by it; memory."""
    EXITED = 6
    """From a worker that forks: the fork ended without an answer. Header: id, memory, status (negative: the signal)."""

    PART = 7
    """From the worker: a part of an answer that its handler streams. Header: id, and type in the first."""
    LEFT = 8
    """To the worker: nobody takes the streamed answer any more. Header: id."""


_KINDS = (Kind.INVOKE, *Kind)
"""By number, which is quicker than asking the enumeration; nothing is number zero."""


class Frame(NamedTuple):
    kind: Kind
    header: Mapping[str, str]
    payload: bytes


class Malformed(ValueError):
    """What arrived is no frame; says what was wrong with it."""


def encode(kind: Kind, header: Mapping[str, str], payload: bytes = b"") -> bytes:
    """Return the frame's bytes."""
    # Strings only: put together by hand it takes a third of the time.
    text = f"{{{','.join([f'{_quote(name)}:{_quote(value)}' for name, value in header.items()])}}}".encode()
    return b"".join((HEAD.pack(_MAGIC, kind, 0, len(text), len(payload)), text, payload))


class Decoder:
    """Takes bytes as they arrive and gives frames; holds no more than one frame's limit."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_RESPONSE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete with *data*. Raises Malformed."""
        buffer = self._buffer
        # Nearly every answer is there whole at once, and need not be gathered.
        come: bytes | bytearray = data
        if buffer:
            buffer += data
            come = buffer
        frames: list[Frame] = []
        start = 0
        while len(come) - start >= HEAD.size:
            magic, kind, zero, header, payload = HEAD.unpack_from(come, start)
            if magic != _MAGIC or zero or not 0 < kind < len(_KINDS):
                raise Malformed(f"expected the head of a frame, got {bytes(come[start : start + HEAD.size])!r}")
            if header > MAX_HEADER or payload > self._limit:
                raise Malformed(f"a frame announces {header} + {payload} bytes, over {MAX_HEADER} + {self._limit}")
            body = start + HEAD.size + header
            end = body + payload
            if len(come) < end:
                break
            frames.append(Frame(_KINDS[kind], _header(bytes(come[start + HEAD.size : body])), bytes(come[body:end])))
            start = end
        if come is buffer:
            del buffer[:start]
        else:
            buffer += data[start:]
        return frames


def _header(text: bytes) -> Mapping[str, str]:
    if (lone := _LONE.fullmatch(text)) is not None:
        return {"id": lone[1].decode()}
    try:
        value = _load(text.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a frame's header is not JSON: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Malformed(f"expected a frame's header to be an object of strings, got {text[:80]!r}")
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


# Made once: the function of the module would make it anew for every frame.
_load = json.JSONDecoder(object_pairs_hook=_unique).decode
