"""Streams as users have them: a daemon, handlers written with Powertools, a failure's record in a file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.aws_double.streams import Streams, threaded
from tests.e2e.daemon import daemon, granted, until

TOML = """
[defaults]
env = {{ JOURNALS = "{journals}" }}
{granted}retry = {{ attempts = 2, initial = "10ms", max = "20ms" }}

[triggers.clicks]
type = "kinesis"
stream = "orders"
start = "trim_horizon"
batch = {{ size = 10, partial_failures = true }}
on_failure = ["file:failed.jsonl"]
endpoint_url = "{url}"
function = "clicks"

[triggers.changes]
type = "dynamodb"
table = "orders"
start = "trim_horizon"
batch = {{ size = 10, partial_failures = true }}
endpoint_url = "{url}"
function = "changes"
"""
HANDLER = """
import json, os
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.{module} import {record}

processor = BatchProcessor(event_type=EventType.{type})

def record_handler(record: {record}):
    body = {body}
    if body == 7:
        raise ValueError("never seven")
    with open(os.environ["JOURNALS"] + "/{type}", "a") as journal:
        journal.write(json.dumps(["{type}", {key}, body]) + "\\n")

def lambda_handler(event, context):
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
"""
HANDLERS = {
    "clicks.py": HANDLER.format(
        module="kinesis_stream_event", record="KinesisStreamRecord", type="KinesisDataStreams",
        body="record.kinesis.data_as_json()", key="record.kinesis.partition_key",
    ),
    "changes.py": HANDLER.format(
        module="dynamo_db_stream_event", record="DynamoDBRecord", type="DynamoDBStreams",
        body='json.loads(record.dynamodb.new_image["body"])', key='record.dynamodb.keys["id"]',
    ),
}  # fmt: skip
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def test_powertools_handle_both_streams_and_name_what_failed(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    with (
        threaded(Streams()) as double,
        daemon(
            tmp_path, TOML.format(url=double.url, journals=journals, granted=granted(journals)), HANDLERS, start=False
        ) as hub,
    ):
        names = [double.put(f"k{n % 2}", n) for n in range(20)]
        hub.start(environ=KEYS)

        def counts() -> dict[str, dict[str, int]]:
            return {one["name"]: one["counts"] for one in hub.api("GET", "/api/v1/triggers")}

        done = {"succeeded": 19, "dead": 1}
        until(lambda: all({k: v for k, v in one.items() if v} == done for one in counts().values()), "all is done")
        lines = [line for journal in journals.iterdir() for line in journal.read_text().splitlines()]
        seen = [tuple(json.loads(line)) for line in lines]
        wanted = {(kind, f"k{n % 2}", n) for kind in ("KinesisDataStreams", "DynamoDBStreams") for n in range(20)}
        assert set(seen) == {one for one in wanted if one[2] != 7}
        (line,) = (
            until(lambda: (tmp_path / "failed.jsonl").exists(), "a record of the failure")
            and (tmp_path / "failed.jsonl").read_text().splitlines()
        )
        told = json.loads(line)
        assert (
            told["KinesisBatchInfo"]["startSequenceNumber"] == told["KinesisBatchInfo"]["endSequenceNumber"] == names[7]
        )
        assert told["KinesisBatchInfo"]["batchSize"] == 1
        assert told["responseContext"]["functionError"] is None
        assert told["requestContext"]["functionArn"].endswith(":function:clicks")
        dead = json.loads(hub.cli("dlq", "list", "--json", check=True).stdout)
        assert {one["trigger"] for one in dead} == {"clicks", "changes"}
        assert {one["reason"] for one in dead} == {"failed 2 calls, and the attempts are spent"}
        assert hub.stop() == 0
