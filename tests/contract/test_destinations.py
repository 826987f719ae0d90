"""Outcomes of asynchronous invocations reach queues of SQS and topics of SNS, over HTTP, in AWS's shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.aws_double.moto import KEYS, moto_server
from tests.contract.conftest import client
from tests.contract.package import create, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import Daemon, daemon, until

CODE = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("no: " + event["fail"])
    return {"got": event}
"""
NEVER = {"MaximumRetryAttempts": 0}


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    with moto_server() as url:
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1")
        yield lambda service: session.client(service, endpoint_url=url)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, aws: Any) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("destinations"), "", {}, start=False) as made:
        made.start(environ={**KEYS, "AWS_ENDPOINT_URL": aws("sqs").meta.endpoint_url})
        yield made


def queue(aws: Any, name: str) -> tuple[str, str]:
    sqs = aws("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(aws: Any, url: str) -> dict[str, Any]:
    """The next message in a queue, which is taken out."""

    def one() -> Any:
        found = aws("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1)
        return found.get("Messages")

    (message,) = until(one, "a message comes", 60)
    aws("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    found: dict[str, Any] = message
    return found


def event(lambdas: Any, name: str, payload: bytes) -> str:
    answer = lambdas.invoke(FunctionName=name, InvocationType="Event", Payload=payload)
    request: str = answer["ResponseMetadata"]["RequestId"]
    return request


def test_success_and_failure_go_to_queues_with_awss_record(hub: Daemon, aws: Any) -> None:
    lambdas = client(hub)
    create(lambdas, "sent", zipped({"app.py": CODE}), Publish=True)
    good, bad = queue(aws, "good"), queue(aws, "bad")
    destinations = {"OnSuccess": {"Destination": good[1]}, "OnFailure": {"Destination": bad[1]}}
    for qualifier in ("$LATEST", "1"):
        put = lambdas.put_function_event_invoke_config(
            FunctionName="sent", Qualifier=qualifier, DestinationConfig=destinations, **NEVER
        )
        assert put["DestinationConfig"] == destinations
    request = event(lambdas, "sent", b'{"n":  1.50}')
    body = received(aws, good[0])["Body"]
    assert '"requestPayload":{"n":  1.50}' in body, "the event is what was sent, byte for byte"
    record = json.loads(body)
    assert record.pop("timestamp")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request, "functionArn": f"{ARN}sent:$LATEST", "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"n": 1.5},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"got": {"n": 1.5}},
    }  # fmt: skip
    event(lambdas, "sent:1", b'{"fail": "why"}')
    record = json.loads(received(aws, bad[0])["Body"])
    assert record["requestContext"]["functionArn"] == f"{ARN}sent:1"
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "1", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorMessage"] == "no: why"


def test_a_topic_gets_the_record_and_a_dead_letter_target_the_event(hub: Daemon, aws: Any) -> None:
    lambdas, sns = client(hub), aws("sns")
    heard, dead, also = queue(aws, "heard"), queue(aws, "dead"), sns.create_topic(Name="dead")["TopicArn"]
    topic = sns.create_topic(Name="told")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=heard[1], Attributes={"RawMessageDelivery": "true"})
    create(lambdas, "told", zipped({"app.py": CODE}), DeadLetterConfig={"TargetArn": dead[1]})
    assert lambdas.get_function_configuration(FunctionName="told")["DeadLetterConfig"] == {"TargetArn": dead[1]}
    lambdas.put_function_event_invoke_config(
        FunctionName="told", DestinationConfig={"OnFailure": {"Destination": topic}}, **NEVER
    )
    payload = b'{"fail": "' + "ü".encode() * 700 + b'",  "n": 1.50}'
    request = event(lambdas, "told", payload)
    assert json.loads(received(aws, heard[0])["Body"])["requestContext"]["requestId"] == request
    message = received(aws, dead[0])
    assert message["Body"].encode() == payload
    told = {name: (one["DataType"], one["StringValue"]) for name, one in message["MessageAttributes"].items()}
    assert told == {
        "RequestID": ("String", request),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "no: " + "ü" * 510),
    }
    # A target can be a topic, and be taken away.
    sns.subscribe(TopicArn=also, Protocol="sqs", Endpoint=heard[1], Attributes={"RawMessageDelivery": "true"})
    lambdas.delete_function_event_invoke_config(FunctionName="told")
    lambdas.put_function_event_invoke_config(FunctionName="told", **NEVER)
    lambdas.update_function_configuration(FunctionName="told", DeadLetterConfig={"TargetArn": also})
    event(lambdas, "told", b'{"fail": "again"}')
    message = received(aws, heard[0])
    assert json.loads(message["Body"]) == {"fail": "again"}
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "no: again"
    changed = lambdas.update_function_configuration(FunctionName="told", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in changed


def test_what_a_queue_that_is_not_there_does_not_take_waits_for_it_over_a_restart(hub: Daemon, aws: Any) -> None:
    lambdas = client(hub)
    create(lambdas, "early", zipped({"app.py": CODE}))
    url, arn = queue(aws, "later")
    aws("sqs").delete_queue(QueueUrl=url)
    lambdas.put_function_event_invoke_config(
        FunctionName="early", DestinationConfig={"OnSuccess": {"Destination": arn}}
    )
    request = event(lambdas, "early", b"{}")

    def tried() -> list[str]:
        rows = hub.deliveries(trigger="destination:early")
        return [row["id"] for row in rows if row["attempts"] and row["state"] == "queued"]

    (sending,) = until(tried, "it is tried")
    assert "NonExistentQueue" in hub.cli("explain", sending).stdout
    hub.kill()
    hub.start(environ={**KEYS, "AWS_ENDPOINT_URL": aws("sqs").meta.endpoint_url})
    url, _ = queue(aws, "later")
    assert json.loads(received(aws, url)["Body"])["requestContext"]["requestId"] == request


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        ("arn:aws:sqs:eu-central-1:123456789012:a.fifo", "is FIFO, which outcomes cannot be sent to"),
        ("arn:aws:events:eu-central-1:123456789012:event-bus/b", "expected the ARN of a queue of SQS or of a topic"),
        ("arn:aws:s3:::bucket", "expected the ARN of a queue of SQS or of a topic"),
    ],
)
def test_what_nothing_can_be_sent_to_is_refused(hub: Daemon, arn: str, says: str) -> None:
    lambdas = client(hub)
    if not any(one["FunctionName"] == "held" for one in lambdas.list_functions()["Functions"]):
        create(lambdas, "held", zipped({"app.py": CODE}))
    config = {"OnFailure": {"Destination": arn}}
    status, kind, said = refused(
        lambdas.put_function_event_invoke_config, FunctionName="held", DestinationConfig=config
    )
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert says in said
    status, kind, said = refused(
        lambdas.update_function_configuration, FunctionName="held", DeadLetterConfig={"TargetArn": arn}
    )
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert says in said


def test_a_function_of_the_folder_sends_to_a_queue_too(hub: Daemon, aws: Any) -> None:
    url, arn = queue(aws, "folder")
    toml = f'[functions.plain]\non_success = ["{arn}"]\n'
    hub.write(toml, {"plain.py": "def handler(event, context):\n    return event\n"})
    lambdas = client(hub)
    until(lambda: "plain" in {one["FunctionName"] for one in lambdas.list_functions()["Functions"]}, "it is read")
    event(lambdas, "plain", b"[7]")
    assert json.loads(received(aws, url)["Body"])["responsePayload"] == [7]
