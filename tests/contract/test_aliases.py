"""What goes through an alias: events by its own configuration, mappings, destinations and triggers, over a kill too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.aws_double.moto import KEYS, moto_server
from tests.contract.conftest import client
from tests.contract.package import create, opened, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import Daemon, daemon, until

CODE = """
def handler(event, context):
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("no")
    return {"code": "CODE", "arn": context.invoked_function_arn, "version": context.function_version}
"""
NEVER = {"MaximumRetryAttempts": 0}


def code(answer: str) -> bytes:
    return zipped({"app.py": CODE.replace("CODE", answer)})


def two_versions(lambdas: Any, name: str) -> None:
    """Make a function with versions 1 and 2, and an alias that leads to the first."""
    create(lambdas, name, code("one"), Publish=True)
    lambdas.update_function_code(FunctionName=name, ZipFile=code("two"), Publish=True)
    limits = lambdas.get_account_settings()["AccountLimit"]
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert lambdas.get_account_settings()["AccountLimit"] == limits, "an alias runs nothing of its own"


def event(lambdas: Any, name: str, payload: bytes = b"{}") -> str:
    answer = lambdas.invoke(FunctionName=name, InvocationType="Event", Payload=payload)
    request: str = answer["ResponseMetadata"]["RequestId"]
    return request


def detail(hub: Daemon, delivery: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.api("GET", f"/api/v1/deliveries/{delivery}")
    return found


def ended(hub: Daemon, delivery: str) -> dict[str, Any]:
    states = ("succeeded", "dead")
    found: dict[str, Any] = until(lambda: (one := detail(hub, delivery))["state"] in states and one, "it has ended")
    return found


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    with moto_server() as url:
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        yield lambda service: session.client(service, endpoint_url=url)


def environ(aws: Any) -> dict[str, str]:
    return {**KEYS, "AWS_ENDPOINT_URL": aws("sqs").meta.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, aws: Any) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("aliases"), "", {}, start=False) as made:
        made.start(environ=environ(aws))
        yield made


def queue(aws: Any, name: str) -> tuple[str, str]:
    url = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    return url, aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def test_events_are_treated_as_the_qualifier_that_they_came_by_says(hub: Daemon) -> None:
    lambdas = client(hub)
    two_versions(lambdas, "fn")
    two_versions(lambdas, "told")
    put = lambdas.put_function_event_invoke_config
    to = {"OnSuccess": {"Destination": f"{ARN}told:live"}, "OnFailure": {"Destination": f"{ARN}told:2"}}
    made = put(FunctionName="fn", Qualifier="live", DestinationConfig=to, **NEVER)
    assert (made["FunctionArn"], made["DestinationConfig"]) == (f"{ARN}fn:live", to)
    put(FunctionName="fn:2", MaximumEventAgeInSeconds=600)
    put(FunctionName="fn", MaximumRetryAttempts=1)
    listed = lambdas.list_function_event_invoke_configs(FunctionName="fn")["FunctionEventInvokeConfigs"]
    assert [one["FunctionArn"] for one in listed] == [f"{ARN}fn:{one}" for one in ("$LATEST", "2", "live")]

    good, bad = event(lambdas, "fn:live"), event(lambdas, "fn:live", b'{"fail": true}')
    assert (ended(hub, good)["state"], ended(hub, good)["version"]) == ("succeeded", "1")
    assert (ended(hub, bad)["state"], ended(hub, bad)["attempts"]) == ("dead", 1)
    # By another qualifier the event is tried again.
    others = [event(lambdas, f"fn:{one}", b'{"fail": true}') for one in ("1", "2", "$LATEST")]
    for other in others:
        until(lambda one=other: detail(hub, one)["history"], "it was tried")
        assert detail(hub, other)["state"] == "queued"

    def told(name: str) -> Any:
        return [row for row in hub.deliveries(function=name) if row["state"] == "succeeded"]

    (first,), (second,) = (until(lambda name=name: told(name), "it was told") for name in ("told:live", "told:2"))
    assert {first["trigger"], second["trigger"]} == {"destination:fn:live"}
    records = [detail(hub, one["id"])["event"]["data"] for one in (first, second)]
    assert [one["requestContext"]["functionArn"] for one in records] == [f"{ARN}fn:live"] * 2
    assert [one["responseContext"]["executedVersion"] for one in records] == ["1", "1"]
    assert records[0]["responsePayload"] == {"code": "one", "arn": f"{ARN}fn:live", "version": "1"}


def test_batches_of_a_mapping_go_where_its_alias_leads(hub: Daemon, aws: Any) -> None:
    lambdas = client(hub)
    two_versions(lambdas, "mapped")
    lambdas.update_alias(
        FunctionName="mapped", Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )  # fmt: skip
    url, arn = queue(aws, "mapped")
    made = lambdas.create_event_source_mapping(EventSourceArn=arn, FunctionName=f"{ARN}mapped:live", BatchSize=1)
    uuid = made["UUID"]
    assert made["FunctionArn"] == f"{ARN}mapped:live"
    # A function and an alias of it are two, as far as a queue is concerned.
    other = lambdas.create_event_source_mapping(EventSourceArn=arn, FunctionName="mapped", Enabled=False)["UUID"]
    says = refused(lambdas.create_event_source_mapping, EventSourceArn=arn, FunctionName="function:mapped:live")
    assert says[1] == "ResourceConflictException"
    assert says[2].endswith(f"with UUID {uuid}")

    def listed(name: str) -> list[str]:
        return [one["UUID"] for one in lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]]

    assert (listed("mapped:live"), listed("mapped"), listed("mapped:1")) == ([uuid], [other], [])
    lambdas.delete_event_source_mapping(UUID=other)
    told = {"OnFailure": {"Destination": f"{ARN}mapped:live"}}
    streamed = lambdas.create_event_source_mapping(
        EventSourceArn="arn:aws:kinesis:us-east-1:000000000000:stream/s", FunctionName="mapped:live",
        StartingPosition="LATEST", DestinationConfig=told, Enabled=False,
    )  # fmt: skip
    assert (streamed["FunctionArn"], streamed["DestinationConfig"]) == (f"{ARN}mapped:live", told)
    lambdas.delete_event_source_mapping(UUID=streamed["UUID"])

    def ran(version: str) -> int:
        """How many messages succeeded by the alias in a version."""
        rows = hub.deliveries(trigger=f"esm-{uuid}", state="succeeded", function="mapped:live")
        return sum(row["version"] == version for row in rows)

    def send(count: int) -> None:
        for _ in range(count):
            aws("sqs").send_message(QueueUrl=url, MessageBody="{}")

    send(40)
    until(lambda: ran("1") + ran("2") == 40, "all are handled")
    assert ran("1") > 0
    assert ran("2") > 0
    assert refused(lambdas.delete_alias, FunctionName="mapped", Name="live") == (
        409, "ResourceConflictException", f"mapped:live has the event source mapping {uuid}; delete that first.",
    )  # fmt: skip
    lambdas.update_alias(FunctionName="mapped", Name="live", FunctionVersion="2", RoutingConfig={})
    before = ran("1")
    send(5)
    until(lambda: ran("1") + ran("2") == 45, "all are handled")
    assert ran("1") == before
    hub.kill()
    hub.start(environ=environ(aws))
    assert lambdas.get_event_source_mapping(UUID=uuid)["FunctionArn"] == f"{ARN}mapped:live"
    send(1)
    until(lambda: ran("2") == 46 - before, "a message after the restart is handled")
    moved = lambdas.update_event_source_mapping(UUID=uuid, FunctionName="mapped:1")
    assert moved["FunctionArn"] == f"{ARN}mapped:1"
    send(1)
    until(lambda: hub.deliveries(function="mapped:1", state="succeeded"), "a message is handled by the version")
    assert refused(lambdas.delete_function, FunctionName="mapped", Qualifier="2") == (
        409, "ResourceConflictException", "Unable to delete version because the following aliases reference it: [live]",
    )  # fmt: skip
    lambdas.delete_alias(FunctionName="mapped", Name="live")
    lambdas.delete_function(FunctionName="mapped", Qualifier="2")
    assert refused(lambdas.delete_function, FunctionName="mapped", Qualifier="1")[1] == "ResourceConflictException"
    lambdas.delete_event_source_mapping(UUID=uuid)
    lambdas.delete_function(FunctionName="mapped")


def fetched(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def test_an_alias_has_an_address_and_a_policy_of_its_own(hub: Daemon, aws: Any) -> None:
    lambdas = client(hub)
    two_versions(lambdas, "web")
    made = lambdas.create_function_url_config(FunctionName="web:live", AuthType="NONE")
    url = made["FunctionUrl"]
    assert made["FunctionArn"] == f"{ARN}web:live"
    opened(lambdas, "web")
    assert fetched(url)[0] == 403, "what opens the function does not open the alias"
    opened(lambdas, "web", Qualifier="live")
    policy = json.loads(lambdas.get_policy(FunctionName="web", Qualifier="live")["Policy"])
    assert [one["Resource"] for one in policy["Statement"]] == [f"{ARN}web:live"] * 2
    assert fetched(url) == (200, {"code": "one", "arn": f"{ARN}web:live", "version": "1"})
    lambdas.update_function_url_config(FunctionName="web", Qualifier="live", InvokeMode="RESPONSE_STREAM")
    lambdas.update_alias(FunctionName="web", Name="live", FunctionVersion="2")
    hub.kill()
    hub.start(environ=environ(aws))
    assert fetched(url)[1]["version"] == "2"
    (listed,) = lambdas.list_function_url_configs(FunctionName="web")["FunctionUrlConfigs"]
    assert (listed["FunctionArn"], listed["InvokeMode"]) == (f"{ARN}web:live", "RESPONSE_STREAM")
    assert refused(lambdas.get_function_url_config, FunctionName="web")[:2] == (404, "ResourceNotFoundException")
    assert refused(lambdas.create_function_url_config, FunctionName="web:1", AuthType="NONE")[0] == 400
    assert refused(lambdas.create_function_url_config, FunctionName="web:none", AuthType="NONE")[0] == 404
    lambdas.delete_alias(FunctionName="web", Name="live")
    assert fetched(url)[0] == 403
    lambdas.create_alias(FunctionName="web", Name="live", FunctionVersion="1")
    for look in (lambdas.get_function_url_config, lambdas.get_policy):
        assert refused(look, FunctionName="web", Qualifier="live")[:2] == (404, "ResourceNotFoundException")


def test_what_is_queued_for_an_alias_goes_where_it_leads_by_then_though_the_hub_was_killed(tmp_path: Path) -> None:
    """A trigger of triggerhub.toml names the alias; its events wait while nothing may run, and move with it."""
    with daemon(tmp_path, "", {}) as hub:
        lambdas = client(hub)
        two_versions(lambdas, "fn")
        lambdas.put_function_event_invoke_config(FunctionName="fn", Qualifier="live", **NEVER)
        lambdas.create_alias(FunctionName="fn", Name="other", FunctionVersion="$LATEST")
        hub.write('[triggers.in]\ntype = "queue"\nname = "in"\nfunction = "fn:live"\n')
        assert json.loads(hub.api("POST", "/api/v1/reload", raw=True)[1])["problems"] == []
        lambdas.put_function_concurrency(FunctionName="fn", ReservedConcurrentExecutions=0)
        sent = json.loads(hub.cli("send", "in", "-d", "{}", "--json").stdout)["deliveries"]
        sent.append(event(lambdas, "fn:live"))
        sent.append(event(lambdas, "fn:live", b'{"fail": true}'))
        assert refused(lambdas.delete_alias, FunctionName="fn", Name="live")[2] == (
            "fn:live is named by triggers.in in triggerhub.toml; take it out there first."
        )
        lambdas.update_alias(FunctionName="fn", Name="live", FunctionVersion="2")
        hub.kill()
        assert hub.cli("check").returncode == 0
        hub.start()
        assert {detail(hub, one)["state"] for one in sent} == {"queued"}
        lambdas.delete_function_concurrency(FunctionName="fn")
        found = [ended(hub, one) for one in sent]
        assert [(one["state"], one["version"], one["function"]) for one in found] == [
            ("succeeded", "2", "fn:live"), ("succeeded", "2", "fn:live"), ("dead", "2", "fn:live"),
        ]  # fmt: skip
        found_config = lambdas.get_function_event_invoke_config(FunctionName="fn", Qualifier="live")
        assert found_config["MaximumRetryAttempts"] == 0
        called = hub.cli("invoke", "fn:live")
        assert json.loads(called.stdout) == {"code": "two", "arn": f"{ARN}fn:live", "version": "2"}
        assert hub.cli("functions", "show", "fn:live", "--json").stdout.count('"fn:2": 1') == 1
        assert "leads to" in hub.cli("functions", "show", "fn:live").stdout
        page = hub.api("GET", "/functions/fn:live", raw=True)[1].decode()
        assert 'an alias, whose calls are those of <a href="/functions/fn%3A2">fn:2</a>' in page
        assert "version <code>2</code>" in hub.api("GET", "/functions/fn:2", raw=True)[1].decode()
        hub.write('[alarms.a]\nwhen = "dead(fn:live) > 5 in 10m"\n[alarms.b]\nwhen = "errors(fn:live) > 5 in 10m"\n')
        told = hub.cli("check")
        said = told.stdout + told.stderr
        assert (told.returncode, said.count("error[")) == (3, 1), said
        assert "alarms.b.when: errors counts calls, and those of an alias are its versions'" in said
        hub.write("")
        assert json.loads(hub.api("POST", "/api/v1/reload", raw=True)[1])["problems"] == []
        lambdas.delete_alias(FunctionName="fn", Name="live")
        # Another one of its name begins anew.
        lambdas.create_alias(FunctionName="fn", Name="live", FunctionVersion="1")
        assert refused(lambdas.get_function_event_invoke_config, FunctionName="fn", Qualifier="live") == (
            404, "ResourceNotFoundException", f"The function {ARN}fn:live doesn't have an EventInvokeConfig",
        )  # fmt: skip
