"""Receive from an Amazon SQS queue, or from whatever speaks its protocol.

With ``ack = "stored"`` a message is deleted once it is the hub's; with ``"handled"`` once its function is done with it,
as a Lambda event source mapping does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from triggerhub import awsclient, awsqueue, settings, source
from triggerhub.aws import arn
from triggerhub.aws import sqs as shape
from triggerhub.awsconsumer import Queue
from triggerhub.awsreceipt import REQUEST
from triggerhub.errors import BadInput
from triggerhub.model import Event, Json, Millis
from triggerhub.settings import SECOND

acks = ("stored", "handled")
batch_size = 10


class Options(awsclient.Options):
    """What ``type = "sqs"`` takes."""

    queue: awsqueue.Name
    """The queue's URL, ARN or name."""
    wait: awsqueue.Wait = awsqueue.WAIT
    """How long a request waits at an empty queue; a stop of the hub waits for it."""
    visibility: awsqueue.Visibility | None = None
    """How long a received message is hidden unless that is renewed; the queue's own, at least 30s, where absent."""


async def run(ctx: source.Context, options: Options) -> None:
    """Receive until cancelled."""
    await awsqueue.consume(ctx, options, options.queue, events_of, wait=options.wait, visibility=options.visibility)


async def probe(ctx: source.Context, options: Options) -> str:
    """Ask for the queue, and for what is needed of it. Raises AwsFault."""
    return await awsqueue.tried(ctx, options, options.queue)


def events_of(message: Mapping[str, Any], queue: Queue) -> Sequence[Event]:
    """Return the one event that a message is."""
    attributes: Mapping[str, str] = message.get("Attributes", {})
    return [
        Event(
            data=shape.received(message, queue.arn),
            time=int(attributes.get("SentTimestamp", 0)),
            dedup_key=message["MessageId"],
            ordering_key=attributes.get("MessageGroupId") if queue.fifo else None,
            trace=attributes.get("AWSTraceHeader"),
        )
    ]


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Return the event of a message that was sent by hand. BadInput for a body that is not UTF-8."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"a message must be UTF-8 text; byte {error.start} of {len(body)} is not",
            hint="Encode binary data before sending it, for instance with base64.",
        ) from None
    queue = shape.address(options.queue)
    group = {"MessageGroupId": "triggerhub"} if queue.fifo else {}
    data = shape.record(
        message_id=str(uuid4()),
        body=text,
        sent=now,
        queue_arn=arn.queue(queue.name, region=options.region or queue.region or arn.REGION),
        attributes=group,
    )
    return Event(data=data, time=now)


def envelope(records: Sequence[bytes]) -> bytes:
    """Return ``{"Records":[…]}``."""
    return shape.envelope(records)


def retried(record: bytes, attempt: int) -> bytes:
    """Count the attempt in ``ApproximateReceiveCount``."""
    return shape.received_again(record, attempt - 1)


def identifier(record: Json) -> str:
    """Return the message id, which names a record in ``batchItemFailures``."""
    message_id: str = record["messageId"]
    return message_id


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return one message of JSON and one of plain text."""
    bodies = {"json": b'{"orderId":"4711","total":25}', "text": b"hello"}
    return {name: wrap(options, trigger, body, now) for name, body in bodies.items()}


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find what SQS cannot do, and what does nothing here."""
    queue = shape.address(options.queue)
    if options.region and queue.region and options.region != queue.region:
        yield source.Finding(
            option="region",
            code="bad-region",
            message=f"the queue is in {queue.region}",
            hint="leave region out: the queue says it",
        )
    for option in ("key", "order"):
        if (getattr(trigger, option) or "").startswith("header:"):
            message = f"triggers.{trigger.name}.{option}: a message has no headers"
            hint = "use a JSONPath, such as $.body.orderId"
            yield source.Finding(option=option, code="no-headers", message=message, hint=hint)
    if trigger.ack == "handled":
        yield from _handled(queue, trigger)


def _handled(queue: shape.Address, trigger: settings.Trigger) -> Iterator[source.Finding]:
    batch = trigger.batch
    if queue.fifo and (batch.window or batch.size > REQUEST):
        message = "a FIFO queue has batches of at most 10 and no window"
        yield source.Finding(option="batch", code="bad-batch", message=message, hint="lower size, leave window out")
    elif batch.size > REQUEST and batch.window < SECOND:
        message = f"a batch of more than {REQUEST} takes several requests, so it needs a window of 1s or more"
        yield source.Finding(option="batch", code="bad-batch", message=message, hint='add window = "1s"')
    elif batch.window % SECOND:
        message = "a queue is waited for in whole seconds"
        yield source.Finding(option="batch", code="bad-batch", message=message, hint='write window = "1s" or more')
    for key in ("retry.attempts", "retry.max_age", "on_failure"):
        if key in trigger.written:
            message = (
                f'with ack = "handled" {key} is the queue\'s: its redrive policy says when to give up and where to'
            )
            yield source.Finding(option=key.partition(".")[0], code="bad-ack", message=message, hint=f"leave {key} out")
