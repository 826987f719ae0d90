"""Take what ``queue:NAME`` destinations and ``send`` put into a topic of the hub, in SQS's shape.

A topic has no process of its own: its messages are deliveries of this trigger from the moment that they
are sent. So ``run`` has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated
from uuid import uuid4

import anyio
from pydantic import Field

from triggerhub import settings, source
from triggerhub.aws import arn, sqs
from triggerhub.errors import BadInput
from triggerhub.model import Event, Json, Millis


class Options(source.Options):
    """What ``type = "queue"`` takes."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,80}$")]
    """The topic that ``queue:NAME`` destinations and ``send`` feed: letters, digits, dash, dot and underscore."""


async def run(ctx: source.Context, options: Options) -> None:
    """Sleep until cancelled: messages arrive through :func:`wrap`."""
    ctx.begun()
    await anyio.sleep_forever()


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Return the event of one message; each gets a message id of its own.

    BadInput for a body that is not UTF-8: SQS's bodies are text, and a handler could not tell a body that
    was encoded here from one that its sender encoded.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"a message of queue {options.name!r} must be UTF-8 text; byte {error.start} of {len(body)} is not",
            hint="Encode binary data before sending it, for instance with base64.",
        ) from None
    data = sqs.record(message_id=str(uuid4()), body=text, sent=now, queue_arn=arn.queue(options.name))
    return Event(data=data, time=now)


def envelope(records: Sequence[bytes]) -> bytes:
    """Return ``{"Records":[…]}``."""
    return sqs.envelope(records)


def retried(record: bytes, attempt: int) -> bytes:
    """Count the attempt in ``ApproximateReceiveCount``."""
    return sqs.received_again(record, attempt - 1)


def identifier(record: Json) -> str:
    """Return the message id, which names a record in ``batchItemFailures``."""
    message_id: str = record["messageId"]
    return message_id


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return one message of JSON and one of plain text."""
    bodies = {"json": b'{"orderId":"4711","total":25}', "text": b"hello"}
    return {name: wrap(options, trigger, body, now) for name, body in bodies.items()}


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find a key that no message can have."""
    for option in ("key", "order"):
        expression = getattr(trigger, option)
        if expression is not None and expression.startswith("header:"):
            yield source.Finding(
                option=option,
                code="no-headers",
                message=f"{expression!r} finds nothing: messages of a queue have no headers",
                hint='Name a field of the message instead, like "$.body.orderId".',
            )
