"""What strangers, and those who are slow, may take of the hub's memory."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.conftest import client
from tests.contract.keys import made
from tests.contract.package import VERSION, called, create, zipped
from tests.contract.test_policies import allow, keyed
from tests.e2e.daemon import Daemon, daemon

MB = 1 << 20


def resident(hub: Daemon) -> int:
    """How much memory the hub has, in bytes."""
    assert hub.process
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{hub.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def asking(hub: Daemon, head: str, count: int, body: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that have asked something and read no answer."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(20)
            one.connect(("127.0.0.1", hub.admin))
            one.sendall(head.replace("\n", "\r\n").encode() + body)
            made.append(one)
        yield made


def answer_of(one: socket.socket) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer that a connection has."""
    answer = HTTPResponse(one)
    answer.begin()
    return answer.status, answer.headers, answer.read()


def test_those_who_read_an_archive_slowly_hold_no_more_of_it_than_a_piece(tmp_path: Path) -> None:
    blob = os.urandom(20 * MB)
    with daemon(tmp_path, "", {}) as hub:
        code = zipped({"app.py": VERSION.format(answer=1), "blob": blob})
        create(client(hub), "big", code)
        link = urlsplit(client(hub).get_function(FunctionName="big")["Code"]["Location"])
        before = resident(hub)
        head = f"GET {link.path}?{link.query} HTTP/1.1\nHost: {link.netloc}\n\n"
        with asking(hub, head, 20) as sockets:
            begun = [one.recv(4096) for one in sockets]
            assert all(f"content-length: {len(code)}".encode() in one for one in begun)
            assert resident(hub) - before < 60 * MB
            # who reads it has all of it, at the same time
            with urllib.request.urlopen(link.geturl(), timeout=20) as answer:
                assert answer.read() == code
            assert resident(hub) - before < 60 * MB


def unsigned(hub: Daemon, whose: Any, path: str, length: int) -> str:
    """The head of a request with the id of a key and no signature: that is not known before its body is there."""
    at = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{whose._request_signer._credentials.access_key}/{at[:8]}/us-east-1/lambda/aws4_request"
    signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    head = f"POST {path} HTTP/1.1\nHost: 127.0.0.1:{hub.admin}\nX-Amz-Date: {at}\nAuthorization: {signed}\n"
    return f"{head}Content-Length: {length}\n\n"


INVOKE, CREATE = "/2015-03-31/functions/hello/invocations", "/2015-03-31/functions"
ASYNC, UPDATE = "/2014-11-13/functions/hello/invoke-async", "/2015-03-31/functions/mine/code"
HELLO = {"hello.py": "def handler(event, context):\n    return {'answer': 1}\n"}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("crowded"), "", HELLO) as running:
        yield running


@pytest.fixture(scope="module")
def idle(crowded: Daemon) -> int:
    """How much memory the hub has before anybody asks for much: what it had it may keep for the next."""
    return resident(crowded)


@pytest.mark.parametrize("path", [INVOKE, ASYNC, CREATE])
def test_nothing_is_kept_of_what_a_key_may_not(crowded: Daemon, idle: int, path: str) -> None:
    viewer = made(crowded, f"viewer-{path[-6:].strip('/')}", role="viewer")
    with asking(crowded, unsigned(crowded, viewer, path, 6 * MB), 20, bytes(6 * MB - 1)) as sockets:
        assert resident(crowded) - idle < 40 * MB
        sockets[0].sendall(b"x")
        assert b"InvalidSignatureException" in sockets[0].recv(4096)


