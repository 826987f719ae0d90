"""Who a request is taken to be from before anything answers it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from triggerhub.policy.access import LOCAL, STRANGER, Principal, Role
from triggerhub.settings import Secret
from triggerhub.web.access import Access, Asker, asker, whose
from triggerhub.web.session import Session


@pytest.mark.parametrize(
    ("path", "raw", "query", "headers"),
    [
        ("/2099-01-01/anything", b"/2099-01-01/anything", b"", [(b"authorization", b"AWS4-HMAC-SHA256 Credential=x")]),
        ("/2015-03-31/functions", b"/%32015-03-31/functions", b"X-Amz-Signature=00", []),
    ],
)
async def test_who_signed_a_request_that_is_not_of_the_lambda_api_is_nobody(
    path: str, raw: bytes, query: bytes, headers: Any
) -> None:
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(asker(scope).principal)

    hub: Any = SimpleNamespace(phase="running")
    nothing: Any = None
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": raw, "query_string": query, "headers": headers}
    await Access(inner, hub, nothing, nothing, nothing)(scope, nothing, nothing)
    assert seen == [STRANGER]


SESSION = Session(name="ci", hash=Secret("hash"), began=0, used=0, csrf="mark")


@pytest.mark.parametrize(
    ("found", "counted"),
    [
        (Asker(LOCAL), "address 192.0.2.1"),
        (Asker(STRANGER), "address 192.0.2.1"),
        (Asker(Principal(name="ci", role=Role.ADMIN), SESSION), "user ci"),
        (Asker(Principal(name="token ci", role=Role.ADMIN), SESSION), "user token ci"),
        (Asker(Principal(name="token ci", role=Role.ADMIN)), "token ci"),
    ],
)
def test_a_user_and_a_token_of_one_name_are_counted_apart(found: Asker, counted: str) -> None:
    assert whose({"asker": found, "client": ("192.0.2.1", 0)}) == counted
