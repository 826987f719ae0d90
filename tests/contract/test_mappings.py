"""Event source mappings: a queue of SQS feeds a function, as the API says, over restarts too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.aws_double.moto import KEYS, moto_server
from tests.contract.conftest import client
from tests.contract.package import create, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import Daemon, daemon, until

KINESIS = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
CODE = """
def handler(event, context):
    failed = [{"itemIdentifier": one["messageId"]} for one in event["Records"] if "fail" in one["body"]]
    return {"batchItemFailures": failed}
"""


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    with moto_server() as url:
        yield boto3.client(
            "sqs", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, sqs: Any) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("mappings"), "", {}, start=False) as made:
        made.start(environ=environ(sqs))
        create(client(made), "taking", zipped({"app.py": CODE}))
        yield made


def environ(sqs: Any) -> dict[str, str]:
    return {**KEYS, "AWS_ENDPOINT_URL": sqs.meta.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}


def queue(sqs: Any, name: str) -> tuple[str, str]:
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def handled(hub: Daemon, uuid: str) -> list[dict[str, Any]]:
    return [row for row in hub.deliveries(trigger=f"esm-{uuid}") if row["state"] == "succeeded"]


def test_messages_are_handled_as_the_mapping_says(hub: Daemon, sqs: Any) -> None:
    lambdas = client(hub)
    url, arn = queue(sqs, "orders")
    made = lambdas.create_event_source_mapping(
        EventSourceArn=arn, FunctionName="taking", BatchSize=5, FunctionResponseTypes=["ReportBatchItemFailures"],
        FilterCriteria={"Filters": [{"Pattern": '{"body": {"kind": ["a"]}}'}, {"Pattern": '{"body": {"kind": ["b"]}}'}]},
        ScalingConfig={"MaximumConcurrency": 2},
    )  # fmt: skip
    uuid = made["UUID"]
    assert (made["State"], made["FunctionArn"], made["BatchSize"]) == ("Creating", f"{ARN}taking", 5)
    for kind in "abc":
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"kind": kind}))
    until(lambda: len(handled(hub, uuid)) == 2, "two of three messages are handled")
    shown = lambdas.get_event_source_mapping(UUID=uuid)
    assert (shown["State"], shown["ScalingConfig"]) == ("Enabled", {"MaximumConcurrency": 2})
    assert [
        one["UUID"] for one in lambdas.list_event_source_mappings(FunctionName="taking")["EventSourceMappings"]
    ] == [uuid]
    says = refused(lambdas.create_event_source_mapping, EventSourceArn=arn, FunctionName="taking")
    assert says[1] == "ResourceConflictException"
    assert says[2].endswith(f"existing mapping with UUID {uuid}")
    assert refused(lambdas.delete_function, FunctionName="taking")[2] == (
        f"taking has the event source mapping {uuid}; delete that first."
    )
    hub.kill()
    hub.start(environ=environ(sqs))
    assert lambdas.get_event_source_mapping(UUID=uuid)["FilterCriteria"] == shown["FilterCriteria"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"kind": "a"}))
    until(lambda: len(handled(hub, uuid)) == 3, "a message after the restart is handled")
    lambdas.update_event_source_mapping(UUID=uuid, Enabled=False)
    assert lambdas.get_event_source_mapping(UUID=uuid)["State"] == "Disabled"
    hub.write("", {"other.py": "def handler(event, context): ...\n"})
    until(lambda: "other" in {one["FunctionName"] for one in lambdas.list_functions()["Functions"]}, "it is read again")
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"kind": "b"}))
    lambdas.update_event_source_mapping(UUID=uuid, Enabled=True)
    until(lambda: len(handled(hub, uuid)) == 4, "a message that waited is handled")
    assert lambdas.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    assert refused(lambdas.get_event_source_mapping, UUID=uuid)[:2] == (404, "ResourceNotFoundException")
    names = {row["name"] for row in hub.api("GET", "/api/v1/triggers")}
    assert not any(name.startswith("esm-") for name in names)


def test_changes_of_a_table_are_handled_as_the_mapping_says(hub: Daemon, sqs: Any) -> None:
    lambdas = client(hub)
    code = "def handler(event, context):\n    return [one['eventName'] for one in event['Records']]\n"
    create(lambdas, "following", zipped({"app.py": code}))
    tables = boto3.client(
        "dynamodb", endpoint_url=sqs.meta.endpoint_url, region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip
    stream = tables.create_table(
        TableName="customers", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]["LatestStreamArn"]  # fmt: skip
    tables.put_item(TableName="customers", Item={"id": {"S": "1"}})
    made = lambdas.create_event_source_mapping(
        EventSourceArn=stream, FunctionName="following", StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=2,
        BisectBatchOnFunctionError=True, MaximumRecordAgeInSeconds=600, ParallelizationFactor=2,
        DestinationConfig={"OnFailure": {"Destination": f"{ARN}taking"}},
    )  # fmt: skip
    shown = lambdas.get_event_source_mapping(UUID=made["UUID"])
    assert {key: shown[key] for key in ("BatchSize", "StartingPosition", "MaximumRetryAttempts", "ParallelizationFactor",
            "TumblingWindowInSeconds", "DestinationConfig")} == {
        "BatchSize": 100, "StartingPosition": "TRIM_HORIZON", "MaximumRetryAttempts": 2, "ParallelizationFactor": 2,
        "TumblingWindowInSeconds": 0, "DestinationConfig": {"OnFailure": {"Destination": f"{ARN}taking"}},
    }  # fmt: skip
    until(lambda: len(handled(hub, made["UUID"])) == 1, "the change is handled")
    lambdas.delete_event_source_mapping(UUID=made["UUID"])


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"FunctionName": "nobody"}, "InvalidParameterValueException", "Function does not exist"),
        ({"BatchSize": 11}, "InvalidParameterValueException", "Maximum batch window in seconds must be greater than 0"),
        ({"EventSourceArn": "arn:aws:mq:us-east-1:000000000000:broker:b"}, "InvalidParameterValueException",
         "EventSourceArn: queues of SQS and streams of DynamoDB and Kinesis can be mapped here."),
        ({"EventSourceArn": f"{KINESIS}/consumer/c:1"}, "InvalidParameterValueException",
         "EventSourceArn: queues of SQS and streams of DynamoDB and Kinesis can be mapped here; of a consumer, give its"),
        ({"EventSourceArn": KINESIS}, "ValidationException", "1 validation error detected: Value null at 'startingPosition'"),
        ({"EventSourceArn": KINESIS, "StartingPosition": "AT_TIMESTAMP"}, "InvalidParameterValueException",
         "StartingPositionTimestamp: "),
        ({"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "ScalingConfig": {"MaximumConcurrency": 2}},
         "InvalidParameterValueException", "ScalingConfig: it is not in this version"),
        ({"EventSourceArn": KINESIS, "StartingPosition": "LATEST", "TumblingWindowInSeconds": 5,
          "ParallelizationFactor": 2}, "InvalidParameterValueException", "TumblingWindowInSeconds: "),
        ({"StartingPosition": "LATEST"}, "InvalidParameterValueException", "StartingPosition is not valid for SQS event sources."),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}] * 11}}, "InvalidParameterValueException",
         "FilterCriteria: a mapping has at most 10 filters."),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "InvalidParameterValueException",
         "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"body": [{"nonsense": 1}]}'}]}}, "InvalidParameterValueException",
         "Invalid filter pattern definition."),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused(hub: Daemon, given: dict[str, Any], kind: str, says: str) -> None:
    lambdas = client(hub)
    asked = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q", "FunctionName": "taking", **given}
    _, found, told = refused(lambdas.create_event_source_mapping, **asked)
    assert found == kind
    assert told.startswith(says)
    assert lambdas.list_event_source_mappings()["EventSourceMappings"] == []


@pytest.mark.parametrize("moment", ["1e400", "1e15", "-1", '"2026-01-01T00:00:00Z"', "null"])
def test_a_stream_begins_at_a_moment_that_there_is(hub: Daemon, moment: str) -> None:
    body = (
        f'{{"EventSourceArn": "{KINESIS}", "FunctionName": "taking", "StartingPosition": "AT_TIMESTAMP", '
        f'"StartingPositionTimestamp": {moment}}}'
    )
    url = f"http://127.0.0.1:{hub.admin}/2015-03-31/event-source-mappings/"
    request = AWSRequest(method="POST", url=url, data=body)
    SigV4Auth(Credentials("AKIDAKIDAKIDAKIDAKID", "any"), "lambda", "us-east-1").add_auth(request)
    sent = urllib.request.Request(url, body.encode(), dict(request.headers))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(sent, timeout=20)
    with caught.value as answer:
        assert (answer.code, b"tarting" in answer.read()) == (400, True)


def test_a_mapping_tells_what_keeps_it_from_its_source(hub: Daemon) -> None:
    lambdas = client(hub)
    arn = "arn:aws:sqs:us-east-1:123456789012:nowhere"
    made = lambdas.create_event_source_mapping(EventSourceArn=arn, FunctionName="taking")

    def told() -> str:
        found: str = lambdas.get_event_source_mapping(UUID=made["UUID"]).get("LastProcessingResult", "")
        return found

    until(lambda: told().startswith("PROBLEM: sqs:GetQueueUrl: ") and "NonExistentQueue" in told(), "it says so")
    lambdas.delete_event_source_mapping(UUID=made["UUID"])


def test_windows_and_parallel_calls_exclude_one_another_whichever_comes_first(hub: Daemon) -> None:
    lambdas = client(hub)
    made = lambdas.create_event_source_mapping(
        EventSourceArn=KINESIS, FunctionName="taking", StartingPosition="LATEST", ParallelizationFactor=2, Enabled=False
    )
    change = {"UUID": made["UUID"], "TumblingWindowInSeconds": 30}
    assert refused(lambdas.update_event_source_mapping, **change)[2].startswith("TumblingWindowInSeconds: ")
    lambdas.update_event_source_mapping(**change, ParallelizationFactor=1)
    assert refused(lambdas.update_event_source_mapping, UUID=made["UUID"], ParallelizationFactor=2)[0] == 400
    lambdas.delete_event_source_mapping(UUID=made["UUID"])


def test_of_equal_mappings_that_are_made_at_once_there_is_one(hub: Daemon, sqs: Any) -> None:
    lambdas, (_, arn) = client(hub, max_pool_connections=8), queue(sqs, "once")
    create(lambdas, "once", zipped({"app.py": CODE}))
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(outcome, lambdas.create_event_source_mapping, EventSourceArn=arn, FunctionName="once")
            for _ in range(8)
        ]
    assert sorted(one.result() for one in asked) == ["ResourceConflictException"] * 7 + ["done"]
    assert len(lambdas.list_event_source_mappings(FunctionName="once")["EventSourceMappings"]) == 1


def test_no_mapping_stays_of_what_is_deleted_at_the_same_time(hub: Daemon, sqs: Any) -> None:
    lambdas, (_, arn) = client(hub), queue(sqs, "racing")
    for number in range(12):
        name = f"racing{number}"
        create(lambdas, name, zipped({"app.py": CODE}))
        with ThreadPoolExecutor(2) as pool:
            making = pool.submit(outcome, lambdas.create_event_source_mapping, EventSourceArn=arn, FunctionName=name)
            deleting = pool.submit(outcome, lambdas.delete_function, FunctionName=name)
        assert (making.result(), deleting.result()) in (
            ("done", "ResourceConflictException"), ("InvalidParameterValueException", "done"),
        )  # fmt: skip


def outcome(call: Any, **asked: Any) -> str:
    """What a call comes to: that it is done, or the class of its error."""
    try:
        call(**asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"
