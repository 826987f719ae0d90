"""The record that destinations receive, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws import destination

TIMESTAMP = 1573755365568


def record(**changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "condition": "RetriesExhausted",
        "request_id": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
        "function_arn": "arn:aws:lambda:us-east-2:123456789012:function:my-function:$LATEST",
        "count": 3,
        "payload": b'{"ORDER_IDS": ["9e07af03-ce31-4ff3-xmpl-36dce652cb4f"]}',
        "executed_version": "$LATEST",
        "response": b'{"errorMessage":"RequestId: e4b46cbf Process exited before completing request"}',
        "error": True,
        "timestamp": TIMESTAMP,
    }
    return destination.record(**(facts | changes))


def test_a_failure_is_what_aws_sends() -> None:
    assert record() == (
        b'{"version":"1.0","timestamp":"2019-11-14T18:16:05.568Z",'
        b'"requestContext":{"requestId":"e4b46cbf-b738-xmpl-8880-a18cdf61200e",'
        b'"functionArn":"arn:aws:lambda:us-east-2:123456789012:function:my-function:$LATEST",'
        b'"condition":"RetriesExhausted","approximateInvokeCount":3},'
        b'"requestPayload":{"ORDER_IDS": ["9e07af03-ce31-4ff3-xmpl-36dce652cb4f"]},'
        b'"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},'
        b'"responsePayload":{"errorMessage":"RequestId: e4b46cbf Process exited before completing request"}}'
    )


def test_a_success_has_no_function_error() -> None:
    made = json.loads(record(condition="Success", count=1, response=b"null", error=False))
    assert made["requestContext"]["condition"] == "Success"
    assert made["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert made["responsePayload"] is None


def test_what_never_ran_has_no_response() -> None:
    made = json.loads(record(condition="ZeroReservedConcurrency", count=0, response=None))
    assert list(made) == ["version", "timestamp", "requestContext", "requestPayload"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a":12345678901234567890123}', b'{"a":12345678901234567890123}'),
        (b'{ "a" : "\\ud800", "a": 1e400 }', b'{ "a" : "\\ud800", "a": 1e400 }'),
        ('{"a":"ü"}'.encode(), '{"a":"ü"}'.encode()),
        (b"plain text", b'"plain text"'),
        (b'{"a": NaN, "b": -Infinity}', b'"{\\"a\\": NaN, \\"b\\": -Infinity}"'),
        (b"9" * 5000, b'"' + b"9" * 5000 + b'"'),
        (b"\xff", b'"\\ufffd"'),
        ('{"a":1}'.encode("utf-16"), None),
        (b"", b"null"),
        (b"1}, {", b'"1}, {"'),
    ],
)
def test_payloads_are_spliced_untouched_and_what_is_not_json_becomes_a_string(
    payload: bytes, expected: bytes | None
) -> None:
    made = record(payload=payload, response=payload)
    parsed = json.loads(made, parse_constant=pytest.fail)
    if expected is None:
        assert isinstance(parsed["requestPayload"], str)
        return
    assert b',"requestPayload":' + expected + b',"responseContext"' in made
    assert made.endswith(b',"responsePayload":' + expected + b"}")


def test_nesting_of_ten_thousand_becomes_a_string() -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    assert json.loads(record(payload=deep))["requestPayload"] == deep.decode()


@given(payload=st.binary(max_size=40), response=st.none() | st.binary(max_size=40))
def test_the_record_is_json_whatever_the_payloads_are(payload: bytes, response: bytes | None) -> None:
    made = json.loads(record(payload=payload, response=response))
    assert ("responsePayload" in made) is (response is not None)
