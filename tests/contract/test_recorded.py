"""Answers that were recorded of AWS, and which its documentation tells otherwise or not at all."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.contract.package import answering, create, opened, zipped
from tests.contract.test_functions import ARN, refused
from tests.contract.test_options import fetch

INVALID = (400, "InvalidParameterValueException")
QUEUE = "arn:aws:sqs:us-east-1:000000000000:recorded"


@pytest.fixture
def name(lambdas: Any) -> str:
    made = f"fn-{uuid.uuid4().hex[:8]}"
    create(lambdas, made, answering("one"), Publish=True)
    return made


def test_any_update_makes_the_next_publish_a_new_version(lambdas: Any, name: str) -> None:
    versions = [lambdas.publish_version(FunctionName=name)["Version"]]
    for change in ({"Description": "only text"}, {"Timeout": 9}, {"Timeout": 9}):
        lambdas.update_function_configuration(FunctionName=name, **change)
        versions += [lambdas.publish_version(FunctionName=name)["Version"] for _ in range(2)]
    versions.append(lambdas.update_function_code(FunctionName=name, ZipFile=answering("one"), Publish=True)["Version"])
    assert versions == ["1", "2", "2", "3", "3", "4", "4", "5"]


def test_a_function_and_each_version_and_alias_has_one_revision_with_its_policy(lambdas: Any, name: str) -> None:
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    configuration, function = lambdas.get_function_configuration, {"FunctionName": name}
    statement = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "StatementId": "s"}
    for there, look in (
        (function, lambda: configuration(**function)),
        ({**function, "Qualifier": "1"}, lambda: configuration(**function, Qualifier="1")),
        ({**function, "Qualifier": "live"}, lambda: lambdas.get_alias(**function, Name="live")),
    ):
        before = look()["RevisionId"]
        lambdas.add_permission(**there, **statement, RevisionId=before)
        after = look()["RevisionId"]
        assert (lambdas.get_policy(**there)["RevisionId"], after == before) == (after, False)
        stale = refused(lambdas.remove_permission, **there, StatementId="s", RevisionId=before)
        assert stale[:2] == (412, "PreconditionFailedException")
        lambdas.remove_permission(**there, StatementId="s", RevisionId=after)
        assert look()["RevisionId"] != after
    assert lambdas.publish_version(**function)["Version"] == "1", "nothing was updated"


def test_tags_are_of_a_function_s_revision(lambdas: Any, name: str) -> None:
    def revision() -> str:
        found: str = lambdas.get_function_configuration(FunctionName=name)["RevisionId"]
        return found

    seen = [revision()]
    lambdas.tag_resource(Resource=ARN + name, Tags={"a": "1"})
    seen.append(revision())
    lambdas.untag_resource(Resource=ARN + name, TagKeys=["a"])
    seen.append(revision())
    assert len(set(seen)) == 3


def test_an_update_of_a_logging_configuration_is_of_what_it_says_alone(lambdas: Any, name: str) -> None:
    group = f"/aws/lambda/{name}"
    for update, format_, levels in (
        ({"LogFormat": "JSON", "ApplicationLogLevel": "ERROR", "SystemLogLevel": "WARN"}, "JSON", ("ERROR", "WARN")),
        ({"LogGroup": group}, "JSON", ("ERROR", "WARN")),
        ({"ApplicationLogLevel": "DEBUG"}, "JSON", ("DEBUG", "WARN")),
        ({"LogFormat": "JSON"}, "JSON", ("DEBUG", "WARN")),
        ({"LogFormat": "Text"}, "Text", (None, None)),
        ({"LogFormat": "JSON"}, "JSON", ("INFO", "INFO")),
    ):
        found = lambdas.update_function_configuration(FunctionName=name, LoggingConfig=update)["LoggingConfig"]
        told = found.get("ApplicationLogLevel"), found.get("SystemLogLevel")
        assert (found["LogGroup"], found["LogFormat"], told) == (group, format_, levels), update


def test_an_environment_without_variables_is_shown_where_it_was_given(lambdas: Any, name: str) -> None:
    assert "Environment" not in lambdas.get_function_configuration(FunctionName=name)
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    assert lambdas.get_function_configuration(FunctionName=name)["Environment"] == {"Variables": {}}
    lambdas.update_function_configuration(FunctionName=name, Timeout=9)
    assert lambdas.get_function_configuration(FunctionName=name)["Environment"] == {"Variables": {}}


def test_a_version_that_is_published_with_its_code_is_told_as_one_that_is_made(lambdas: Any) -> None:
    name = f"fn-{uuid.uuid4().hex[:8]}"
    made = create(lambdas, name, answering("one"), Publish=True)
    assert (made["FunctionArn"], made["Version"], made["State"]) == (ARN + name, "1", "Pending")
    second = lambdas.update_function_code(FunctionName=name, ZipFile=answering("two"), Publish=True)
    assert (second["FunctionArn"], second["Version"], second["State"]) == (f"{ARN}{name}:2", "2", "Pending")
    assert (second["StateReasonCode"], "LastUpdateStatus" in second) == ("Creating", False)
    assert lambdas.get_function_configuration(FunctionName=name, Qualifier="2")["State"] == "Active"


def test_what_cannot_be_is_refused_by_the_class_of_error_that_aws_has_for_it(lambdas: Any, name: str) -> None:
    nowhere = {"EventSourceArn": QUEUE, "FunctionName": "doesnotexist"}
    assert refused(lambdas.create_event_source_mapping, **nowhere) == (*INVALID, "Function does not exist")
    *kind, text = refused(lambdas.update_function_configuration, FunctionName=name, Runtime="non-existent")
    assert (*kind,) == INVALID
    assert text.startswith("Value non-existent at 'runtime' failed to satisfy constraint: Member must satisfy enum")
    assert text.endswith("] or be a valid ARN")
    assert refused(lambdas.tag_resource, Resource=ARN + name, Tags={}) == (
        *INVALID, "An error occurred and the request cannot be processed.",
    )  # fmt: skip


def test_a_mapping_that_is_turned_on_or_off_says_so(lambdas: Any, name: str) -> None:
    made = lambdas.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName=name, Enabled=False)["UUID"]
    changes = ({"Enabled": True}, {"BatchSize": 5}, {"Enabled": True}, {"Enabled": False}, {"Enabled": False})
    states = [lambdas.update_event_source_mapping(UUID=made, **change)["State"] for change in changes]
    lambdas.delete_event_source_mapping(UUID=made)
    assert states == ["Enabling", "Updating", "Updating", "Disabling", "Updating"]


def test_a_policy_may_be_as_long_as_it_is_shown(lambdas: Any, name: str) -> None:
    one = {"Effect": "Allow", "Principal": "*", "Action": "lambda:*", "Resource": ARN + name}
    made = {"Version": "2012-10-17", "Id": "default", "Statement": [one] * 160}
    text = json.dumps(made, separators=(",", ":"))
    assert len(text) <= 20 * 1024 < len(json.dumps(made))
    lambdas.put_resource_policy(ResourceArn=ARN + name, Policy=text)
    assert lambdas.get_resource_policy(ResourceArn=ARN + name)["Policy"] == text
    statement = {"StatementId": "more", "Action": "lambda:InvokeFunction", "Principal": "*"}
    with pytest.raises(ClientError, match=r"The final policy size \(\d+\) is bigger than the limit \(20480\)"):
        lambdas.add_permission(FunctionName=name, **statement)


def test_what_is_not_there_is_told_in_the_words_of_each_operation(lambdas: Any, name: str) -> None:
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    there, gone = {"FunctionName": name}, {"FunctionName": "doesnotexist"}
    no_alias, found = "Cannot find alias arn: {}:noalias", "Function not found: {}"
    no_config, no_function = "The function {}:{} doesn't have an EventInvokeConfig", "The function doesn't exist."
    none, no_policy = "The resource you requested does not exist.", "No policy is associated with the given resource."
    here, nowhere = ARN + name, f"{ARN}doesnotexist"
    signing = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"
    statement = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
    retries = {"MaximumRetryAttempts": 1}
    one = {"ProvisionedConcurrentExecutions": 1}
    for call, given, says in (
        (lambdas.get_function_event_invoke_config, gone, no_config.format(nowhere, "$LATEST")),
        (lambdas.get_function_event_invoke_config, {**there, "Qualifier": "no"}, no_config.format(here, "no")),
        (lambdas.delete_function_event_invoke_config, gone, no_config.format(nowhere, "$LATEST")),
        (lambdas.delete_function_event_invoke_config, {**there, "Qualifier": "no"}, no_config.format(here, "no")),
        (lambdas.update_function_event_invoke_config, {**there, **retries}, no_config.format(here, "$LATEST")),
        (lambdas.update_function_event_invoke_config, {**gone, **retries}, no_function),
        (lambdas.put_function_event_invoke_config, {**there, "Qualifier": "no", **retries}, no_function),
        (lambdas.list_function_event_invoke_configs, gone, no_function),
        (lambdas.remove_permission, {**there, "StatementId": "s"}, no_policy),
        (lambdas.remove_permission, {**gone, "StatementId": "s"}, f"No policy found for: {nowhere}"),
        (lambdas.add_permission, {**there, **statement, "Qualifier": "noalias"}, no_alias.format(here)),
        (lambdas.add_permission, {**there, **statement, "Qualifier": "7"}, found.format(f"{here}:7")),
        (lambdas.get_policy, {**there, "Qualifier": "7"}, none),
        (lambdas.get_policy, gone, found.format(nowhere)),
        (lambdas.get_provisioned_concurrency_config, {**gone, "Qualifier": "noalias"}, no_alias.format(nowhere)),
        (lambdas.get_provisioned_concurrency_config, {**there, "Qualifier": "noalias"}, no_alias.format(here)),
        (lambdas.put_provisioned_concurrency_config, {**gone, "Qualifier": "noalias", **one}, no_alias.format(nowhere)),
        (lambdas.put_provisioned_concurrency_config, {**gone, "Qualifier": "1", **one}, found.format(f"{nowhere}:1")),
        (lambdas.delete_provisioned_concurrency_config, {**gone, "Qualifier": "1"}, found.format(f"{nowhere}:1")),
        (lambdas.put_function_concurrency, {**gone, "ReservedConcurrentExecutions": 1}, found.format(f"{nowhere}:$LATEST")),
        (lambdas.create_alias, {**gone, "Name": "live", "FunctionVersion": "1"}, found.format(f"{nowhere}:1")),
        (lambdas.create_function_url_config, {**gone, "AuthType": "NONE"}, "Function does not exist"),
        (lambdas.create_function_url_config, {**there, "Qualifier": "no", "AuthType": "NONE"}, "Function does not exist"),
        (lambdas.list_function_url_configs, gone, "Function does not exist"),
        (lambdas.get_function_url_config, gone, none),
        (lambdas.get_code_signing_config, {"CodeSigningConfigArn": signing},
         f"The Lambda code signing configuration {signing} can not be found."),
    ):  # fmt: skip
        assert refused(call, **given) == (404, "ResourceNotFoundException", says), call.__name__


def test_what_does_not_go_together_is_told_in_the_words_of_aws(lambdas: Any, name: str) -> None:
    there, stream = {"FunctionName": name}, QUEUE.replace("sqs", "kinesis").replace(":rec", ":stream/rec")
    mapping, early = lambdas.create_event_source_mapping, {"StartingPosition": "LATEST"}
    for call, given, says in (
        (mapping, there, "Unrecognized event source."),
        (mapping, {**there, **early, "EventSourceArn": QUEUE}, "StartingPosition is not valid for SQS event sources."),
        (mapping, {**there, **early, "EventSourceArn": stream, "StartingPositionTimestamp": 5},
         "Timestamp only valid with StartingPosition AT_TIMESTAMP"),
        (lambdas.put_function_event_invoke_config,
         {**there, "DestinationConfig": {"OnFailure": {"Destination": f"{ARN}no"}}},
         f"The destination ARN {ARN}no is invalid."),
    ):  # fmt: skip
        assert refused(call, **given) == (*INVALID, says)
    status, kind, text = refused(lambdas.invoke, **there, Payload=b"{")
    says = "Could not parse request body into json: Could not parse payload into json: "
    assert (status, kind, text.startswith(says)) == (400, "InvalidRequestContentException", True)


def test_a_function_s_url_tells_how_it_was_reached(lambdas: Any) -> None:
    name = f"fn-{uuid.uuid4().hex[:8]}"
    create(lambdas, name, zipped({"app.py": "def handler(event, context):\n    return event['headers']\n"}))
    url = lambdas.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    opened(lambdas, name)
    _, _, body = fetch(url, x_forwarded_proto="https", x_forwarded_for="192.0.2.9")
    found = json.loads(body)
    told = [found[f"x-forwarded-{one}"] for one in ("for", "port", "proto")]
    assert told == ["127.0.0.1", str(urlsplit(url).port), "http"]
