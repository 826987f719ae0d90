"""Find an SQS queue and consume it: what the sources share whose events arrive in one.

Each of them says which events a message holds.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from pydantic import AfterValidator

from triggerhub import awsclient, source
from triggerhub.aws import arn, sqs
from triggerhub.awsclient import Connection
from triggerhub.awsconsumer import CLOSING, SHORTEST, STORING, Consumer, EventsOf, Queue
from triggerhub.awsfault import AwsFault, Trouble
from triggerhub.awsreceipt import REQUEST, SIDE
from triggerhub.model import Millis
from triggerhub.settings import HOUR, SECOND


def _seconds(low: Millis, high: Millis, words: str) -> AfterValidator:
    def check(value: Millis) -> Millis:
        if not low <= value <= high or value % SECOND:
            raise ValueError(f"expected whole seconds from {words}")
        return value

    return AfterValidator(check)


def _named(value: str) -> str:
    sqs.address(value)
    return value


Name = Annotated[str, AfterValidator(_named)]
"""A queue's URL, ARN or name."""
Wait = Annotated[source.Duration, _seconds(0, 20 * SECOND, "0s to 20s")]
"""How long a request waits at an empty queue."""
Visibility = Annotated[source.Duration, _seconds(SECOND, 12 * HOUR, "1s to 12h")]
"""How long a received message is hidden unless that is renewed."""
WAIT: Millis = 5 * SECOND
"""Where nothing is said: a stop of the hub waits for an open request."""


def connecting(
    ctx: source.Context, options: awsclient.Options, queue: str, wait: Millis
) -> AbstractAsyncContextManager[Connection]:
    """Lend a connection whose region and endpoint are the queue's own where the options do not say them."""
    address = sqs.address(queue)
    located = options.model_copy(
        update={
            "region": options.region or address.region,
            "endpoint_url": options.endpoint_url or address.endpoint,
        }
    )
    connections = ctx.places * 2 + max(CLOSING, 2 * STORING) + SIDE
    return awsclient.connected("sqs", located, wait=wait, connections=connections)


async def consume(
    ctx: source.Context,
    options: awsclient.Options,
    queue: str,
    events_of: EventsOf,
    *,
    wait: Millis = WAIT,
    visibility: Millis | None = None,
) -> None:
    """Take messages from a queue until cancelled, by ``emit`` or ``handle`` as the trigger's ``ack`` says."""
    trouble = Trouble(ctx)
    async with connecting(ctx, options, queue, wait) as connection:
        while True:
            try:
                found = await find(connection, sqs.address(queue))
                break
            except AwsFault as fault:
                await trouble.rest(fault)
        trouble.well()
        ctx.begun()
        if ctx.trigger.ack == "handled" and not found.redrives:
            ctx.log.warning("the queue has no redrive policy: what always fails is tried until it expires")
        await Consumer(
            ctx=ctx,
            connection=connection,
            trouble=trouble,
            queue=found,
            events_of=events_of,
            wait=wait,
            visibility=visibility,
        ).run()


async def tried(ctx: source.Context, options: awsclient.Options, queue: str) -> str:
    """Ask for the queue, and whether messages may be received, deleted and hidden. Raises AwsFault."""
    async with connecting(ctx, options, queue, 0) as connection:
        who = await connection.asker()
        found = await find(connection, sqs.address(queue))
        await _permitted(connection, "receive_message", QueueUrl=found.url, MaxNumberOfMessages=REQUEST + 1)
        await _permitted(connection, "delete_message", QueueUrl=found.url, ReceiptHandle="none")
        hide = {"QueueUrl": found.url, "ReceiptHandle": "none", "VisibilityTimeout": 0}
        await _permitted(connection, "change_message_visibility", **hide)
        redrive = "" if found.redrives else "; it has no redrive policy"
        return f"{found.arn} as {who}{redrive}"


async def _permitted(connection: Connection, operation: str, **parameters: Any) -> None:
    """Make a request that must fail for what it asks, and raise where it fails for who asks."""
    try:
        await connection.call(operation, **parameters)
    except AwsFault as fault:
        if fault.kind not in ("refused", "missing"):
            raise


async def find(connection: Connection, address: sqs.Address) -> Queue:
    """Ask for a queue. Raises AwsFault."""
    url = address.url
    if url is None:
        owner = {"QueueOwnerAWSAccountId": address.account} if address.account else {}
        url = str((await connection.call("get_queue_url", QueueName=address.name, **owner))["QueueUrl"])
    names = ["QueueArn", "VisibilityTimeout", "RedrivePolicy"]
    answer = await connection.call("get_queue_attributes", QueueUrl=url, AttributeNames=names)
    told = answer.get("Attributes", {})
    return Queue(
        url=url,
        arn=told.get("QueueArn") or arn.queue(address.name, region=address.region or connection.region),
        fifo=address.fifo,
        visibility=int(told.get("VisibilityTimeout", SHORTEST)),
        redrives="RedrivePolicy" in told,
    )
