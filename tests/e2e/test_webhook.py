"""Webhooks of a running hub over TLS and behind a proxy, as senders, browsers and functions see them."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import HUB
from tests.web.test_ingress_tls import issue

TOML = (
    HUB
    + """
tls = { cert = "../hub.pem", key = "../hub.key" }
trusted_proxies = ["127.0.0.1"]

[triggers.signed]
type = "webhook"
path = "/signed/{name}"
auth = { type = "github", secret = [{ secret = "NEW" }, { secret = "OLD" }] }
functions = ["echo", "other"]

[triggers.limited]
type = "webhook"
path = "/limited"
auth = "none"
limit = { rate = "2/m" }
function = "echo"

[triggers.full]
type = "webhook"
path = "/full"
auth = "none"
backlog = 2
function = "stuck"

[triggers.ask]
type = "webhook"
path = "/ask"
methods = ["GET", "POST"]
auth = "none"
respond = "result"
cors = { allow_origins = ["https://app.example"], allow_headers = ["content-type"], max_age = "10m" }
function = "echo"

[triggers.late]
type = "webhook"
path = "/late"
auth = "none"
respond = "result"
function = "stuck"

[functions.stuck]
timeout = "1s"
concurrency = 1
retry = { attempts = 1 }
"""
)
HANDLERS = {
    "echo.py": "def handler(event, context):\n    return event\n",
    "other.py": "def handler(event, context):\n    pass\n",
    "stuck.py": "import time\n\ndef handler(event, context):\n    time.sleep(60)\n",
}
Got = tuple[int, Mapping[str, str], bytes]


class Sender:
    def __init__(self, hub: Daemon, certificate: Path) -> None:
        self.hub = hub
        self._tls = ssl.create_default_context(cafile=str(certificate))

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Got:
        connection = http.client.HTTPSConnection("localhost", self.hub.listen, timeout=20, context=self._tls)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    folder = tmp_path_factory.mktemp("webhooks")
    certificate, _ = issue(folder, "hub")
    (folder / "project").mkdir()
    with daemon(folder / "project", TOML, HANDLERS, start=False) as hub:
        hub.start(environ={"NEW": "new secret", "OLD": "old secret"})
        yield Sender(hub, certificate)


def signature(body: bytes, secret: str) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def test_a_delivery_is_owed_to_each_function_once_whichever_secret_signed_it(sender: Sender) -> None:
    for secret, delivery in (("new secret", "d-1"), ("old secret", "d-2")):
        headers = {**signature(b"{}", secret), "X-GitHub-Delivery": delivery}
        status, told, body = sender.send("POST", "/signed/a%20b", b"{}", headers)
        assert (status, told["content-type"]) == (202, "application/json")
        first = json.loads(body)
        assert set(first) == {"id", "deliveries"}
        assert len(first["deliveries"]) == 2
        again = sender.send("POST", "/signed/a%20b", b"{}", headers)
        assert (again[0], json.loads(again[2])) == (200, first)
    assert sender.send("POST", "/signed/a", b"{ }", signature(b"{}", "new secret"))[0] == 401
    event = sender.hub.api("GET", f"/api/v1/deliveries/{first['deliveries'][0]}")["event"]["data"]
    assert event["pathParameters"] == {"name": "a b"}
    assert event["rawPath"] == "/signed/a%20b"


def test_what_is_too_much_is_told_when_to_come_again(sender: Sender) -> None:
    answers = [sender.send("POST", "/limited") for _ in range(3)]
    assert [answer[0] for answer in answers] == [202, 202, 429]
    assert 1 <= int(answers[2][1]["retry-after"]) <= 30
    answers = [sender.send("POST", "/full") for _ in range(3)]
    assert [answer[0] for answer in answers] == [202, 202, 429]
    assert int(answers[2][1]["retry-after"]) >= 1
    until(lambda: sender.send("POST", "/full")[0] == 202, "there is room again", 20)


def test_a_late_answer_is_504(sender: Sender) -> None:
    until(lambda: sender.hub.counts()["queued"] + sender.hub.counts()["running"] == 0, "the one worker is free", 20)
    assert sender.send("POST", "/late")[0] == 504


def test_methods_are_told_and_head_is_get_without_the_body(sender: Sender) -> None:
    status, told, _ = sender.send("PUT", "/ask")
    assert (status, set(told["allow"].split(", "))) == (405, {"GET", "HEAD", "POST", "OPTIONS"})
    assert sender.send("GET", "/nowhere")[0] == 404
    got = sender.send("GET", "/ask")
    head = sender.send("HEAD", "/ask")
    assert (got[0], head[0], head[2]) == (200, 200, b"")
    assert int(head[1]["content-length"]) > 100


def test_a_page_that_may_call_is_told_so_and_another_is_not(sender: Sender) -> None:
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    status, told, body = sender.send("OPTIONS", "/ask", headers=asking)
    assert (status, body) == (204, b"")
    assert told["access-control-allow-origin"] == "https://app.example"
    assert told["access-control-max-age"] == "600"
    assert sender.send("POST", "/ask", headers=asking)[1]["access-control-allow-origin"] == "https://app.example"
    other = sender.send("OPTIONS", "/ask", headers={**asking, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other[1]


def test_a_trusted_proxy_says_who_called(sender: Sender) -> None:
    headers = {
        "X-Forwarded-For": "10.9.8.7, 192.0.2.9",
        "X-Forwarded-Host": "hooks.example",
        "X-Forwarded-Proto": "https",
    }
    event = json.loads(sender.send("GET", "/ask?a=1&a=2", headers=headers)[2])
    assert event["requestContext"]["http"]["sourceIp"] == "192.0.2.9"
    assert event["requestContext"]["domainName"] == "hooks.example"
    assert event["queryStringParameters"] == {"a": "1,2"}
