"""The in-hub topic: the shape of its messages, and that it does nothing else."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from sources import queue
from triggerhub.errors import BadInput
from triggerhub.policy import selecting
from triggerhub.policy.batching import failed
from triggerhub.source import Source
from triggerhub.testing import START, FakeContext, trigger

OPTIONS = queue.Options(name="shipped")


def wrapped(body: bytes) -> Any:
    return json.loads(queue.wrap(OPTIONS, "parcels", body, START).data)


def test_the_module_is_a_source() -> None:
    assert isinstance(queue, Source)


def test_a_message_has_the_shape_of_sqs() -> None:
    event = queue.wrap(OPTIONS, "parcels", '{"id":"ü"}'.encode(), START)
    record = json.loads(event.data)
    assert record["body"] == '{"id":"ü"}'
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:shipped"
    assert record["attributes"]["SentTimestamp"] == str(START)
    assert event.time == START
    assert event.dedup_key is None


def test_each_message_has_an_id_of_its_own() -> None:
    assert wrapped(b"same")["messageId"] != wrapped(b"same")["messageId"]


def test_keys_and_filters_see_into_a_body_of_json() -> None:
    view = selecting.view(queue.wrap(OPTIONS, "parcels", b'{"order":{"id":7}}', START).data)
    assert selecting.compile("$.body.order.id").select(view) == "7"


def test_a_body_that_is_not_text_is_refused_with_the_place() -> None:
    with pytest.raises(BadInput, match="must be UTF-8 text; byte 2 of 3 is not") as caught:
        queue.wrap(OPTIONS, "parcels", b"ab\xff", START)
    assert caught.value.hint == "Encode binary data before sending it, for instance with base64."


def test_a_batch_is_an_sqs_event_and_its_records_can_fail_one_by_one() -> None:
    bodies = [queue.wrap(OPTIONS, "parcels", body, START).data for body in (b"a", b"b")]
    event = json.loads(queue.envelope(bodies))
    names = [queue.identifier(record) for record in event["Records"]]
    assert names == [record["messageId"] for record in event["Records"]]
    answer = json.dumps({"batchItemFailures": [{"itemIdentifier": names[1]}]}).encode()
    assert failed(answer, names) == {1}


def test_samples_are_messages() -> None:
    samples = queue.samples(OPTIONS, "parcels", START)
    assert set(samples) == {"json", "text"}
    assert selecting.view(samples["json"].data)["body"]["orderId"] == "4711"
    assert selecting.view(samples["text"].data)["body"] == "hello"


async def test_run_emits_nothing_and_ends_only_when_cancelled() -> None:
    context = FakeContext(trigger(type="queue", options=OPTIONS))
    ended = False
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            nonlocal ended
            await queue.run(context, OPTIONS)
            ended = True

        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not ended
    assert context.events == []
    assert context.routes.routes == {}


@pytest.mark.parametrize("name", ["", "with space", "a:b", "x" * 81, "ü", "a\n"])
def test_a_name_that_no_destination_could_write_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        queue.Options(name=name)


def test_the_name_is_required_and_other_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        queue.Options.model_validate({})
    with pytest.raises(ValidationError):
        queue.Options.model_validate({"name": "a", "topic": "b"})


def test_check_finds_a_key_out_of_headers() -> None:
    wrong = trigger(type="queue", options=OPTIONS, key="header:X-Id", order="header:X-Group")
    assert [(finding.option, finding.code) for finding in queue.check(OPTIONS, wrong)] == [
        ("key", "no-headers"),
        ("order", "no-headers"),
    ]
    right = trigger(type="queue", options=OPTIONS, key="$.body.id")
    assert list(queue.check(OPTIONS, right)) == []
