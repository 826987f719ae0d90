"""By which names a person may ask for an event."""

from __future__ import annotations

import pytest

from triggerhub.model import Json
from triggerhub.policy.naming import LONGEST, names


@pytest.mark.parametrize(
    ("record", "key", "found"),
    [
        pytest.param({"requestContext": {"requestId": "r"}}, None, ("r",), id="webhook"),
        pytest.param({"messageId": "m"}, "m", ("m",), id="sqs"),
        pytest.param({"eventID": "e"}, "e", ("e",), id="stream"),
        pytest.param({"s3": {"object": {"key": "a+b"}}}, "k", ("k", "a+b", "a b"), id="object"),
        pytest.param({"triggerhub": {"path": "/x/y"}, "s3": {"object": {"key": "y"}}}, None, ("/x/y", "y"), id="file"),
        pytest.param({"id": 5, "messageId": ["m"], "s3": "no", "requestContext": None}, None, (), id="odd"),
        pytest.param({"messageId": "m" * (LONGEST + 1)}, None, (), id="too long"),
        pytest.param(None, "k", ("k",), id="no JSON"),
        pytest.param([1], None, (), id="no object"),
    ],
)
def test_names(record: Json, key: str | None, found: tuple[str, ...]) -> None:
    assert names(record, key) == found
