"""Shape messages as an SQS event source mapping hands them to a function.

Field by field after the example event in "Using Lambda with Amazon SQS" of the Lambda Developer Guide.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from triggerhub.aws.arn import ACCOUNT
from triggerhub.aws.records import records
from triggerhub.model import Json, Millis


def record(
    *,
    message_id: str,
    body: str,
    sent: Millis,
    queue_arn: str,
    receipt_handle: str | None = None,
    received: Millis | None = None,
    receive_count: int = 1,
    sender: str = ACCOUNT,
    attributes: Mapping[str, str] | None = None,
    message_attributes: Mapping[str, Json] | None = None,
    md5_of_attributes: str | None = None,
    md5_of_body: str | None = None,
) -> bytes:
    """Return one record as JSON, ASCII only.

    *received* is when it was first received, *sent* unless told. *attributes* are added to the four that
    every message has, and win over them. *message_attributes* are in Lambda's shape (``stringValue``,
    ``dataType`` …). The region is the ARN's. Without a receipt handle (nothing here needs one to delete
    a message) the message's id stands in its place.
    """
    system = {
        "ApproximateReceiveCount": str(receive_count),
        "SentTimestamp": str(sent),
        "SenderId": sender,
        "ApproximateFirstReceiveTimestamp": str(sent if received is None else received),
        **(attributes or {}),
    }
    md5 = md5_of_body or hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    # An emulator may have numbers here, Lambda has text.
    told = ",".join([f"{_quoted(name)}:{_quoted(str(value))}" for name, value in system.items()])
    shown = f'"md5OfMessageAttributes":{_quoted(md5_of_attributes)},' if md5_of_attributes else ""
    # Written out: it is done for every message, and a dictionary of it all costs three times as much.
    return (
        f'{{"messageId":{_quoted(message_id)},"receiptHandle":{_quoted(receipt_handle or message_id)},'
        f'"body":{_quoted(body)},"attributes":{{{told}}},'
        f'"messageAttributes":{_json(message_attributes) if message_attributes else "{}"},{shown}'
        f'"md5OfBody":{_quoted(md5)},"eventSource":"aws:sqs","eventSourceARN":{_quoted(queue_arn)},'
        f'"awsRegion":{_quoted(queue_arn.split(":")[3])}}}'
    ).encode("ascii")


_quoted = json.encoder.encode_basestring_ascii
_json = json.JSONEncoder(separators=(",", ":")).encode


def received(message: Mapping[str, Any], queue_arn: str) -> bytes:
    """Return the record of a message as ReceiveMessage answers it, all its attributes asked for.

    A binary value is bytes, or base64 as it is sent.
    """
    attributes: dict[str, str] = message.get("Attributes", {})
    sent = int(attributes.get("SentTimestamp", 0))
    return record(
        message_id=message["MessageId"],
        body=message["Body"],
        sent=sent,
        queue_arn=queue_arn,
        receipt_handle=message["ReceiptHandle"],
        attributes=attributes,
        message_attributes={name: _attribute(one) for name, one in message.get("MessageAttributes", {}).items()},
        md5_of_attributes=message.get("MD5OfMessageAttributes"),
        md5_of_body=message.get("MD5OfBody"),
    )


def received_again(record: bytes, times: int) -> bytes:
    """Return a record as it is when its message was received so many *times* more."""
    return _COUNT.sub(lambda found: b"%s%d" % (found[1], int(found[2]) + times), record, count=1)


# Within a text, such as the body, there are backslashes before its quotes.
_COUNT = re.compile(rb'("ApproximateReceiveCount":\s*")(\d{1,9})')


def _attribute(given: Mapping[str, Any]) -> Json:
    shown: dict[str, Json] = {}
    if "StringValue" in given:
        shown["stringValue"] = given["StringValue"]
    if (value := given.get("BinaryValue")) is not None:
        shown["binaryValue"] = value if isinstance(value, str) else base64.b64encode(value).decode("ascii")
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": given["DataType"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A queue as people name it: by URL, by ARN, or by its name alone."""

    name: str
    url: str | None = None
    region: str | None = None
    account: str | None = None
    endpoint: str | None = None
    """Where a URL leads that is not AWS's own for the region."""

    @property
    def fifo(self) -> bool:
        """Whether its messages have an order."""
        return self.name.endswith(".fifo")


def address(written: str) -> Address:
    """Read a queue's URL, ARN or name. ValueError says what is wrong with it."""
    if written.startswith("arn:"):
        parts = written.split(":")
        if len(parts) != 6 or parts[2] != "sqs":
            kind = f"one of {parts[2]}" if len(parts) > 2 and parts[2] else "another"
            raise ValueError(f"expected the ARN of an SQS queue (arn:aws:sqs:REGION:ACCOUNT:NAME), got {kind}")
        return Address(name=_named(parts[5]), region=parts[3] or None, account=parts[4] or None)
    if "://" not in written:
        return Address(name=_named(written))
    split = urlsplit(written)
    place = [part for part in split.path.split("/") if part]
    if split.scheme not in ("http", "https") or not split.hostname or not place:
        raise ValueError("expected a queue's URL like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
    name, account = _named(place[-1]), place[-2] if len(place) > 1 else None
    usual, private = _HOST.fullmatch(split.hostname), _PRIVATE.fullmatch(split.hostname)
    region = private[1] if private else usual and (usual[1] or usual[2] or "us-east-1")
    endpoint = f"{split.scheme}://{split.netloc}" if private or not split.hostname.endswith(_AWS) else None
    return Address(name=name, url=written, account=account, endpoint=endpoint, region=region)


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is no queue's name: letters, digits, - and _, at most 80, and .fifo at the end"
        )
    return name


_AWS = (".amazonaws.com", ".amazonaws.com.cn")
_HOST = re.compile(
    r"sqs(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?|(?:([a-z0-9-]+)\.)?queue\.amazonaws\.com(?:\.cn)?"
)
_PRIVATE = re.compile(r"vpce-[a-z0-9-]+\.sqs(?:-fips)?\.([a-z0-9-]+)\.vpce\.amazonaws\.com(?:\.cn)?")
"""An endpoint in a VPC by its own name."""
_NAME = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")


def envelope(messages: Sequence[bytes]) -> bytes:
    """Return the event that holds these records, spliced and not parsed."""
    return records(messages)
