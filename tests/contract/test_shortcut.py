"""Signed calls go past the framework; what is odd about one is looked at as closely as before."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest

from tests.contract.keys import made
from tests.e2e.daemon import Daemon, daemon, until
from triggerhub.hub.hub import Hub
from triggerhub.web.guard import Guard
from triggerhub.web.lambda_api.api import LambdaApi
from triggerhub.web.lambda_api.shortcut import MOST, Shortcut
from triggerhub.web.short import Peer

PATH = "/2015-03-31/functions/echo/invocations"
ECHO = "def handler(event, context):\n    return event\n"
SLOW = (
    "import os, time\n"
    "def handler(event, context):\n"
    "    open(event['began'], 'w').close()\n"
    "    while not os.path.exists(event['go']):\n        time.sleep(0.01)\n"
    "    return 'slept'\n"
)
TOML = '[functions.slow]\nsandbox = { level = "trusted" }\n'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("short"), TOML, {"echo.py": ECHO, "slow.py": SLOW}) as running:
        yield running


@pytest.fixture(scope="module")
def keys(hub: Daemon) -> Any:
    return made(hub, "caller", role="operator")._request_signer._credentials


def request(
    hub: Daemon,
    keys: Any,
    body: bytes,
    *lines: str,
    path: str = PATH,
    version: str = "1.1",
    signed: Mapping[str, str] | None = None,
) -> bytes:
    """A call as it goes over the wire, with the headers *signed*, too; *lines* stand there without being signed."""
    asked = AWSRequest(method="POST", url=f"http://127.0.0.1:{hub.admin}{path}", data=body, headers=signed)
    auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(asked)
    named = {line.partition(":")[0].lower() for line in lines}
    fields = {"Host": f"127.0.0.1:{hub.admin}", **dict(asked.headers), "Content-Length": str(len(body))}
    own = [f"{name}: {value}" for name, value in fields.items() if name.lower() not in named]
    return "\r\n".join([f"POST {path} HTTP/{version}", *own, *lines, "", ""]).encode() + body


def connected(hub: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", hub.admin), timeout=30)


def answered(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer of a connection, and no more than that of what it says."""
    with_head = b""
    while b"\r\n\r\n" not in with_head:
        one = wire.recv(1)
        assert one, with_head
        with_head += one
    first, *fields = with_head.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    body, length = b"", int(headers.get("content-length", 0))
    while len(body) < length:
        body += wire.recv(length - len(body))
    return int(first.split()[1]), headers, body


def test_calls_on_one_connection_are_answered_in_order(hub: Daemon, keys: Any) -> None:
    probe = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{hub.admin}\r\n\r\n".encode()
    calls = [request(hub, keys, b'{"n": %d}' % number) for number in range(3)]
    with connected(hub) as wire:
        wire.sendall(calls[0] + calls[1] + probe + calls[2])
        found = [answered(wire) for _ in range(4)]
    assert [body for _, _, body in found] == [b'{"n": 0}', b'{"n": 1}', b"ok\n", b'{"n": 2}']
    assert {status for status, _, _ in found} == {200}


def test_an_answer_says_what_it_did(hub: Daemon, keys: Any) -> None:
    with connected(hub) as wire:
        for _ in range(2):
            wire.sendall(request(hub, keys, b"[1]"))
            status, headers, body = answered(wire)
            assert (status, body) == (200, b"[1]")
            assert headers["content-type"] == "application/json"
            assert len(headers["x-amz-executed-version"]) == 12
            assert len(headers["x-amzn-requestid"]) == 36
            assert "connection" not in headers
        wire.sendall(request(hub, keys, b"[2]", "Connection: close"))
        status, headers, body = answered(wire)
        assert (status, body, headers["connection"]) == (200, b"[2]", "close")
        assert wire.recv(1) == b""


def test_a_call_that_comes_byte_by_byte_is_one(hub: Daemon, keys: Any) -> None:
    with connected(hub) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(hub, keys, b'{"slowly": true}'):
            wire.sendall(bytes((byte,)))
        assert answered(wire)[2] == b'{"slowly": true}'


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        pytest.param(["Host: evil.example"], 421, "bad-host", id="another host"),
        pytest.param(["Host: 127.0.0.1", "Host: evil.example"], 421, "bad-host", id="two hosts"),
        pytest.param(["Origin: http://evil.example"], 403, "bad-origin", id="a page"),
        pytest.param(["Sec-Fetch-Site: cross-site"], 403, "bad-origin", id="a browser"),
        pytest.param(["X-Amz-Security-Token: x"], 403, "UnrecognizedClientException", id="a session of nobody's"),
        pytest.param(["X-Amz-Tenant-Id: x"], 403, "InvalidSignatureException", id="a header that is not signed"),
        pytest.param(["Authorization: Bearer x"], 401, "bad-token", id="no token"),
        pytest.param(["Authorization:"], 401, "", id="nothing"),
        pytest.param(["X-Forwarded-For: 192.0.2.1"], 200, "", id="from afar"),
        pytest.param(["Expect: 100-continue"], 100, "", id="before it sends"),
    ],
)
def test_what_is_odd_is_answered_as_ever(hub: Daemon, keys: Any, lines: list[str], status: int, said: str) -> None:
    asked = request(hub, keys, b"{}", *lines)
    assert said in answer_to(hub, asked, status)
    assert not is_taken(asked)


