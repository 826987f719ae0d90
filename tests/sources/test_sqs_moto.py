"""The source sqs against moto's queues, and what it finds wrong before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from sources import sqs
from tests.hub.rig import function, rig, trigger
from triggerhub.awsclient import Options, connected
from triggerhub.awsfault import AwsFault
from triggerhub.model import Invocation
from triggerhub.settings import Batch
from triggerhub.testing import FakeContext

pytestmark = pytest.mark.usefixtures("keys")


async def test_messages_of_every_kind_are_handled_and_deleted(moto: str, tmp_path: Path) -> None:
    seen: list[str] = []

    async def work(invocation: Invocation) -> Any:
        seen.extend(one["body"] for one in json.loads(invocation.payload)["Records"])

    async with connected("sqs", Options(endpoint_url=moto)) as client:
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        for name, attributes in (("contract", {}), ("contract.fifo", fifo)):
            url = (await client.call("create_queue", QueueName=name, Attributes=attributes))["QueueUrl"]
            group = {"MessageGroupId": "g"} if attributes else {}
            for number in range(5):
                await client.call("send_message", QueueUrl=url, MessageBody=f"{name} {number}", **group)
        triggers = [
            trigger(
                name, type="sqs", ack=ack, batch=Batch(size=10), functions=("work",),
                options=sqs.Options(queue=queue, endpoint_url=moto, wait="0s"),
            )
            for name, queue, ack in (("standard", "contract", "handled"), ("ordered", "contract.fifo", "stored"))
        ]  # fmt: skip
        async with rig(
            tmp_path, {"work": work}, functions=[function("work", concurrency=1)], triggers=triggers, more={"sqs": sqs}
        ) as hub:
            with anyio.fail_after(30):
                while len(seen) < 10:
                    await anyio.sleep(0.01)
                await hub.states(10)
        assert sorted(seen) == sorted(
            f"{name} {number}" for name in ("contract", "contract.fifo") for number in range(5)
        )
        assert [body for body in seen if ".fifo" in body] == [f"contract.fifo {number}" for number in range(5)]
        for name in ("contract", "contract.fifo"):
            url = (await client.call("get_queue_url", QueueName=name))["QueueUrl"]
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            left = await client.call("get_queue_attributes", QueueUrl=url, AttributeNames=names)
            assert left["Attributes"] == dict.fromkeys(names, "0")


async def test_a_probe_names_the_queue_and_who_asks(moto: str) -> None:
    async with connected("sqs", Options(endpoint_url=moto)) as client:
        await client.call("create_queue", QueueName="probed")
    options = sqs.Options(queue="probed", endpoint_url=moto)
    told = await sqs.probe(FakeContext(trigger(options=options)), options)
    assert told == (
        "arn:aws:sqs:us-east-1:123456789012:probed as arn:aws:sts::123456789012:user/moto, by environment variables; "
        "it has no redrive policy"
    )
    nowhere = sqs.Options(queue="no-such", endpoint_url=moto)
    with pytest.raises(AwsFault, match="sqs:GetQueueUrl: there is no such resource"):
        await sqs.probe(FakeContext(trigger(options=nowhere)), nowhere)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"queue": "arn:aws:sns:eu-west-1:123456789012:orders"}, "expected the ARN of an SQS queue .*got one of sns"),
        ({"queue": "no queue"}, "is no queue's name"),
        ({"queue": "https://sqs.eu-west-1.amazonaws.com/"}, "expected a queue's URL like"),
        ({"queue": "q", "wait": "21s"}, "whole seconds from 0s to 20s"),
        ({"queue": "q", "wait": "1500ms"}, "whole seconds"),
        ({"queue": "q", "visibility": "0s"}, "whole seconds from 1s to 12h"),
        ({"queue": "q", "region": "Frankfurt"}, "region"),
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        sqs.Options(**wrong)


@pytest.mark.parametrize(
    ("options", "settings", "found"),
    [
        ({"queue": "q"}, {}, []),
        ({"queue": "https://sqs.eu-west-1.amazonaws.com/1/q", "region": "eu-west-2"}, {}, [("region", "bad-region")]),
        ({"queue": "q"}, {"key": "header:X"}, [("key", "no-headers")]),
        ({"queue": "q.fifo"}, {"batch": Batch(size=10, window=1000)}, [("batch", "bad-batch")]),
        ({"queue": "q.fifo"}, {"batch": Batch(size=11)}, [("batch", "bad-batch")]),
        ({"queue": "q"}, {"batch": Batch(size=11)}, [("batch", "bad-batch")]),
        ({"queue": "q"}, {"batch": Batch(size=11, window=1000)}, []),
        ({"queue": "q"}, {"batch": Batch(size=5, window=1500)}, [("batch", "bad-batch")]),
        ({"queue": "q"}, {"batch": Batch(size=11), "ack": "stored"}, []),
        ({"queue": "q"}, {"written": frozenset({"retry", "retry.attempts"})}, [("retry", "bad-ack")]),
        ({"queue": "q"}, {"written": frozenset({"retry", "retry.initial"})}, []),
        ({"queue": "q"}, {"written": frozenset({"on_failure"})}, [("on_failure", "bad-ack")]),
        ({"queue": "q"}, {"written": frozenset({"on_failure"}), "ack": "stored"}, []),
    ],
)
def test_what_check_finds(options: dict[str, Any], settings: dict[str, Any], found: list[tuple[str, str]]) -> None:
    made = trigger("t", **{"batch": Batch(size=10), "ack": "handled", **settings})
    assert [(one.option, one.code) for one in sqs.check(sqs.Options(**options), made)] == found


def test_a_message_sent_by_hand_is_a_record() -> None:
    options = sqs.Options(queue="arn:aws:sqs:eu-west-1:123456789012:orders.fifo")
    record = json.loads(sqs.wrap(options, "t", b'{"a": 1}', 1).data)
    assert record["eventSourceARN"] == "arn:aws:sqs:eu-west-1:000000000000:orders.fifo"
    assert (record["body"], record["awsRegion"]) == ('{"a": 1}', "eu-west-1")
    assert sqs.identifier(record) == record["messageId"]
    assert set(sqs.samples(options, "t", 1)) == {"json", "text"}
