"""Fetch code from S3, with the hub's own credentials and from the endpoint that its environment names."""

from __future__ import annotations

import importlib
from typing import Any

import anyio.to_thread

from triggerhub.aws.restjson import ApiError

WAIT = 60.0
"""Seconds for all of an archive."""


async def fetch(bucket: str, key: str, version: str | None, most: int) -> bytes:
    """Return an object, no more than *most* bytes and one of it. Raises ApiError.

    ``AWS_ENDPOINT_URL_S3``, region and credentials are found as AWS's own tools find them.
    """
    session = await anyio.to_thread.run_sync(importlib.import_module, "aiobotocore.session")
    asked = {"Bucket": bucket, "Key": key, **({} if version is None else {"VersionId": version})}
    try:
        with anyio.fail_after(WAIT):
            made = session.get_session().create_client("s3")
            async with made as client:
                answer = await client.get_object(**asked)
                parts: list[bytes] = []
                left = most + 1
                # A read gives what has come by then, not all that was asked for.
                while left and (part := await answer["Body"].read(left)):
                    parts.append(part)
                    left -= len(part)
                return b"".join(parts)
    except TimeoutError as error:
        raise _failed("RequestTimeout", f"no answer within {WAIT:.0f} seconds") from error
    except Exception as error:  # botocore's errors have no one base, and all of them are the caller's
        told: dict[str, Any] = getattr(error, "response", {}).get("Error", {})
        raise _failed(told.get("Code", type(error).__name__), told.get("Message", str(error))) from error


def _failed(code: str, message: str) -> ApiError:
    text = f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
    return ApiError("InvalidParameterValueException", text)
