"""Shape what happened to a file as Amazon S3 tells of an object.

Field by field after "Event message structure" of the Amazon S3 User Guide, version 2.5: a trigger
stands for the bucket, the path below its folder for the key. Pure; times and tags are arguments.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import quote_plus, unquote_to_bytes

from triggerhub.model import Millis

EVENT_VERSION = "2.5"
CREATED = "ObjectCreated:Put"
REMOVED = "ObjectRemoved:Delete"
REGION = "us-east-1"
"""The region of an event that no region made; what AWS's own tools assume where none is set."""
PRINCIPAL = "triggerhub"
PART = 8 * 1024 * 1024
"""The part size that the tag of a large object is written for, as AWS's tools upload by default."""


def record(
    *,
    bucket: str,
    key: str,
    event_name: str,
    time: Millis,
    sequencer: str,
    path: str | None = None,
    size: int | None = None,
    etag: str | None = None,
    change: str | None = None,
    region: str = REGION,
) -> bytes:
    """Return one record of an S3 notification as JSON, ASCII only.

    *key* is the plain key, encoded here as S3 does; bytes that are not UTF-8 are surrogate escapes, in
    *key* and in *path* (absolute; the record's ``triggerhub.path``, where the object is a file). A removal has
    neither size nor tag.
    *change* becomes ``triggerhub.change``: S3 itself has one event for an object put anew and put again.
    """
    thing: dict[str, object] = {"key": encode_key(key)}
    if event_name != REMOVED:
        thing |= {"size": size, "eTag": etag}
    thing["sequencer"] = sequencer
    own = {name: value for name, value in (("path", path), ("change", change)) if value is not None}
    return json.dumps(
        {
            "eventVersion": EVENT_VERSION,
            "eventSource": "aws:s3",
            "awsRegion": region,
            "eventTime": _moment(time),
            "eventName": event_name,
            "userIdentity": {"principalId": PRINCIPAL},
            "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {"x-amz-request-id": sequencer, "x-amz-id-2": sequencer},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": bucket,
                "bucket": {
                    "name": bucket,
                    "ownerIdentity": {"principalId": PRINCIPAL},
                    "arn": f"arn:aws:s3:::{bucket}",
                },
                "object": thing,
            },
            **({"triggerhub": own} if own else {}),
        },
        separators=(",", ":"),
    ).encode("ascii")


def encode_key(key: str) -> str:
    """Return a key as notifications carry it: form-encoded, blank as ``+``, slashes left alone."""
    return quote_plus(key, safe="/", errors="surrogateescape")


def decode_key(encoded: str) -> str:
    """Return the plain key of a notification's; what handlers do with ``unquote_plus``."""
    return unquote_to_bytes(encoded.replace("+", " ")).decode("utf-8", "surrogateescape")


def sequencer(number: int) -> str:
    """Return a number as a sequencer: hex of one length, so that text order is number order."""
    return f"{number:016X}"


def multipart_etag(version: str, size: int) -> str:
    """Return a tag for content that was not read: like the tag of a multipart upload, it is no MD5 of
    the content (the dash says so) and differs whenever *version* does."""
    parts = max(1, -(-size // PART))
    return f"{hashlib.md5(version.encode(), usedforsecurity=False).hexdigest()}-{parts}"


def _moment(time: Millis) -> str:
    stamp = datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
