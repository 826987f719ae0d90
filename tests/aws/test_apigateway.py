"""Payload format 2.0, both ways."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws import apigateway
from triggerhub.aws.apigateway import JSON_TYPE, TEXT_TYPE, Malformed, Parts
from triggerhub.model import Crashed, Fault, Interrupted, Raised, Returned, TimedOut

TIME = 1_583_348_638_390
"""The moment of the example in the developer guide."""


def record(**given) -> dict:
    settings = {
        "api": "orders", "route": "/my/{thing}", "request_id": "id", "time": TIME, "method": "POST",
        "raw_path": "/my/path", "path": "/my/path", "query": "", "headers": [], "body": b"", "client": "192.0.2.1",
        "scheme": "https", "host": "id.execute-api.us-east-1.amazonaws.com", **given,
    }  # fmt: skip
    return json.loads(apigateway.request(**settings))


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        ("http", "localhost:8700", "8700"),
        ("http", "localhost", "80"),
        ("https", "[::1]", "443"),
        ("https", "[::1]:8700", "8700"),
    ],
)
def test_a_handler_learns_how_the_caller_reached_the_hub_and_not_what_he_says_of_it(scheme, host, port):
    told = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-port", "1"), ("x-forwarded-proto", "gopher")]
    assert record(scheme=scheme, host=host, headers=told)["headers"] == {
        "x-forwarded-for": "192.0.2.1", "x-forwarded-port": port, "x-forwarded-proto": scheme,
    }  # fmt: skip


def test_a_request_has_the_shape_of_the_developer_guide():
    made = record(
        query="parameter1=value1&parameter1=value2&parameter2=value",
        headers=[
            ("header1", "value1"), ("header2", "value1"), ("header2", "value2"), ("cookie", "cookie1=a; cookie2=b"),
            ("user-agent", "agent"), ("content-type", "application/json"),
        ],
        body=b'{"test": "body"}', params={"thing": "path"},
    )  # fmt: skip
    assert made == {
        "version": "2.0",
        "routeKey": "POST /my/{thing}",
        "rawPath": "/my/path",
        "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
        "cookies": ["cookie1=a", "cookie2=b"],
        "headers": {
            "header1": "value1", "header2": "value1,value2", "user-agent": "agent", "content-type": "application/json",
            "x-forwarded-for": "192.0.2.1", "x-forwarded-port": "443", "x-forwarded-proto": "https",
        },
        "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
        "pathParameters": {"thing": "path"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "orders",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "id",
            "http": {
                "method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "POST /my/{thing}",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": TIME,
        },
        "body": '{"test": "body"}',
        "isBase64Encoded": False,
    }  # fmt: skip


def test_what_is_not_there_is_absent():
    assert not {"cookies", "queryStringParameters", "pathParameters", "body"} & set(record())
    assert "queryStringParameters" not in record(query="&")


@pytest.mark.parametrize(
    ("content_type", "body", "encoded"),
    [
        ("application/json", b'{"a": "\xc3\xbc"}', False),
        ("application/json; charset=utf-8", b"{", False),
        ("application/cloudevents+json", b"{}", False),
        ("application/xml", b"<a/>", False),
        ("text/plain", b"a", False),
        ("TEXT/HTML", b"a", False),
        ("", b"a", False),
        ("application/json", b"\xff", True),
        ("", b"\xff\x00", True),
        ("application/octet-stream", b"a", True),
        ("multipart/form-data; boundary=x", b"--x--", True),
        ("application/x-www-form-urlencoded", b"a=b", True),
        ("application/jsonish", b"a", True),
    ],
)
def test_a_body_is_text_or_base64(content_type, body, encoded):
    made = record(headers=[("content-type", content_type)] if content_type else [], body=body)
    assert made["isBase64Encoded"] is encoded
    assert made["body"] == (base64.b64encode(body).decode() if encoded else body.decode())


@given(
    body=st.binary(min_size=1), path=st.text(st.characters(blacklist_categories=["Cs"])), value=st.text(st.characters(max_codepoint=255)),
    kind=st.sampled_from(["text/plain", "", "image/png"]),
)  # fmt: skip
def test_every_request_is_json_and_its_body_comes_back(body, path, value, kind):
    made = record(body=body, path=path, query=path, headers=[("x", value), ("content-type", kind)], client=value)
    back = base64.b64decode(made["body"]) if made["isBase64Encoded"] else made["body"].encode()
    assert back == body
    assert (made["requestContext"]["http"]["path"], made["headers"]["x"]) == (path, value)


@pytest.mark.parametrize(
    ("host", "name"), [("a.b:80", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("hub", "hub")]
)
def test_the_domain_has_no_port(host, name):
    assert record(host=host)["requestContext"]["domainName"] == name


@pytest.mark.parametrize(
    ("payload", "parts"),
    [
        pytest.param(b'{"message": "hi"}', Parts(200, (JSON_TYPE,), b'{"message": "hi"}'), id="an object"),
        pytest.param(b'"Hello"', Parts(200, (JSON_TYPE,), b"Hello"), id="a string"),
        pytest.param(b"null", Parts(200, (JSON_TYPE,), b"null"), id="nothing"),
        pytest.param(b"[1, 2.50]", Parts(200, (JSON_TYPE,), b"[1, 2.50]"), id="a list, as it came"),
        pytest.param(b'{"statusCode": 204}', Parts(204, (TEXT_TYPE,), b""), id="a bare status"),
        pytest.param(b'{"statusCode": "201", "body": "x"}', Parts(201, (TEXT_TYPE,), b"x"), id="a status in quotes"),
        pytest.param(
            b'{"statusCode": 200, "headers": {"Content-Type": "text/html", "x-n": 5, "x-b": true, "x-0": null},'
            b'"body": "\\u00fc", "cookies": ["a=1; Secure", "b=2"]}',
            Parts(
                200,
                (("Content-Type", "text/html"), ("x-n", "5"), ("x-b", "true"), ("set-cookie", "a=1; Secure"),
                 ("set-cookie", "b=2")),
                "ü".encode(),
            ),
            id="headers and cookies",
        ),
        pytest.param(
            b'{"statusCode": 200, "headers": {"content-type": "image/png"}, "body": "/wA=", "isBase64Encoded": true}',
            Parts(200, (("content-type", "image/png"),), b"\xff\x00"),
            id="binary",
        ),
        pytest.param(b'{"statusCode": 200, "body": "\\ud800"}', Parts(200, (TEXT_TYPE,), "\ufffd".encode()), id="a surrogate"),
        pytest.param(b'{"statusCode": 200, "body": "\\ud83d\\ude00"}', Parts(200, (TEXT_TYPE,), "😀".encode()), id="a pair"),
    ],
)  # fmt: skip
def test_an_answer_becomes_a_response(payload, parts):
    assert apigateway.response(payload) == parts


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"[" * 100_000, b"\xff", b'{"statusCode": null}', b'{"statusCode": 99}', b'{"statusCode": 100}',
        b'{"statusCode": 600}', b'{"statusCode": true}', b'{"statusCode": 200.5}', b'{"statusCode": "20x"}',
        b'{"statusCode": 200, "body": {"a": 1}}', b'{"statusCode": 200, "headers": ["a"]}',
        b'{"statusCode": 200, "headers": {"a": "b\\r\\nc: d"}}', b'{"statusCode": 200, "headers": {"a\\r\\nb": "c"}}',
        b'{"statusCode": 200, "headers": {"a": ["b"]}}', b'{"statusCode": 200, "headers": {"a": "\\u2603"}}',
        b'{"statusCode": 200, "headers": {"": "b"}}', b'{"statusCode": 200, "cookies": "a=1"}',
        b'{"statusCode": 200, "cookies": ["a=1\\n"]}', b'{"statusCode": 200, "cookies": [1]}',
        b'{"statusCode": 200, "body": "%%", "isBase64Encoded": true}',
        b'{"statusCode": 200, "body": "\\u2603", "isBase64Encoded": true}',
        b'{"statusCode": 200, "headers": {"a": "%b"}}' % (b"b" * 70_000),
        b'{"statusCode": 200, "cookies": [%b]}' % b",".join([b'"a=1"'] * 101),
    ],
)  # fmt: skip
def test_what_is_no_response_is_malformed(payload):
    with pytest.raises(Malformed):
        apigateway.response(payload)


FAULT = Fault(type="Runtime.ExitError", message="secret detail")
BUSY = Fault(type="TooManyRequestsException", message="Rate Exceeded.")


@pytest.mark.parametrize(
    ("outcome", "status", "retry"),
    [
        (Returned(payload=b"1"), 200, None),
        (Raised(fault=FAULT, payload=b"{}"), 502, None),
        (Crashed(fault=FAULT, payload=b"{}"), 502, None),
        (Crashed(fault=BUSY, payload=b"{}", throttled=True), 429, "1"),
        (Crashed(fault=BUSY, payload=b"{}"), 502, None),
        (Raised(fault=BUSY, payload=b"{}"), 502, None),
        (TimedOut(fault=FAULT, payload=b"{}"), 504, None),
        (Interrupted(), 503, "1"),
    ],
)
def test_each_outcome_has_its_status_and_keeps_the_inside_inside(outcome, status, retry):
    parts = apigateway.answer(outcome)
    assert (parts.status, dict(parts.headers).get("retry-after")) == (status, retry)
    assert b"secret" not in parts.body
    if status >= 400:
        assert json.loads(parts.body)["message"]


@pytest.mark.parametrize(
    ("begun", "status", "headers", "rest"),
    [
        (b'{"statusCode":201,"headers":{"x":"y"}}' + bytes(8) + b"rest", 201, {("x", "y"), ("content-type", "application/json")}, b"rest"),
        (b"{}" + bytes(8), 200, {("content-type", "application/json")}, b""),
        (b'{"headers":{"Content-Type":"text/html"},"cookies":["a=1"]}' + bytes(9), 200, {("Content-Type", "text/html"), ("set-cookie", "a=1")}, b"\0"),
        (b'{"body":"ignored"}' + bytes(8), 200, {("content-type", "application/json")}, b""),
    ],
)  # fmt: skip
def test_the_head_of_a_streamed_response(begun: bytes, status: int, headers: set[tuple[str, str]], rest: bytes) -> None:
    parts, left = apigateway.streamed(begun)
    assert (parts.status, set(parts.headers), parts.body, left) == (status, headers, b"", rest)


@pytest.mark.parametrize(
    "begun",
    [b"{}", b"[]" + bytes(8), b"{" + bytes(8), b'{"statusCode":"x"}' + bytes(8), b" " * 70_000 + b"{}" + bytes(8), bytes(8)],
)  # fmt: skip
def test_what_is_no_head_is_refused(begun: bytes) -> None:
    with pytest.raises(apigateway.Malformed):
        apigateway.streamed(begun)