@pytest.mark.parametrize(
    ("signed", "status", "said"),
    [
        pytest.param({"X-Amz-Invocation-Type": "Sometimes"}, 400, "ValidationException", id="no such type"),
        pytest.param({"X-Amz-Log-Type": "Head"}, 400, "ValidationException", id="no such log"),
        pytest.param({"X-Amz-Tenant-Id": "x"}, 400, "InvalidParameterValueException", id="what is not built"),
    ],
)
def test_what_is_odd_and_signed_is_answered_as_ever(
    hub: Daemon, keys: Any, signed: dict[str, str], status: int, said: str
) -> None:
    asked = request(hub, keys, b"{}", signed=signed)
    assert said in answer_to(hub, asked, status)
    assert not is_taken(asked)


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        pytest.param(["Authorization: AWS4-HMAC-SHA256 x"], 400, "IncompleteSignature", id="no signature"),
        pytest.param(["Content-Type: text/plain"], 200, "", id="another type"),
    ],
)
def test_what_is_taken_is_looked_at_all_the_same(
    hub: Daemon, keys: Any, lines: list[str], status: int, said: str
) -> None:
    asked = request(hub, keys, b"{}", *lines)
    assert said in answer_to(hub, asked, status)
    assert is_taken(asked)


def answer_to(hub: Daemon, asked: bytes, status: int) -> str:
    """The kind of error and the body that a request is answered, with *status*."""
    with connected(hub) as wire:
        wire.sendall(asked)
        found, headers, body = answered(wire)
    assert found == status, body
    return headers.get("x-amzn-errortype", "") + body.decode()


def is_taken(asked: bytes) -> bool:
    """Whether a request goes by the shortcut."""
    first, *lines = asked.partition(b"\r\n\r\n")[0].split(b"\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return takes(first.split()[1], fields)


def takes(target: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    running = cast("Hub", SimpleNamespace(phase="running"))
    guard = Guard(cast("Any", None), "127.0.0.1")
    shortcut = Shortcut(running, cast("LambdaApi", None), guard, trusted=False)
    return shortcut.takes(target, headers, Peer("127.0.0.1", secure=False, here=True)) is not None


def test_a_signature_is_that_of_the_body(hub: Daemon, keys: Any) -> None:
    with connected(hub) as wire:
        wire.sendall(request(hub, keys, b'{"pay": 1}').replace(b'"pay": 1', b'"pay": 9'))
        status, headers, _ = answered(wire)
    assert (status, headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


def test_a_long_body_and_an_old_protocol_go_the_long_way(hub: Daemon, keys: Any) -> None:
    long = json.dumps("x" * (MOST + 1)).encode()
    with connected(hub) as wire:
        wire.sendall(request(hub, keys, long))
        assert answered(wire)[2] == long
    with connected(hub) as wire:
        wire.sendall(request(hub, keys, b"[]", version="1.0"))
        assert answered(wire)[2] == b"[]"
        assert wire.recv(1) == b""


def test_who_leaves_during_a_call_takes_nobody_with_him(hub: Daemon, keys: Any) -> None:
    began, go = hub.project / "began", hub.project / "go"
    wire = connected(hub)
    path = PATH.replace("echo", "slow")
    wire.sendall(request(hub, keys, json.dumps({"began": str(began), "go": str(go)}).encode(), path=path))
    until(began.exists, "the call has begun", 30)
    wire.close()
    go.touch()
    with connected(hub) as other:
        other.sendall(request(hub, keys, b"[3]"))
        assert answered(other)[2] == b"[3]"
    until(lambda: "REPORT" in hub.cli("logs", "slow").stdout, "the call has ended", 30)
    assert "Traceback" not in hub.log()


def test_what_an_sdk_sends_is_taken(hub: Daemon) -> None:
    """Else every call would be slower, and nobody would see it."""
    seen: list[Any] = []
    lambdas = made(hub, "sdk", role="operator")
    lambdas.meta.events.register("before-send.lambda", lambda request, **_: seen.append(request))
    for kind in ("RequestResponse", "Event", "DryRun"):
        lambdas.invoke(FunctionName="echo", Payload=b"{}", InvocationType=kind, LogType="None")
    for one in seen:
        headers = [(name.lower().encode(), text(value)) for name, value in one.headers.items()]
        host = (b"host", f"127.0.0.1:{hub.admin}".encode())
        target = one.url.partition(str(hub.admin))[2].encode()
        assert takes(target, [host, *headers])


def text(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
