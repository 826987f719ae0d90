"""Handlers written with Powertools for AWS Lambda run unmodified behind queues and buckets, in a real hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.aws_double.sqs import SqsDouble, threaded
from tests.e2e.daemon import daemon, granted, until
from tests.e2e.kills import environ

TOML = """
[defaults]
env = {{ JOURNAL = "{journal}", POWERTOOLS_TRACE_DISABLED = "1" }}
{granted}retry = {{ initial = "10ms", max = "10ms" }}

[triggers.orders]
type = "sqs"
queue = "orders"
ack = "handled"
batch = {{ size = 10, partial_failures = true }}
endpoint_url = "{url}"
wait = "1s"
function = "batch"

[triggers.ordered]
type = "sqs"
queue = "ordered.fifo"
ack = "handled"
batch = {{ size = 10, partial_failures = true }}
endpoint_url = "{url}"
wait = "1s"
function = "fifo"

[triggers.uploads]
type = "s3"
bucket = "uploads"
queue = "uploads"
ack = "handled"
endpoint_url = "{url}"
wait = "1s"
function = "objects"
"""
COMMON = """
import os
def note(text):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write(text + "\\n")
def first_time(name):
    path = os.environ["JOURNAL"] + "." + name
    if os.path.exists(path):
        return False
    open(path, "w").close()
    return True
"""
BATCH = (
    COMMON
    + """
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

processor = BatchProcessor(event_type=EventType.SQS)

def record_handler(record: SQSRecord):
    order = record.json_body
    if order["number"] == 3 and first_time("standard"):
        raise ValueError("not yet")
    kind = record.message_attributes["kind"].string_value
    note(f"order {order['number']} {kind} {record.queue_url.rsplit('/', 1)[1]} {record.attributes.approximate_receive_count}")

def handler(event, context):
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
"""
)
FIFO = (
    COMMON
    + """
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response

processor = SqsFifoPartialProcessor()

def record_handler(record):
    if record.body == "2" and first_time("fifo"):
        raise ValueError("not yet")
    note(f"ordered {record.body} {record.attributes.message_group_id}")

def handler(event, context):
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
"""
)
OBJECTS = (
    COMMON
    + """
from urllib.parse import unquote_plus
from aws_lambda_powertools.utilities.data_classes import S3Event, event_source

@event_source(data_class=S3Event)
def handler(event: S3Event, context):
    for record in event.records:
        note(f"object {event.bucket_name} {unquote_plus(record.s3.get_object.key)} {record.event_name} {record.s3.get_object.size}")
"""
)


def test_powertools_handlers_run_unmodified(tmp_path: Path) -> None:
    double = SqsDouble()
    for name in ("orders", "ordered.fifo", "uploads"):
        double.do_CreateQueue(name)
    journals = tmp_path / "journals"
    journals.mkdir()
    journal = journals / "journal"
    granted(journal)
    handlers = {"batch.py": BATCH, "fifo.py": FIFO, "objects.py": OBJECTS}
    with (
        threaded(double) as url,
        daemon(
            tmp_path, TOML.format(url=url, journal=journal, granted=granted(journals)), handlers, start=False
        ) as hub,
    ):
        hub.start(environ=environ())
        kind = {"kind": {"DataType": "String", "StringValue": "new"}}
        for number in range(5):
            double.do_SendMessage("orders", MessageBody=json.dumps({"number": number}), MessageAttributes=kind)
            ordered = {"MessageGroupId": "g", "MessageDeduplicationId": str(number)}
            double.do_SendMessage("ordered.fifo", MessageBody=str(number), **ordered)
        record = {
            "eventVersion": "2.5", "eventSource": "aws:s3", "awsRegion": "us-east-1",
            "eventTime": "2026-01-01T00:00:00.000Z", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "uploads"}, "object": {"key": "in/a+b.txt", "size": 7, "sequencer": "01"}},
        }  # fmt: skip
        double.do_SendMessage("uploads", MessageBody=json.dumps({"Records": [record]}))
        until(lambda: not any(queue.messages for queue in double.queues.values()), f"all is done: {hub.log()}")
        lines = journal.read_text().splitlines()
    orders = sorted(line for line in lines if line.startswith("order "))
    assert orders == [f"order {number} new orders {2 if number == 3 else 1}" for number in range(5)]
    assert [line for line in lines if line.startswith("ordered")] == [f"ordered {number} g" for number in range(5)]
    assert [line for line in lines if line.startswith("object")] == ["object uploads in/a b.txt ObjectCreated:Put 7"]
