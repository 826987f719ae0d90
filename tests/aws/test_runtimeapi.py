"""The Runtime API's requests, and the answers that official clients read."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws.runtimeapi import Ask, Call, Refusal, described, integrated, next_head, route, torn
from triggerhub.model import Invocation

BASE = "/2018-06-01/runtime"


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("GET", f"{BASE}/invocation/next", Call(Ask.NEXT)),
        ("GET", f"{BASE}/invocation/next?x=1", Call(Ask.NEXT)),
        ("POST", f"{BASE}/init/error", Call(Ask.INIT_ERROR)),
        ("POST", f"{BASE}/invocation/a-1/response", Call(Ask.RESPONSE, "a-1")),
        ("POST", f"{BASE}/invocation/a-1/error", Call(Ask.ERROR, "a-1")),
    ],
)
def test_requests(method: str, target: str, call: Call) -> None:
    assert route(method, target) == call


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", f"{BASE}/invocation/next", 405),
        ("GET", f"{BASE}/invocation/a-1/response", 405),
        ("GET", f"{BASE}/restore/next", 404),
        ("GET", "/", 404),
        ("POST", f"{BASE}/invocation/a/b/response", 404),
    ],
)
def test_refusals(method: str, target: str, status: int) -> None:
    refusal = route(method, target)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert json.loads(refusal.body).keys() == {"errorType", "errorMessage"}


@given(st.text(), st.text())
def test_whatever_is_asked_has_an_answer(method: str, target: str) -> None:
    assert isinstance(route(method, f"{BASE}{target}"), Call | Refusal)


@pytest.mark.parametrize(
    ("headers", "body", "kind", "message"),
    [
        ({}, b'{"errorType": "A", "errorMessage": "b"}', "A", "b"),
        ({"lambda-runtime-function-error-type": "H"}, b'{"errorMessage": "b"}', "H", "b"),
        ({"lambda-runtime-function-error-type": "H"}, b"plain", "H", "plain"),
        ({}, b"", "Runtime.Unknown", ""),
        ({}, b"[1]", "Runtime.Unknown", "[1]"),
        ({}, b'{"errorType": 7, "errorMessage": "\\ud800"}', "7", "?"),
    ],
)
def test_an_error_is_what_its_object_says_or_else_its_header(
    headers: dict[str, str], body: bytes, kind: str, message: str
) -> None:
    fault, payload = described(headers, body)
    assert (fault.type, fault.message) == (kind, message)
    assert "errorMessage" in json.loads(payload)


@given(st.binary(), st.text())
def test_whatever_was_posted_as_an_error_is_an_object(body: bytes, kind: str) -> None:
    fault, payload = described({"lambda-runtime-function-error-type": kind}, body)
    assert isinstance(json.loads(payload), dict)
    f"{fault.type}{fault.message}".encode()


def test_of_an_error_so_much_is_kept_as_a_line_has() -> None:
    body = json.dumps({"errorType": "A" * 5_000_000, "errorMessage": "m" * 900_000}).encode()
    fault, payload = described({}, body)
    assert (fault.type, fault.message) == ("A" * 255 + "…", "m" * 4095 + "…")
    assert payload == body
    fault, payload = described({"lambda-runtime-function-error-type": "B" * 300}, b"no object" * 500_000)
    assert (fault.type, len(fault.message)) == ("B" * 255 + "…", 4096)
    assert len(payload) < 10_000


def test_an_error_with_more_in_it_than_anybody_reads_is_its_text() -> None:
    body = b'{"errorType": "A", "all": [' + b"{}," * 100_000 + b"{}]}"
    fault, payload = described({"lambda-runtime-function-error-type": "B"}, body)
    assert fault.type == "B"
    assert fault.message.startswith('{"errorType": "A", "all": [{},')
    assert json.loads(payload)["errorType"] == "B"


def test_a_prelude_that_no_client_would_take_is_none() -> None:
    body = b'{"headers": {"a": "' + b"b" * 65_536 + b'"}}' + bytes(8) + b"made"
    assert integrated(body) == body


def test_the_trailers_of_a_stream_that_ended_badly() -> None:
    body = base64.b64encode(b'{"errorType": "A", "errorMessage": "b"}').decode()
    told = {"lambda-runtime-function-error-type": "A", "lambda-runtime-function-error-body": body}
    assert torn({}) is None
    found = torn(told)
    assert found is not None
    assert found[0].message == "b"
    broken = torn({**told, "lambda-runtime-function-error-body": "no base64"})
    assert broken is not None
    assert broken[0].type == "A"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            b'{"statusCode": 201, "cookies": ["a=b"]}' + bytes(8) + b"made",
            {"statusCode": 201, "cookies": ["a=b"], "body": "made", "isBase64Encoded": False},
        ),
        (b"{}" + bytes(8) + b"\xff", {"statusCode": 200, "body": "/w==", "isBase64Encoded": True}),
    ],
)
def test_a_streamed_http_response_is_one_object(body: bytes, answer: object) -> None:
    assert json.loads(integrated(body)) == answer


@given(st.binary())
def test_a_stream_without_a_prelude_is_itself(body: bytes) -> None:
    assert integrated(body) == body or b"\0" * 8 in body


@given(st.text(), st.text())
def test_no_header_holds_a_line_of_its_own(trace: str, client: str) -> None:
    invocation = Invocation(
        request_id="r", function="f", payload=b"", deadline=1, arn="a", trace=trace, client_context=client
    )
    lines = [f"{name}: {value}" for name, value in next_head(invocation)]
    assert all(line.isprintable() and line.isascii() for line in lines)
