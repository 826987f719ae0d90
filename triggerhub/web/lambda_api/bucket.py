"""Fetch code from S3, with the hub's own credentials and from the endpoint that its environment names."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from triggerhub.aws.restjson import ApiError
from triggerhub.awsclient import Options, connected
from triggerhub.awsfault import AwsFault, understood
from triggerhub.settings import MB, SECOND

WAIT = 60.0
"""Seconds for all of an archive."""
_PIECE = 1 * MB


class Incoming:
    """An object of which the head is there."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.length: int | None = answer.get("ContentLength")
        """How many bytes it says to have."""
        self._body = answer["Body"]

    async def read(self) -> list[bytes]:
        """Return what comes next, a megabyte or so; nothing at its end. Raises ApiError."""
        parts: list[bytes] = []
        size = 0
        try:
            # A read gives what has come by then, not all that was asked for.
            while size < _PIECE and (part := await self._body.read(_PIECE - size)):
                parts.append(part)
                size += len(part)
        except Exception as error:
            raise failed(understood(error, "s3", "get_object"), error) from error
        return parts


@asynccontextmanager
async def opened(bucket: str, key: str, version: str | None) -> AsyncGenerator[Incoming]:
    """Ask for an object. Raises ApiError.

    ``AWS_ENDPOINT_URL_S3``, region and credentials are found as AWS's own tools find them.
    """
    asked = {"Bucket": bucket, "Key": key, **({} if version is None else {"VersionId": version})}
    async with connected("s3", Options(), wait=20 * SECOND, connections=1) as connection:
        try:
            answer = await connection.call("get_object", **asked)
        except AwsFault as fault:
            raise failed(fault, fault.__cause__) from fault
        yield Incoming(answer)


def late() -> ApiError:
    """Return the answer where all of it did not come in :data:`WAIT`."""
    return failed(AwsFault("unreachable", f"no answer within {WAIT:.0f} seconds", code="RequestTimeout"))


def failed(fault: AwsFault, cause: BaseException | None = None) -> ApiError:
    """Return the answer to a fault in S3's words; *cause* is what came of it.

    What passes by itself is the hub's, which clients try again; all else is the caller's.
    """
    told: dict[str, Any] = getattr(cause, "response", {}).get("Error", {})
    code = told.get("Code") or fault.code or ("RequestFailed" if cause is None else type(cause).__name__)
    text = f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {told.get('Message') or fault}"
    passing = fault.kind in ("throttled", "unreachable")
    return ApiError("ServiceException" if passing else "InvalidParameterValueException", text)
