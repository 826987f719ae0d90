"""The shape of SQS records, against the example of the Lambda Developer Guide."""

from __future__ import annotations

import json

import pytest

from triggerhub.aws import arn, sqs
from triggerhub.aws.records import records

DOCUMENTED = {
    "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
    "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
    "body": "Test message.",
    "attributes": {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": "1545082649183",
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": "1545082649185",
    },
    "messageAttributes": {
        "myAttribute": {
            "stringValue": "myValue",
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": "String",
        }
    },
    "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
    "awsRegion": "us-east-2",
}


def test_a_record_is_what_aws_documents_key_by_key_in_order() -> None:
    made = sqs.record(
        message_id="059f36b4-87a3-44ab-83d2-661975830a7d",
        receipt_handle="AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        body="Test message.",
        sent=1545082649183,
        received=1545082649185,
        sender="AIDAIENQZJOLO23YVJ4VO",
        queue_arn="arn:aws:sqs:us-east-2:123456789012:my-queue",
        message_attributes=DOCUMENTED["messageAttributes"],
    )
    assert made.decode() == json.dumps(DOCUMENTED, separators=(",", ":"))


def test_what_a_record_says_by_itself() -> None:
    made = json.loads(sqs.record(message_id="m1", body="ü", sent=5, queue_arn=arn.queue("jobs")))
    assert made["receiptHandle"] == "m1"
    assert made["body"] == "ü"
    assert made["md5OfBody"] == "c03410a5204b21cd8229ff754688d743"
    assert made["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:jobs"
    assert made["awsRegion"] == "us-east-1"
    assert made["messageAttributes"] == {}
    assert made["attributes"] == {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": "5",
        "SenderId": "000000000000",
        "ApproximateFirstReceiveTimestamp": "5",
    }


def test_attributes_are_added_and_win() -> None:
    made = json.loads(
        sqs.record(
            message_id="m1",
            body="",
            sent=5,
            queue_arn=arn.queue("jobs.fifo"),
            receive_count=3,
            attributes={"MessageGroupId": "g", "SenderId": "me"},
        )
    )
    assert made["attributes"]["MessageGroupId"] == "g"
    assert made["attributes"]["SenderId"] == "me"
    assert made["attributes"]["ApproximateReceiveCount"] == "3"


def test_half_a_surrogate_pair_in_a_body_is_passed_on() -> None:
    made = sqs.record(message_id="m1", body="\ud800", sent=5, queue_arn=arn.queue("jobs"))
    assert json.loads(made)["body"] == "\ud800"


def test_an_envelope_holds_the_records_byte_for_byte() -> None:
    assert sqs.envelope([b'{"a": 1}', b'{"b":\t2}']) == b'{"Records":[{"a": 1},{"b":\t2}]}'
    assert records([b"1"]) == b'{"Records":[1]}'
    assert records([]) == b'{"Records":[]}'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("orders", sqs.Address(name="orders")),
        ("orders.fifo", sqs.Address(name="orders.fifo")),
        (
            "arn:aws:sqs:eu-central-1:123456789012:orders",
            sqs.Address(name="orders", region="eu-central-1", account="123456789012"),
        ),
        (
            "https://sqs.eu-central-1.amazonaws.com/123456789012/orders",
            sqs.Address(
                name="orders",
                url="https://sqs.eu-central-1.amazonaws.com/123456789012/orders",
                region="eu-central-1",
                account="123456789012",
            ),
        ),
        (
            "https://eu-west-1.queue.amazonaws.com/1/q",
            sqs.Address(name="q", url="https://eu-west-1.queue.amazonaws.com/1/q", region="eu-west-1", account="1"),
        ),
        (
            "https://vpce-0a1b-2c3d.sqs.eu-west-3.vpce.amazonaws.com/123456789012/q",
            sqs.Address(
                name="q",
                url="https://vpce-0a1b-2c3d.sqs.eu-west-3.vpce.amazonaws.com/123456789012/q",
                region="eu-west-3",
                account="123456789012",
                endpoint="https://vpce-0a1b-2c3d.sqs.eu-west-3.vpce.amazonaws.com",
            ),
        ),
        (
            "http://localhost:4566/000000000000/q",
            sqs.Address(
                name="q",
                url="http://localhost:4566/000000000000/q",
                account="000000000000",
                endpoint="http://localhost:4566",
            ),
        ),
    ],
)
def test_a_queue_is_named_in_three_ways(written: str, expected: sqs.Address) -> None:
    assert sqs.address(written) == expected
    assert sqs.address("q.fifo").fifo
    assert not sqs.address("q").fifo


@pytest.mark.parametrize(
    "written", ["", "a b", "a" * 81, "arn:aws:s3:::bucket", "arn:", "ftp://host/q", "http:///q", "x.fifo.fifo"]
)
def test_what_is_no_queue(written: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is no queue's name"):
        sqs.address(written)


@pytest.mark.parametrize("body", ["x", json.dumps({"attributes": {"ApproximateReceiveCount": "7"}})])
def test_a_record_that_is_received_again_counts_it_and_is_the_same_otherwise(body: str) -> None:
    made = sqs.record(message_id="m1", body=body, sent=5, queue_arn=arn.queue("jobs"), receive_count=9)
    again = json.loads(sqs.received_again(made, 2))
    assert again["attributes"].pop("ApproximateReceiveCount") == "11"
    before = json.loads(made)
    assert before["attributes"].pop("ApproximateReceiveCount") == "9"
    assert again == before
