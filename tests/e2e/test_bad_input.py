"""Whatever is sent to a running hub: a clear answer of the right kind, a line in its log, and it goes on."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import webhook

TOML = (
    """
[triggers.keyed]
type = "webhook"
path = "/keyed"
auth = "none"
key = "$.body.id"
filter = { body = { id = [{ exists = true }] } }
function = "echo"

[triggers.part]
type = "webhook"
path = "/part/{name}"
auth = "none"
limit = { body = "1KB" }
respond = "result"
function = "echo"

[triggers.signed]
type = "webhook"
path = "/signed"
auth = { type = "github", secret = { secret = "SIGNING" } }
function = "echo"

[triggers.jobs]
type = "queue"
name = "jobs"
function = "echo"
"""
    + webhook("plain", "echo")
    + webhook("say", "say", answers=True)
    + webhook("node", "nodesay", answers=True)
)
HANDLERS = {
    "echo.py": "def handler(event, context):\n    return event\n",
    "say.py": "import json\n\ndef handler(event, context):\n    return json.loads(event['body'])\n",
    "nodesay.mjs": "export const handler = async (event) => JSON.parse(event.body);\n",
}
DEEP = b"[" * 10_000 + b"]" * 10_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    project = tmp_path_factory.mktemp("project")
    with daemon(project, TOML, HANDLERS, start=False) as running:
        running.start(environ={"SIGNING": "s3cret"})
        yield running


@pytest.fixture(autouse=True)
def unharmed(hub: Daemon) -> Iterator[None]:
    process = hub.process
    yield
    assert hub.process is process
    assert hub.is_ready()
    status, body = hub.post("/part/well", b"still")
    assert (status, json.loads(body)["body"]) == (200, "still")
    assert "Traceback" not in (hub.project / "daemon.log").read_text()


def raw(hub: Daemon, data: bytes) -> tuple[int, bytes]:
    """Send bytes and return the status and everything that came until the hub closed."""
    with socket.create_connection(("127.0.0.1", hub.listen), 20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer


def logged(hub: Daemon, *words: str) -> None:
    """Wait for one line of the log with all of *words*."""

    def found() -> bool:
        lines = (hub.project / "daemon.log").read_text().splitlines()
        return any(all(word in line for word in words) for line in lines)

    until(found, f"the log says {words}", 10)


POST = b"POST /say HTTP/1.1\r\nHost: hub\r\n"


@pytest.mark.parametrize(
    ("data", "status", "why"),
    [
        pytest.param(POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Malformed", id="CL and TE"),
        pytest.param(POST + b"X: a\nY: b\r\n\r\n", 400, "Malformed", id="a bare line feed"),
        pytest.param(b"POST /say HTTP/1.1\r\n\r\n", 400, "one Host", id="no host"),
        pytest.param(POST + b"Host: b\r\n\r\n", 400, "one Host", id="two hosts"),
        pytest.param(POST + b"X: " + b"x" * 90_000 + b"\r\n\r\n", 431, "header is too large", id="a large header"),
        pytest.param(POST + b"Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n", 413, "at most", id="a large body"),
        pytest.param(POST + b"Content-Length: 5\r\n\r\nab", 0, "", id="half a body"),
        pytest.param(b"GET /nowhere HTTP/1.1\r\nHost: hub\r\n\r\n", 404, "Not Found", id="no route"),
        pytest.param(b"GET /say HTTP/1.1\r\nHost: hub\r\n\r\n", 405, "takes POST", id="a wrong method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 400, "Malformed", id="TLS"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_request(hub: Daemon, data: bytes, status: int, why: str) -> None:
    if not status:
        with pytest.raises(IndexError):  # it is closed without a word
            raw(hub, data)
        return
    got, answer = raw(hub, data)
    assert got == status
    assert b"100 Continue" not in answer
    assert why in json.loads(answer.partition(b"\r\n\r\n")[2])["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/elsewhere", b"", 404), ("/keyed", b'{"id": "%b"}' % (b"k" * 1025), 400)]
)
def test_refusals_are_logged_with_their_reason_and_counted(hub: Daemon, path: str, body: bytes, status: int) -> None:
    def said() -> bool:
        assert hub.post(path, body)[0] == status
        lines = (hub.project / "daemon.log").read_text().splitlines()
        told = [json.loads(line) for line in lines if "a request was refused" in line]
        return any(one["status"] == status and one["client"] == "127.0.0.1" and one["count"] > 1 for one in told)

    until(said, "one line for many", 20)


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        pytest.param(b'{"id": ', {}, 200, "filtered", id="half a document"),
        pytest.param(DEEP, {}, 200, "filtered", id="very deep"),
        pytest.param(b'{"id": "a", "x": ' + DEEP + b"}", {}, 200, "filtered", id="very deep behind the key"),
        pytest.param(b'{"id": NaN}', {}, 200, "filtered", id="not a number"),
        pytest.param(b"\xff\xfe\x00", {}, 200, "filtered", id="bytes"),
        pytest.param(b'{"id": "%b"}' % (b"k" * 1025), {}, 400, "the key has 1025 bytes", id="a long key"),
        pytest.param(b'{"id": "\\ud800"}', {}, 202, "deliveries", id="half a surrogate"),
        pytest.param(b'{"id": 1e999}', {}, 202, "deliveries", id="a number beyond all"),
    ],
)
def test_documents_that_a_filter_or_a_key_cannot_read(
    hub: Daemon, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    got, answer = hub.post("/keyed", body, headers)
    assert (got, says in answer.decode()) == (status, True), answer


def test_an_idempotency_key_is_bounded_too(hub: Daemon) -> None:
    status, answer = hub.post("/plain", b"", {"Idempotency-Key": "k" * 1025})
    assert (status, json.loads(answer)["message"]) == (400, "the key has 1025 bytes, at most 1024 are allowed")
    first, again = (hub.post("/plain", body, {"Idempotency-Key": "k" * 1024}) for body in (b"1", b"2"))
    assert (first[0], again[0]) == (202, 200)
    assert json.loads(first[1]) == json.loads(again[1])
    assert set(json.loads(first[1])) == {"id", "deliveries"}


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "%2fetc%2fpasswd", "a%2f..%2f..%2fb", "%00", "a%0d%0ab", "."],
)
def test_a_part_of_a_path_is_never_a_way_out(hub: Daemon, name: str) -> None:
    assert hub.post(f"/part/{name}", b"")[0] in (400, 404)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"X-Hub-Signature-256": "sha256=0"}, b"{}"),
        ({"X-Hub-Signature-256": "nonsense"}, b"{}"),
        ({"X-Hub-Signature-256": "sha256=" + "é" * 64}, b"{}"),
    ],
)
def test_a_signature_that_is_none(hub: Daemon, headers: dict[str, str], body: bytes) -> None:
    assert hub.post("/signed", body, headers) == (401, b'{"message": "Unauthorized"}')
    logged(hub, "a request is not authentic", "signed")


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": 200, "headers": {"X-A": "a\r\nSet-Cookie: stolen=1"}},
        {"statusCode": 200, "headers": {"X-A\r\nX-B": "a"}},
        {"statusCode": 200, "headers": {"X-A": "x" * 100_000}},
        {"statusCode": 200, "headers": {f"X-{n}": "x" for n in range(200)}},
        {"statusCode": 200, "cookies": ["a=1\r\nX-B: 2"]},
        {"statusCode": 99},
        {"statusCode": "two hundred"},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": {"not": "text"}},
    ],
    ids=lambda answer: json.dumps(answer)[:50],
)
def test_an_answer_that_http_cannot_carry_is_502_and_said(hub: Daemon, answer: object) -> None:
    sent = raw(
        hub, b"POST /say HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n%b" % (len(json.dumps(answer)), json.dumps(answer).encode()),
    )  # fmt: skip
    assert sent[0] == 502
    assert b"stolen" not in sent[1]
    assert b"X-B" not in sent[1]
    logged(hub, "the function's answer is no HTTP response", "say")


def test_framing_headers_of_an_answer_are_left_out_and_a_large_body_arrives(hub: Daemon) -> None:
    framed = {"statusCode": 200, "headers": {"Transfer-Encoding": "chunked", "Content-Length": "5"}, "body": "hi"}
    assert hub.post("/say", json.dumps(framed).encode()) == (200, b"hi")
    large = json.dumps({"statusCode": 200, "body": "x" * 5_000_000}).encode()
    assert hub.post("/say", large) == (200, b"x" * 5_000_000)


@pytest.mark.parametrize("path", ["/say", "/node"])
def test_an_event_nested_ten_thousand_deep_fails_by_itself(hub: Daemon, path: str) -> None:
    assert hub.post(path, DEEP)[0] in (200, 502)
    assert hub.post(path, b'"next"') == (200, b"next"), "the worker, or another, serves the next call"


def test_compressed_bodies_stay_as_they_came(hub: Daemon) -> None:
    bomb = gzip.compress(b"0" * 500_000)
    status, answer = hub.post("/part/bomb", bomb, {"Content-Encoding": "gzip", "Content-Type": "text/plain"})
    assert len(bomb) < 1024
    assert status == 200
    event = json.loads(answer)
    assert event["isBase64Encoded"] is True
    assert len(event["body"]) < 1400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "functions/..%2f..%2fetc%2fpasswd", None, 404, "no-such-path"),
        ("GET", "functions/%2e%2e", None, 404, "not-found"),
        ("GET", "deliveries/..%2f..%2fhub.db", None, 404, "no-such-path"),
        ("GET", "deliveries/nonsense", None, 400, "bad-input"),
        ("GET", "output?function=..%2f..%2fetc", None, 404, "not-found"),
        ("GET", "deliveries?limit=99999999999", None, 400, "bad-input"),
        ("GET", "deliveries?since=yesterday", None, 400, "bad-input"),
        ("POST", "functions/echo/invoke", b"nonsense", 400, "bad-input"),
        ("POST", "functions/echo/invoke", DEEP, 400, "bad-input"),
        ("POST", "functions/echo/invoke", b"\xff\xfe", 400, "bad-input"),
        ("POST", "functions/echo/invoke?async=true", DEEP, 400, "bad-input"),
        ("POST", "triggers/jobs/send", b"\xff", 400, "bad-input"),
        ("POST", "triggers/jobs/send?delay=soon", b"1", 400, "bad-input"),
        ("POST", f"triggers/jobs/send?key={'k' * 1025}", b"1", 400, "bad-input"),
        ("POST", "triggers/..%2fjobs/send", b"1", 404, "no-such-path"),
        ("POST", "triggers/jobs/send", b"x" * 7_000_000, 413, "too-large"),
        ("DELETE", "status", None, 405, "no-such-method"),
    ],
)
def test_what_the_admin_api_cannot_use(
    hub: Daemon, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    got, answer = hub.api(method, f"/api/v1/{path}", body, raw=True)
    assert (got, json.loads(answer)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "evil.example"}, 421),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 421),
        ("POST", {"Host": "localhost", "Origin": "https://evil.example"}, 403),
        ("POST", {"Host": "localhost", "Origin": "null"}, 403),
        ("GET", {"Host": "localhost"}, 200),
    ],
)
def test_a_page_elsewhere_cannot_reach_the_admin_address(
    hub: Daemon, method: str, headers: dict[str, str], status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hub.admin, timeout=20)
    connection.request(method, "/api/v1/reload" if method == "POST" else "/api/v1/status", headers=headers)
    assert connection.getresponse().status == status
    connection.close()


def test_a_thousand_connections_at_once_are_all_served(hub: Daemon) -> None:
    request = b"POST /part/x HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\n\r\n{}"
    clients = [socket.create_connection(("127.0.0.1", hub.listen), 20) for _ in range(1000)]
    try:
        assert hub.post("/part/beside", b"")[0] == 200
        for client in clients:
            client.sendall(request)
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}
    finally:
        for client in clients:
            client.close()


def test_names_that_are_no_names_are_told_by_the_command_line(hub: Daemon) -> None:
    for arguments, code, says in (
        (("invoke", "../../etc/passwd", "-d", "{}"), 1, "there is nothing at"),
        (("invoke", "nobody", "-d", "{}"), 1, "no function"),
        (("invoke", "echo", "-d", "{"), 2, "json"),
        (("send", "jobs", "-d", "1", "--delay", "soon"), 2, "soon"),
        (("deliveries", "show", "x"), 2, "is not an id"),
    ):
        done = hub.cli(*arguments)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
