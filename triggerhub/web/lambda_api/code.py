"""Take the archive that a request carries or names, and keep it."""

from __future__ import annotations

from collections.abc import Mapping

import anyio.to_thread

from triggerhub.archive import UNZIPPED, BadArchive
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.registry import Registry
from triggerhub.deploy.shelf import StorageExceeded
from triggerhub.model import Json
from triggerhub.web.lambda_api import bucket, members
from triggerhub.web.lambda_api.account import ZIPPED

MISSING = "Please provide a source for function code."
BOTH = "Please do not provide other FunctionCode parameters when providing a ZipFile."


async def taken(given: Mapping[str, Json]) -> bytes:
    """Return the archive that was sent, or lies in S3, once it is one that may be unpacked. Raises ApiError."""
    named = {name for name in ("S3Bucket", "S3Key", "S3ObjectVersion") if given.get(name)}
    data: bytes = given.get("ZipFile", b"")
    if data and named:
        raise ApiError("InvalidParameterValueException", BOTH)
    if named:
        if not {"S3Bucket", "S3Key"} <= named:
            raise ApiError("InvalidParameterValueException", "S3Bucket and S3Key go together.")
        data = await bucket.fetch(given["S3Bucket"], given["S3Key"], given.get("S3ObjectVersion"), UNZIPPED)
    elif len(data) > ZIPPED:
        raise ApiError("InvalidParameterValueException", f"Zipped size must be smaller than {ZIPPED} bytes")
    if not data:
        raise ApiError("InvalidParameterValueException", MISSING)
    await anyio.to_thread.run_sync(members.look_at, data)
    return data


async def kept(registry: Registry, data: bytes) -> str:
    """Keep an archive, and return its name. Raises ApiError."""
    try:
        return await registry.put(data)
    except BadArchive as error:
        raise members.bad_archive(error) from error
    except StorageExceeded as error:
        text = f"Code storage limit exceeded: {error.message}. {error.hint}"
        raise ApiError("CodeStorageExceededException", text) from error
