"""Take an archive out of the body of a request, and put it back."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

from triggerhub.aws.restjson import ApiError
from triggerhub.web.lambda_api import body
from triggerhub.web.lambda_api.body import PLAIN

ZIP = os.urandom(3 * 1024 * 1024 + 1)
TEXT = base64.b64encode(ZIP).decode()


async def taken(operation: str, sent: bytes) -> Any:
    rest, archive = body.parted(operation, sent)
    assert len(rest) <= PLAIN
    assert archive is not None
    given = json.loads(rest)
    for place in (given, given.get("Code"), given.get("Content")):
        if isinstance(place, dict) and isinstance(place.get("ZipFile"), str):
            place["ZipFile"] = base64.b64decode(place["ZipFile"])
    await body.put_back(given, archive)
    return given


@pytest.mark.parametrize(
    "sent",
    [
        json.dumps({"Code": {"ZipFile": TEXT}, "Tags": {"a": "b"}}),
        json.dumps(
            {"Tags": {"ZipFile": "ZipFile"}, "Description": '"ZipFile": "', "Code": {"ZipFile": TEXT}}, indent=4
        ),
        # As clients in other languages write it.
        json.dumps({"Code": {"ZipFile": TEXT}}).replace("/", "\\/"),
        json.dumps({"Code": {"ZipFile": TEXT}}).replace("+", "\\u002b").replace("=", "\\u003d"),
        json.dumps({"Description": "a\\", "Code": {"ZipFile": TEXT}}),
    ],
)
async def test_an_archive_comes_back_to_where_it_was(sent: str) -> None:
    given = await taken("CreateFunction", sent.encode())
    assert given.pop("Code") == {"ZipFile": ZIP}
    assert given == {key: value for key, value in json.loads(sent).items() if key != "Code"}
    assert (await taken("UpdateFunctionCode", json.dumps({"ZipFile": TEXT}).encode()))["ZipFile"] == ZIP


async def test_what_is_large_beside_an_archive_is_refused_before_it_is_read() -> None:
    for more in ({"Tags": {f"k{n}": "v" for n in range(50_000)}}, {"Layers": ["x"] * 200_000}):
        with pytest.raises(ApiError) as raised:
            body.parted("CreateFunction", json.dumps({"Code": {"ZipFile": TEXT}, **more}).encode())
        assert raised.value.kind == "RequestEntityTooLargeException"
        assert "beside its ZipFile" in raised.value.message


@pytest.mark.parametrize(
    "sent",
    [
        json.dumps({"Tags": {"ZipFile": TEXT}}),
        json.dumps({"Code": {"ZipFile": TEXT[:2_000_000] + "=" + TEXT[2_000_000:]}}),
        json.dumps({"Code": {"ZipFile": TEXT[: 2**20 - 1] + "=" + TEXT[: 2**20]}}),
        json.dumps({"Code": {"ZipFile": TEXT + "é"}}),
        f'{{"Code": {{"ZipFile": "{TEXT}", "ZipFile": "AAAA"}}}}',
    ],
)
async def test_an_archive_that_is_none_is_refused(sent: str) -> None:
    with pytest.raises(ApiError) as raised:
        await taken("CreateFunction", sent.encode())
    assert raised.value.kind == "SerializationException"
