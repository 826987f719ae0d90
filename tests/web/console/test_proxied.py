"""The admin address behind a proxy on this machine: whose a request is, and that nobody is local by saying so."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

from tests.e2e.daemon import GUARD, daemon
from tests.e2e.toml import HUB
from tests.web.console.conftest import HANDLERS, SECRETS, TOML, Site
from tests.web.console.test_access import ACCESS, WORD, cheap
from tests.web.fakehub import FakeHub
from tests.web.test_admin import served

PROXY, OTHER = "127.0.0.1", "127.0.0.2"
"""A trusted peer, and one that is not."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    toml = f'{HUB}trusted_proxies = ["{PROXY}"]\n{TOML}{ACCESS}'
    with daemon(tmp_path_factory.mktemp("hub"), toml, HANDLERS, start=False) as hub:
        hub.start(environ={**SECRETS, "ANNA": cheap(WORD)})
        yield Site(hub)


def sign_in(site: Site, word: str, *, peer: str, forwarded: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.hub.admin, timeout=GUARD, source_address=(peer, 0))
    try:
        form = urlencode({"user": "anna", "password": word})
        connection.request("POST", "/login", form, {"X-Forwarded-For": forwarded})
        return connection.getresponse().status
    finally:
        connection.close()


def test_who_guesses_behind_a_proxy_keeps_nobody_else_out(site: Site) -> None:
    guesses = [sign_in(site, f"guess {n}", peer=PROXY, forwarded=f"198.51.100.{n}, 203.0.113.9") for n in range(6)]
    assert guesses == [401] * 5 + [429], "what he wrote himself stands before what the proxy adds"
    assert sign_in(site, WORD, peer=PROXY, forwarded="203.0.113.10") == 303
    newest, former, *_ = site.hub.api("GET", "/api/v1/changes")
    assert (newest["from"], newest["status"]) == ("203.0.113.10", 303)
    assert (former["from"], former["status"]) == ("203.0.113.9", 401)


def test_from_a_peer_that_is_not_trusted_the_header_changes_nothing(site: Site) -> None:
    guesses = [sign_in(site, f"guess {n}", peer=OTHER, forwarded=f"203.0.113.{100 + n}") for n in range(6)]
    assert guesses == [401] * 5 + [429]
    assert site.hub.api("GET", "/api/v1/changes")[0]["from"] == OTHER


SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, "
    f"Signature={'0' * 64}",
    "X-Amz-Date": "20260101T000000Z",
}
LAYERS = "/2018-10-31/layers"


@pytest.mark.parametrize(
    "forwarded",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"},
        {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"},
        {"X-Forwarded-For": "unknown"},
        {"X-Real-IP": "203.0.113.9"},
        {"Forwarded": 'for=127.0.0.1, For="[2001:db8::1]:80";proto=https'},
    ],
    ids=str,
)
async def test_without_access_control_nobody_is_local_who_was_forwarded_from_elsewhere(
    tmp_path, forwarded: dict[str, str]
) -> None:
    hub = FakeHub(problems=["the disk is full"])
    hub.tokens = SimpleNamespace(principal=lambda text: None, all=list, keys=[], by_key=lambda key: None)
    async with served(tmp_path, hub) as client:
        for path in ("/api/v1/status", "/live", "/metrics", "/settings"):
            answer = await client.get(path, headers={**forwarded, "Accept": "text/html"}, tcp=True)
            assert (answer.status, answer.code) == (403, "not-local"), path
        assert (await client.get(LAYERS, headers={**forwarded, **SIGNED}, tcp=True)).status == 403
        assert (await client.get("/readyz", headers=forwarded, tcp=True)).json["reasons"] == []
        assert (await client.get("/api/v1/status", headers=forwarded)).status == 200, "the socket is its user's"


@pytest.mark.parametrize(
    "forwarded",
    [{}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "::1, 127.0.0.5"}, {"Forwarded": 'for="[::1]:9"'}],
    ids=str,
)
async def test_a_proxy_for_this_machine_alone_is_no_stranger(tmp_path, forwarded: dict[str, str]) -> None:
    hub = FakeHub(problems=["the disk is full"])
    hub.tokens = SimpleNamespace(principal=lambda text: None, all=list, keys=[], by_key=lambda key: None)
    async with served(tmp_path, hub) as client:
        assert (await client.get("/api/v1/status", headers=forwarded, tcp=True)).status == 200
        assert (await client.get(LAYERS, headers={**forwarded, **SIGNED}, tcp=True)).status == 200
        assert (await client.get("/readyz", headers=forwarded, tcp=True)).json["reasons"] == ["the disk is full"]
