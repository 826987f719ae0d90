"""S3's notification, field by field."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_plus

from hypothesis import given
from hypothesis import strategies as st

from triggerhub.aws import s3

PUT = {
    "bucket": "uploads", "key": "b+c/happy face.jpg", "event_name": s3.CREATED, "time": 1_767_225_600_123,
    "sequencer": s3.sequencer(0x55AED6DCD90281E5), "path": "/srv/uploads/b+c/happy face.jpg",
    "size": 1024, "etag": "d41d8cd98f00b204e9800998ecf8427e",
}  # fmt: skip


def test_a_put_has_the_documented_shape() -> None:
    assert json.loads(s3.record(**PUT, change="created")) == {
        "eventVersion": "2.5",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T00:00:00.123Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "triggerhub"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "55AED6DCD90281E5", "x-amz-id-2": "55AED6DCD90281E5"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {
                "name": "uploads",
                "ownerIdentity": {"principalId": "triggerhub"},
                "arn": "arn:aws:s3:::uploads",
            },
            "object": {
                "key": "b%2Bc/happy+face.jpg",
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "sequencer": "55AED6DCD90281E5",
            },
        },
        "triggerhub": {"path": "/srv/uploads/b+c/happy face.jpg", "change": "created"},
    }


def test_a_removal_has_neither_size_nor_tag() -> None:
    record = json.loads(s3.record(**{**PUT, "event_name": s3.REMOVED}))
    assert record["eventName"] == "ObjectRemoved:Delete"
    assert set(record["s3"]["object"]) == {"key", "sequencer"}


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_handlers_that_unquote_the_key_get_the_path_back(key: str) -> None:
    record = json.loads(s3.record(**{**PUT, "key": key, "path": f"/{key}"}))
    encoded = record["s3"]["object"]["key"]
    assert re.fullmatch(r"[A-Za-z0-9_.~/%+-]*", encoded)
    assert unquote_plus(encoded) == key
    assert s3.decode_key(encoded) == key
    assert record["triggerhub"]["path"] == f"/{key}"


@given(st.binary(max_size=20))
def test_names_that_are_not_utf_8_survive(raw: bytes) -> None:
    key = raw.decode("utf-8", "surrogateescape")
    record = json.loads(s3.record(**{**PUT, "key": key, "path": f"/{key}"}))
    assert s3.decode_key(record["s3"]["object"]["key"]) == key
    assert record["triggerhub"]["path"].encode("utf-8", "surrogateescape") == b"/" + raw


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_sequencers_sort_as_their_numbers(one: int, two: int) -> None:
    assert (s3.sequencer(one) < s3.sequencer(two)) == (one < two)


def test_a_tag_of_what_was_not_read_counts_parts_and_follows_the_version() -> None:
    size = 20 * 1024 * 1024
    tag = s3.multipart_etag("one", size)
    assert re.fullmatch(r"[0-9a-f]{32}-3", tag)
    assert tag != s3.multipart_etag("two", size)
    assert s3.multipart_etag("one", 0).endswith("-1")