def test_who_may_not_is_told_so_whatever_he_sends(crowded: Daemon) -> None:
    admin = made(crowded, "admin", role="admin")
    create(admin, "mine", zipped({"app.py": VERSION.format(answer=1)}))
    one = keyed(crowded, "one", allow("GetFunction", "UpdateFunctionConfiguration"))
    code = {"ZipFile": bytes(2 * MB)}
    new = {"Runtime": "nodejs20.x", "Role": "arn:aws:iam::000000000000:role/any", "Handler": "a.b", "Code": code}
    for does, call, given in (
        ("InvokeFunction", one.invoke, {"FunctionName": "mine", "Payload": bytes(MB)}),
        ("InvokeAsync", one.invoke_async, {"FunctionName": "mine", "InvokeArgs": bytes(MB // 2)}),
        ("UpdateFunctionCode", one.update_function_code, {"FunctionName": "mine", **code}),
        ("PublishLayerVersion", one.publish_layer_version, {"LayerName": "l", "Content": code}),
        ("CreateFunction", one.create_function, {"FunctionName": "new", **new}),
    ):
        told = f"not authorized to perform: lambda:{does} .* no identity-based policy allows the lambda:{does} action"
        with pytest.raises(one.exceptions.ClientError, match=told):
            call(**given)
    noted = [row["text"] for row in crowded.api("GET", "/api/v1/changes") if row["status"] == 403]
    assert any("UpdateFunctionCode" in text for text in noted)
    # what he may he may, however large it is
    payload = b'"' + b"x" * (5 * MB) + b'"'
    user = keyed(crowded, "user", allow("InvokeFunction", "UpdateFunctionCode"))
    assert called(user, "mine", Payload=payload)["answer"] == 1
    data = zipped({"app.py": VERSION.format(answer=2), "blob": os.urandom(3 * MB)})
    user.update_function_code(FunctionName="mine", ZipFile=data)


def test_what_is_being_sent_has_so_much_room_together(crowded: Daemon, idle: int) -> None:
    caller, other = made(crowded, "caller", role="operator"), made(crowded, "other", role="operator")
    head = unsigned(crowded, caller, INVOKE, 6 * MB)
    with ExitStack() as stack:
        sockets = []
        for _ in range(60):
            with suppress(OSError):
                sockets += stack.enter_context(asking(crowded, head, 1, bytes(6 * MB - 1)))
        assert resident(crowded) - idle < 120 * MB, "a key has a quarter of it"
        assert called(caller, "hello") == {"answer": 1}, "small bodies have a place of their own"
        large = b'"' + b"x" * (5 * MB) + b'"'
        assert called(other, "hello", Payload=large) == {"answer": 1}, "and so have those of other keys"
        refused, _, _ = select.select(sockets, [], [], 20)
        status, headers, text = answer_of(refused[0])
        assert (status, headers["retry-after"]) == (429, "1")
        assert headers["x-amzn-errortype"] == "TooManyRequestsException"
        key = caller._request_signer._credentials.access_key
        bound = f"the bodies of access key {key} have 64 MB together, or one that is larger"
        assert bound in json.loads(text)["message"]
    assert called(caller, "hello", Payload=b'"' + b"x" * (5 * MB) + b'"') == {"answer": 1}


def test_one_token_leaves_room_for_others(crowded: Daemon, idle: int) -> None:
    asked = b'{"name": "%b", "role": "operator", "payloads": true}'
    given = [crowded.api("POST", "/api/v1/tokens", asked % name)["token"] for name in (b"much", b"more")]
    path, large = "/api/v1/functions/hello/invoke", b'"' + b"x" * (5 * MB) + b'"'
    head = f"POST {path} HTTP/1.1\nHost: 127.0.0.1:{crowded.admin}\nAuthorization: Bearer {given[0]}\n"
    with ExitStack() as stack:
        sockets = []
        for _ in range(60):
            with suppress(OSError):
                sockets += stack.enter_context(
                    asking(crowded, f"{head}Content-Length: {6 * MB}\n\n", 1, bytes(6 * MB - 1))
                )
        assert resident(crowded) - idle < 120 * MB
        url, headers = f"http://127.0.0.1:{crowded.admin}{path}", {"Authorization": f"Bearer {given[1]}"}
        with urllib.request.urlopen(urllib.request.Request(url, large, headers), timeout=20) as told:
            assert json.load(told) == {"answer": 1}
        refused, _, _ = select.select(sockets, [], [], 20)
        status, headers, text = answer_of(refused[0])
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(text)["error"]["code"] == "crowded"
        assert "the bodies of token much have 64 MB together" in json.loads(text)["error"]["message"]


def test_where_nobody_is_asked_this_machine_has_all_the_room(tmp_path: Path) -> None:
    body = b'"' + b"x" * (6 * MB - 2) + b'"'
    with daemon(tmp_path, "", HELLO) as hub:
        head = unsigned(hub, client(hub), INVOKE, len(body))
        with asking(hub, head, 14, body[:-1]) as sockets:
            for one in sockets:
                one.sendall(body[-1:])
            answers = [one.recv(4096) for one in sockets]
        assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 14


def test_of_two_archives_that_come_in_step_one_gets_through(crowded: Daemon) -> None:
    size = 44 * MB
    head = unsigned(crowded, made(crowded, "both", role="admin"), CREATE, size)
    with asking(crowded, head, 2) as sockets:
        for _ in range(size // MB - 1):
            answered, _, _ = select.select(sockets, [], [], 0)
            for one in sockets:
                if one not in answered:
                    one.sendall(bytes(MB))
        answered, _, _ = select.select(sockets, [], [], 20)
        assert [b"TooManyRequestsException" in one.recv(4096) for one in answered] == [True]
        (other,) = (one for one in sockets if one not in answered)
        other.sendall(bytes(MB))
        assert b"InvalidSignatureException" in other.recv(4096), "it was read to its end"
