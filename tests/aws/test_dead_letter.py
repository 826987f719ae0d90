"""Where outcomes can be sent, and what a dead-letter target gets of one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws.destination import MESSAGE, dead_letter, place, record

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:dead"


@pytest.mark.parametrize(
    ("arn", "service", "region"),
    [
        (QUEUE, "sqs", "eu-central-1"),
        ("arn:aws:sns:us-gov-west-1:000000000000:a_b-1", "sns", "us-gov-west-1"),
        ("arn:aws-cn:sqs:cn-north-1:123456789012:q", "sqs", "cn-north-1"),
    ],
)
def test_queues_and_topics_can_be_sent_to(arn: str, service: str, region: str) -> None:
    found = place(arn)
    assert (found.arn, found.service, found.region) == (arn, service, region)


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        (f"{QUEUE}.fifo", "is FIFO"),
        ("arn:aws:lambda:eu-central-1:123456789012:function:f", "expected the ARN"),
        ("arn:aws:sqs::123456789012:q", "expected the ARN"),
        ("arn:aws:sqs:eu-central-1:123456789012:a b", "expected the ARN"),
        (f"{QUEUE}\n", "expected the ARN"),
        ("", "expected the ARN"),
    ],
)
def test_nothing_else_can(arn: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        place(arn)


def failure(payload: bytes, response: bytes | None) -> bytes:
    return record(
        condition="RetriesExhausted",
        request_id="id",
        function_arn="arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
        count=3,
        payload=payload,
        executed_version="$LATEST",
        response=response,
        error=True,
        timestamp=0,
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(',"requestPayload":{'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, VALUES, st.booleans(), st.sampled_from(["", " ", "\n "]))
def test_the_event_is_found_in_the_record_byte_for_byte(event: Any, answer: Any, plain: bool, space: str) -> None:
    payload = f"{space}{json.dumps(event, ensure_ascii=plain)}{space}".encode("utf-8", "backslashreplace")
    body, attributes = dead_letter(failure(payload, json.dumps(answer).encode()))
    assert body == payload.decode()
    assert attributes["RequestID"] == {"DataType": "String", "StringValue": "id"}
    assert attributes["ErrorCode"] == {"DataType": "Number", "StringValue": "200"}


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (b'{"errorMessage": "no"}', "no"),
        (b'{"errorMessage": ""}', None),
        (b'{"errorMessage": 7}', None),
        (b'"x"', None),
        (json.dumps({"errorMessage": "ü" * MESSAGE}).encode(), "ü" * (MESSAGE // 2)),
        (b'{"errorMessage": "\\ud800"}', "?"),
    ],
)
def test_what_is_told_of_the_error(response: bytes, said: str | None) -> None:
    _, attributes = dead_letter(failure(b"{}", response))
    assert attributes.get("ErrorMessage", {}).get("StringValue") == said


def test_of_what_never_ran_there_is_no_error() -> None:
    assert set(dead_letter(failure(b"{}", None))[1]) == {"RequestID"}
