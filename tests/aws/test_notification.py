"""S3's records are found in what the bucket, SNS and EventBridge send to a queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triggerhub.aws import notification, s3

RECORD = json.loads(
    s3.record(
        bucket="b", key="a b/ü.txt", event_name=s3.CREATED, time=1_767_225_600_123, sequencer="00AB", size=3, etag="e"
    )
)
DIRECT = json.dumps({"Records": [RECORD]})
BRIDGED: dict[str, Any] = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "time": "2021-11-12T00:00:00Z",
    "region": "ca-central-1",
    "resources": ["arn:aws:s3:::amzn-s3-demo-bucket1"],
    "detail": {
        "version": "0",
        "bucket": {"name": "amzn-s3-demo-bucket1"},
        "object": {
            "key": "example key+ü",
            "size": 5,
            "etag": "b1946ac92492d2347c6235b4d2611184",
            "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "sequencer": "617f08299329d189",
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "source-ip-address": "1.2.3.4",
        "reason": "PutObject",
    },
}
"""The example of "EventBridge event message structure" in the Amazon S3 User Guide, with another key."""


def test_the_bucket_itself() -> None:
    assert notification.records(DIRECT) == [RECORD]


def test_sns_and_sns_within_sns() -> None:
    once = json.dumps({"Type": "Notification", "Message": DIRECT})
    assert notification.records(once) == [RECORD]
    assert notification.records(json.dumps({"Type": "Notification", "Message": once})) == [RECORD]


def test_eventbridge() -> None:
    (record,) = notification.records(json.dumps(BRIDGED))
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["awsRegion"] == "ca-central-1"
    assert record["eventTime"] == "2021-11-12T00:00:00.000Z"
    assert record["requestParameters"]["sourceIPAddress"] == "1.2.3.4"
    assert record["s3"]["bucket"]["name"] == "amzn-s3-demo-bucket1"
    assert record["s3"]["object"] == {
        "key": "example+key%2B%C3%BC",
        "size": 5,
        "eTag": "b1946ac92492d2347c6235b4d2611184",
        "sequencer": "617f08299329d189",
        "versionId": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
    }


@pytest.mark.parametrize(
    ("kind", "detail", "name"),
    [
        ("Object Created", {"reason": "CompleteMultipartUpload"}, "ObjectCreated:CompleteMultipartUpload"),
        ("Object Created", {}, "ObjectCreated:Put"),
        ("Object Deleted", {"reason": "DeleteObject", "deletion-type": "Permanently Deleted"}, "ObjectRemoved:Delete"),
        (
            "Object Deleted",
            {"reason": "DeleteObject", "deletion-type": "Delete Marker Created"},
            "ObjectRemoved:DeleteMarkerCreated",
        ),
        ("Object Deleted", {"reason": "Lifecycle Expiration"}, "LifecycleExpiration:Delete"),
        ("Object Tags Added", {}, "ObjectTagsAdded"),
    ],
)
def test_eventbridges_words(kind: str, detail: dict[str, str], name: str) -> None:
    told = {**BRIDGED, "detail-type": kind, "detail": {**BRIDGED["detail"], "reason": "", **detail}}
    assert notification.records(json.dumps(told))[0]["eventName"] == name


def test_a_test_event_has_none() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-01T00:00:00.000Z", "Bucket": "b"}
    assert notification.records(json.dumps(event)) == []
    assert notification.records(json.dumps({"Type": "Notification", "Message": json.dumps(event)})) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("hello", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "neither from SNS nor from EventBridge"),
        ('{"Records": [{}]}', "a record has no"),
        ('{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": "k"}}}]}', "a record has no"),
        ('{"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "\\ud800"}}}]}', "not valid Unicode"),
        (
            '{"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "k", "sequencer": "\\udfff"}}}]}',
            "not valid",
        ),
        (
            '{"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "object": {"key": "\\ud800"}}}',
            "not valid Unicode",
        ),
        ('{"source": "aws.s3", "detail": {}}', "its detail has no"),
        ('{"Message": {"Message": {"Message": {"Message": {"Message": {}}}}}}', "too many envelopes"),
    ],
)
def test_what_is_none(body: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        notification.records(body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ObjectCreated:Put", "created"),
        ("s3:ObjectCreated:Copy", "created"),
        ("ObjectRemoved:DeleteMarkerCreated", "deleted"),
        ("LifecycleExpiration:Delete", "deleted"),
        ("ObjectTagging:Put", "other"),
    ],
)
def test_what_a_name_tells(name: str, change: str) -> None:
    assert notification.change(name) == change
