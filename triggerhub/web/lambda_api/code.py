"""Take the archive that a request carries or names, and keep it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from triggerhub.archive import UNZIPPED, BadArchive
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.draft import Draft
from triggerhub.deploy.registry import Registry
from triggerhub.deploy.shelf import StorageExceeded
from triggerhub.model import Json
from triggerhub.web.lambda_api import bucket, members
from triggerhub.web.lambda_api.account import ZIPPED

MISSING = "Please provide a source for function code."
BOTH = "Please do not provide other FunctionCode parameters when providing a ZipFile."
FETCHED = 2
"""How many archives come from S3 at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An archive that may be unpacked."""

    code: bytes | Draft
    size: int
    unpacked: int
    """How many bytes it unpacks to."""

    async def name(self) -> str:
        """Return what it is called by its content."""
        if isinstance(self.code, Draft):
            return self.code.name
        return (await anyio.to_thread.run_sync(hashlib.sha256, self.code)).hexdigest()


class Codes:
    """Takes archives: those from S3 by way of the disk, a few at a time, since a small request names a large one."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._turns = anyio.Semaphore(FETCHED)

    @asynccontextmanager
    async def taken(self, given: Mapping[str, Json]) -> AsyncGenerator[Taken]:
        """Lend the archive that was sent, or lies in S3, once it is one that may be unpacked. Raises ApiError.

        One from S3 is gone afterwards if it was not kept.
        """
        named = {name for name in ("S3Bucket", "S3Key", "S3ObjectVersion") if given.get(name)}
        data: bytes = given.get("ZipFile", b"")
        if data and named:
            raise ApiError("InvalidParameterValueException", BOTH)
        if named:
            if not {"S3Bucket", "S3Key"} <= named:
                raise ApiError("InvalidParameterValueException", "S3Bucket and S3Key go together.")
            async with self._turn(), self._draft() as draft:
                await self._fetch(given["S3Bucket"], given["S3Key"], given.get("S3ObjectVersion"), draft)
                yield await _looked_at(draft)
            return
        if len(data) > ZIPPED:
            raise ApiError("InvalidParameterValueException", f"Zipped size must be smaller than {ZIPPED} bytes")
        if not data:
            raise ApiError("InvalidParameterValueException", MISSING)
        yield await _looked_at(data)

    async def kept(self, taken: Taken) -> str:
        """Keep an archive, and return its name. Raises ApiError."""
        try:
            return await self._registry.put(taken.code)
        except BadArchive as error:
            raise members.bad_archive(error) from error
        except StorageExceeded as error:
            text = f"Code storage limit exceeded: {error.message}. {error.hint}"
            raise ApiError("CodeStorageExceededException", text) from error

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        try:
            with anyio.fail_after(bucket.WAIT):
                await self._turns.acquire()
        except TimeoutError as error:
            text = f"{FETCHED} archives come from S3 at a time, and others are before this one; ask again."
            raise ApiError("TooManyRequestsException", text, Reason="CallerRateLimitExceeded") from error
        try:
            yield
        finally:
            self._turns.release()

    @asynccontextmanager
    async def _draft(self) -> AsyncGenerator[Draft]:
        draft = await anyio.to_thread.run_sync(self._registry.shelf.draft)
        try:
            yield draft
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(draft.close)

    async def _fetch(self, name: str, key: str, version: str | None, draft: Draft) -> None:
        """Write an object of S3 to a draft. Raises ApiError, StorageExceeded, OSError."""
        try:
            with anyio.fail_after(bucket.WAIT):
                async with bucket.opened(name, key, version) as incoming:
                    size = UNZIPPED if incoming.length is None else incoming.length
                    if size <= UNZIPPED:
                        await anyio.to_thread.run_sync(self._registry.shelf.require, size)
                    while size <= UNZIPPED and (pieces := await incoming.read()):
                        await anyio.to_thread.run_sync(draft.add, pieces)
                        size = max(size, draft.size)
        except TimeoutError as error:
            raise bucket.late() from error
        if size > UNZIPPED:
            raise members.bad_archive(BadArchive("large", "it is larger than what it may unpack to"))


async def _looked_at(code: bytes | Draft) -> Taken:
    unpacked = await anyio.to_thread.run_sync(members.look_at, code)
    return Taken(code=code, size=code.size if isinstance(code, Draft) else len(code), unpacked=unpacked)
