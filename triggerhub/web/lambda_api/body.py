"""Gather the body of a request: no more than its operation may have, with the archive in it read last and apart.

Who sent a request is known only when all of it is there, so nothing that anybody may send costs more than its bytes.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from starlette.types import Receive

from triggerhub.aws.restjson import ApiError, unreadable
from triggerhub.aws.service import Operation
from triggerhub.model import Json
from triggerhub.settings import KB, MB
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.invoking import ENTITY, SYNCHRONOUS, too_large
from triggerhub.web.limit import SMALL

CODE = 70_167_211
"""The most bytes of a request that may carry a zip archive in base64."""
PLAIN = 256 * KB
"""The most bytes of what is neither a payload nor an archive: it is parsed before it is known who sent it."""
CARRIES_CODE = frozenset(("CreateFunction", "UpdateFunctionCode", "PublishLayerVersion"))
LARGE = 1 * MB
"""What is above this is decoded in a thread."""
_KEY = b'"ZipFile"'
_OPENS = re.compile(rb'[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_LOOKED_AT = 8
"""How many places that say ZipFile are looked at."""
_SLICE = 1 * MB
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive in base64 that was taken out of a body, and what stands there in its place."""

    mark: bytes
    text: memoryview


def most(operation: Operation) -> int:
    """Return how many bytes an operation's body may have."""
    if operation.name in CARRIES_CODE:
        return CODE
    return SYNCHRONOUS if _is_call(operation) else PLAIN


def is_large(headers: Mapping[str, str]) -> bool:
    """Whether a body may be a large one, or is of a length that nobody says."""
    length = headers.get("content-length", "")
    return "transfer-encoding" in headers or len(length) > _DIGITS or (length.isdecimal() and int(length) > SMALL)


def _is_call(operation: Operation) -> bool:
    """Whether an operation's body is a payload, which is nobody's business but the handler's."""
    shape = service().shapes[operation.input] if operation.input is not None else {}
    payload = shape.get("payload")
    return payload is not None and service().shapes[shape["members"][payload]["shape"]]["type"] == "blob"


async def read(receive: Receive, most: int, operation: str) -> bytes:
    """Return a body of at most *most* bytes. Raises ApiError."""
    parts = [part async for part in _parts(receive, most, operation)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def digest(receive: Receive, most: int, operation: str) -> str:
    """Return the digest of such a body, of which nothing is kept. Raises ApiError."""
    found = hashlib.sha256()
    async for part in _parts(receive, most, operation):
        found.update(part)
    return found.hexdigest()


async def _parts(receive: Receive, most: int, operation: str) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _gone()
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large(most, operation)
        yield part
        more = message.get("more_body", False)


def _gone() -> ApiError:
    return ApiError("InvalidRequestContentException", "The client left before the request was there.")


def parted(operation: str, body: bytes) -> tuple[bytes, Archive | None]:
    """Return a body without the archive that makes it a large one, and that. Raises ApiError where the rest is large.

    A quote without a backslash before it begins or ends a string, so that what is found is a member, or no JSON.
    """
    if len(body) <= PLAIN or operation not in CARRIES_CODE:
        return body, None
    at = -1
    for _ in range(_LOOKED_AT):
        at = body.find(_KEY, at + 1)
        if at < 0:
            break
        opens = _OPENS.match(body, at + len(_KEY))
        if opens is None or body[at - 1 : at] == b"\\":
            continue
        start, end = opens.end(), body.find(b'"', opens.end())
        if len(body) - (end - start) <= PLAIN and end > 0:
            mark = secrets.token_bytes(24)
            rest = b"".join((body[:start], binascii.b2a_base64(mark, newline=False), body[end:]))
            return rest, Archive(mark, memoryview(body)[start:end])
    text = f"Request must be smaller than {PLAIN} bytes beside its ZipFile for the {operation} operation"
    raise ApiError(ENTITY, text)


async def put_back(given: Mapping[str, Json], archive: Archive) -> None:
    """Decode an archive into the place that it was taken from in what was read. Raises ApiError."""
    for place in (given, given.get("Code"), given.get("Content")):
        if isinstance(place, dict) and place.get("ZipFile") == archive.mark:
            if len(archive.text) <= LARGE:
                place["ZipFile"] = decoded(archive.text)
            else:
                place["ZipFile"] = await asyncio.to_thread(decoded, archive.text)
            return
    raise unreadable("ZipFile: it is said twice, or where none is known")


def decoded(text: memoryview) -> bytes:
    """Return what base64 *text* of a JSON string says, piece by piece, so that others have their turn between.

    Raises ApiError.
    """
    try:
        if _escaped(text):
            text = memoryview(json.loads(b"".join((b'"', text, b'"'))).encode("ascii"))
        parts = []
        for start in range(0, len(text), _SLICE):
            piece = bytes(text[start : start + _SLICE])
            if start + _SLICE < len(text) and piece.endswith(b"="):
                raise ValueError("Excess data after padding")
            parts.append(binascii.a2b_base64(piece, strict_mode=True))
        return b"".join(parts)
    except ValueError as error:
        raise unreadable(f"ZipFile: expected base64: {error}") from error


def _escaped(text: memoryview) -> bool:
    """Whether something in it is written as JSON may write it: some write +, / and = so."""
    return any(b"\\" in bytes(text[start : start + _SLICE]) for start in range(0, len(text), _SLICE))
