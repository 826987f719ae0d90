"""Functions that are made, changed, published and removed by boto3; folder functions that only look like them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import urllib.request
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.package import ROLE, RUNTIME, answering, called, create, zipped
from tests.e2e.daemon import Daemon, until
from triggerhub.telemetry.report import frame

ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


def refused(call: Any, **asked: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@pytest.fixture
def name() -> str:
    return f"fn-{uuid.uuid4().hex[:8]}"


def test_a_function_is_made_with_the_defaults_of_aws(lambdas: Any, name: str) -> None:
    code = answering(1)
    made = create(lambdas, name, code)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    shown = lambdas.get_function(FunctionName=name)
    configured = shown["Configuration"]
    assert configured["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", configured["LastModified"])
    assert {key: configured[key] for key in ("FunctionName", "FunctionArn", "Timeout", "MemorySize", "Version", "State",
            "LastUpdateStatus", "PackageType", "EphemeralStorage", "TracingConfig", "Runtime", "Role", "CodeSize")} == {
        "FunctionName": name, "FunctionArn": ARN + name, "Timeout": 3, "MemorySize": 128, "Version": "$LATEST",
        "State": "Active", "LastUpdateStatus": "Successful", "PackageType": "Zip", "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"}, "Runtime": RUNTIME, "Role": ROLE, "CodeSize": len(code),
    }  # fmt: skip
    with urllib.request.urlopen(shown["Code"]["Location"]) as answer:
        assert answer.read() == code
    assert called(lambdas, name) == {
        "answer": 1, "version": "$LATEST", "name": name, "arn": ARN + name, "env": None,
    }  # fmt: skip


def test_code_and_configuration_are_changed_apart(lambdas: Any, name: str) -> None:
    create(lambdas, name, answering(1), Environment={"Variables": {"WHO": "one"}})
    before = lambdas.get_function_configuration(FunctionName=name)["RevisionId"]
    updated = lambdas.update_function_code(FunctionName=name, ZipFile=answering(2), RevisionId=before)
    assert updated["LastUpdateStatus"] == "InProgress"
    lambdas.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert called(lambdas, name)["answer"] == 2
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": {"WHO": "two"}}, Timeout=9)
    found = called(lambdas, name)
    assert (found["answer"], found["env"]) == (2, "two")
    assert lambdas.get_function_configuration(FunctionName=name)["Timeout"] == 9
    assert refused(lambdas.update_function_code, FunctionName=name, ZipFile=answering(3), RevisionId=before)[:2] == (
        412, "PreconditionFailedException",
    )  # fmt: skip
    dry = lambdas.update_function_code(FunctionName=name, ZipFile=answering(3), DryRun=True)
    assert dry["CodeSha256"] == base64.b64encode(hashlib.sha256(answering(3)).digest()).decode()
    assert called(lambdas, name)["answer"] == 2


def test_versions_never_change_and_aliases_lead_to_them(lambdas: Any, name: str) -> None:
    create(lambdas, name, answering("one"))
    first = lambdas.publish_version(FunctionName=name, Description="the first")
    again = lambdas.publish_version(FunctionName=name)
    assert (first["Version"], again["Version"], again["Description"]) == ("1", "1", "the first")
    assert first["FunctionArn"] == f"{ARN}{name}:1"
    assert lambdas.update_function_code(FunctionName=name, ZipFile=answering("two"), Publish=True)["Version"] == "2"
    assert called(lambdas, name, Qualifier="1") == {
        "answer": "one", "version": "1", "name": name, "arn": f"{ARN}{name}:1", "env": None,
    }  # fmt: skip
    alias = lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert alias["AliasArn"] == f"{ARN}{name}:live"
    found = called(lambdas, f"{name}:live")
    assert (found["answer"], found["version"], found["arn"]) == ("one", "1", f"{ARN}{name}:live")
    lambdas.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert called(lambdas, name, Qualifier="live")["answer"] == "two"
    lambdas.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
    assert {called(lambdas, name, Qualifier="live")["answer"] for _ in range(40)} == {"one", "two"}
    versions = lambdas.list_versions_by_function(FunctionName=name)["Versions"]
    assert [one["Version"] for one in versions] == ["$LATEST", "1", "2"]
    assert [one["Name"] for one in lambdas.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]] == ["live"]
    assert refused(lambdas.delete_function, FunctionName=name, Qualifier="1")[1] == "ResourceConflictException"
    lambdas.delete_alias(FunctionName=name, Name="live")
    assert refused(lambdas.get_alias, FunctionName=name, Name="live")[:2] == (404, "ResourceNotFoundException")
    assert refused(lambdas.invoke, FunctionName=name, Qualifier="live")[2] == f"Function not found: {ARN}{name}:live"
    lambdas.delete_function(FunctionName=name, Qualifier="1")
    assert [v["Version"] for v in lambdas.list_versions_by_function(FunctionName=name)["Versions"]] == ["$LATEST", "2"]
    assert lambdas.publish_version(FunctionName=name)["Version"] == "2"
    lambdas.update_function_configuration(FunctionName=name, MemorySize=256)
    assert lambdas.publish_version(FunctionName=name)["Version"] == "3"


def test_a_function_that_is_deleted_is_gone_and_its_name_free(lambdas: Any, name: str) -> None:
    create(lambdas, name, answering(1), Publish=True)
    answer = lambdas.delete_function(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refused(lambdas.get_function, FunctionName=name) == (
        404, "ResourceNotFoundException", f"Function not found: {ARN}{name}",
    )  # fmt: skip
    assert refused(lambdas.invoke, FunctionName=name, Qualifier="1")[0] == 404
    create(lambdas, name, answering(2))
    assert called(lambdas, name)["answer"] == 2


def test_a_list_goes_on_where_what_its_marker_names_was_deleted_meanwhile(lambdas: Any) -> None:
    names = [f"page-{number}" for number in range(3)]
    for name in names:
        create(lambdas, name, answering(name), Publish=True)
    for timeout in (4, 5):
        lambdas.update_function_configuration(FunctionName=names[0], Timeout=timeout)
        lambdas.publish_version(FunctionName=names[0])
        lambdas.publish_layer_version(LayerName="page", Content={"ZipFile": answering(timeout)})
    lambdas.publish_layer_version(LayerName="page", Content={"ZipFile": answering(6)})

    def first(call: Any, **given: Any) -> str:
        marker: str = call(**given)["NextMarker"]
        return marker

    versions, layer = {"FunctionName": names[0]}, {"LayerName": "page"}
    number = first(lambdas.list_versions_by_function, **versions, MaxItems=2)
    lambdas.delete_function(**versions, Qualifier=number)
    found = lambdas.list_versions_by_function(**versions, Marker=number)["Versions"]
    assert (number, [one["Version"] for one in found]) == ("2", ["3"])
    number = first(lambdas.list_layer_versions, **layer, MaxItems=1)
    lambdas.delete_layer_version(**layer, VersionNumber=int(number))
    found = lambdas.list_layer_versions(**layer, Marker=number)["LayerVersions"]
    assert (number, [one["Version"] for one in found]) == ("2", [1])
    for every in ({}, {"FunctionVersion": "ALL"}):
        lambdas.delete_function(FunctionName=(gone := names.pop(1)))
        found = lambdas.list_functions(**every, Marker=f"{gone}:1" if every else gone)["Functions"]
        assert [one["FunctionName"] for one in found if one["FunctionName"].startswith("page-")] == (
            [] if every else names[1:]
        )
    told = refused(lambdas.list_versions_by_function, **versions, Marker="no number")
    assert told == (400, "InvalidParameterValueException", "The marker is not one that this list gave.")
    lambdas.delete_function(FunctionName=names[0])


def test_functions_of_the_folder_are_shown_and_not_changed(lambdas: Any) -> None:
    configured = lambdas.get_function_configuration(FunctionName="hello")
    assert (configured["Runtime"], configured["Timeout"], configured["MemorySize"]) == (RUNTIME, 30, 256)
    assert configured["Version"] == lambdas.invoke(FunctionName="hello")["ExecutedVersion"]
    assert configured["Description"] == "handlers/hello.py"
    assert configured["Handler"] == "hello.handler"
    assert abs(datetime.strptime(configured["LastModified"], "%Y-%m-%dT%H:%M:%S.%f%z") - datetime.now(UTC)) < timedelta(
        hours=1
    )
    pages = lambdas.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    names = [one["FunctionName"] for page in pages for one in page["Functions"]]
    assert {"hello", "broken"} <= set(names)
    assert names == sorted(set(names))
    for call, asked in (
        (lambdas.update_function_code, {"ZipFile": answering(1)}),
        (lambdas.update_function_configuration, {"Timeout": 5}),
        (lambdas.delete_function, {}),
        (lambdas.publish_version, {}),
    ):
        status, kind, says = refused(call, FunctionName="hello", **asked)
        assert (status, kind) == (400, "InvalidParameterValueException")
        assert says.startswith("hello is a function of this project's own (handlers/hello.py): ")
    assert refused(lambdas.create_function, FunctionName="hello", Role=ROLE, Runtime=RUNTIME, Handler="a.b",
                   Code={"ZipFile": answering(1)}) == (
        409, "ResourceConflictException", "Function already exist: hello",
    )  # fmt: skip


def linked() -> bytes:
    info = zipfile.ZipInfo("app.py")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({info: "/etc/passwd"})  # type: ignore[dict-item]


def test_what_is_large_beside_its_code_is_refused_unread(lambdas: Any, name: str) -> None:
    many = {f"k{number}": "v" for number in range(50_000)}
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    large = (413, "RequestEntityTooLargeException")
    told = "Request must be smaller than 262144 bytes"
    status, kind, says = refused(lambdas.tag_resource, Resource=arn, Tags=many)
    assert (status, kind, says) == (*large, f"{told} for the TagResource operation")
    asked = {"FunctionName": name, "Role": ROLE, "Runtime": RUNTIME, "Handler": "app.handler"}
    status, kind, says = refused(lambdas.create_function, **asked, Code={"ZipFile": b"PK"}, Tags=many)
    assert (status, kind, says) == (*large, f"{told} beside its ZipFile for the CreateFunction operation")


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"Code": {}}, "InvalidParameterValueException", "Please provide a source for function code."),
        ({"Code": {"ZipFile": b"no zip"}}, "InvalidParameterValueException",
         "Could not unzip uploaded file. Please check your file, then try to upload again."),
        ({"Code": {"ZipFile": zipped({})}}, "InvalidParameterValueException", "Uploaded file must be a non-empty zip"),
        ({"Code": {"ZipFile": zipped({"../app.py": "x"})}}, "InvalidParameterValueException",
         "Could not unzip uploaded file. Please check your file, then try to upload again. In it, '../app.py' leads out of"),
        ({"Code": {"ZipFile": linked()}}, "InvalidParameterValueException",
         "Could not unzip uploaded file. Please check your file, then try to upload again. In it, 'app.py' is a link"),
        ({"Code": {"ZipFile": zipped({"zeros": bytes(262_144_001)})}}, "InvalidParameterValueException",
         "Unzipped size must be smaller than 262144000 bytes"),
        ({"Runtime": "python2.7"}, "InvalidParameterValueException", "Runtime: handlers need python 3.8 or newer"),
        ({"Runtime": "java21"}, "InvalidParameterValueException", "Runtime: nothing here runs java21"),
        ({"Runtime": "cobol"}, "InvalidParameterValueException", "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["),
        ({"EphemeralStorage": {"Size": 10_241}}, "ValidationException",
         "1 validation error detected: Value '10241' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value less than or equal to 10240"),
        ({"Timeout": 901}, "ValidationException",
         "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"),
        ({"Role": "me"}, "ValidationException", "1 validation error detected: Value 'me' at 'role'"),
        ({"Environment": {"Variables": {"LONG": "x" * 4096}}}, "InvalidParameterValueException",
         "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: "),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException",
         "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, "InvalidParameterValueException", "VpcConfig: functions run in no"),
        ({"Tags": {f"k{n}": "v" for n in range(51)}}, "InvalidParameterValueException",
         "Number of tags exceeds resource tag limit."),
        ({"Tags": {"aws:cloudformation:stack-name": "v"}}, "InvalidParameterValueException", "Tags: aws: prefixed"),
        ({"Code": {"ZipFile": zipped({f"{n}": "" for n in range(50_001)})}}, "InvalidParameterValueException",
         "Could not unzip uploaded file. Please check your file, then try to upload again. It has too many entries: "),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_told_and_leaves_nothing(
    lambdas: Any, hub: Daemon, name: str, given: dict[str, Any], kind: str, says: str
) -> None:
    def lying() -> set[Path]:
        return set((hub.project / "var" / "functions").rglob("*"))

    before = lying()
    asked = {"Runtime": RUNTIME, "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": answering("x")}, **given}
    _, found, told = refused(lambdas.create_function, FunctionName=name, **asked)
    assert found == kind
    assert told.startswith(says)
    assert lying() == before
    assert refused(lambdas.get_function, FunctionName=name)[0] == 404


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"FunctionVersion": "9"}, "ResourceNotFoundException", f"Function not found: {ARN}NAME:9"),
        ({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}},
         "InvalidParameterValueException", "Invalid function version 1."),
        ({"FunctionVersion": "$LATEST", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}},
         "InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version"),
        ({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1, "3": 0.1}}},
         "InvalidParameterValueException", "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 1.5}}}, "ValidationException",
         "1 validation error detected: Value '{2=1.5}' at 'routingConfig.additionalVersionWeights'"),
        ({"FunctionVersion": "1", "Name": "7"}, "ValidationException", "1 validation error detected: Value '7' at 'name'"),
    ],
)  # fmt: skip
def test_an_alias_that_leads_nowhere_is_refused(lambdas: Any, given: dict[str, Any], kind: str, says: str) -> None:
    name = "aliased"
    try:
        lambdas.get_function(FunctionName=name)
    except ClientError:
        create(lambdas, name, answering(1), Publish=True)
    _, found, told = refused(lambdas.create_alias, FunctionName=name, **{"Name": "bad", **given})
    assert found == kind
    assert told.startswith(says.replace("NAME", name))


def test_an_event_for_a_version_is_run_by_it(lambdas: Any, hub: Daemon, name: str) -> None:
    create(lambdas, name, answering("one"), Publish=True)
    lambdas.update_function_code(FunctionName=name, ZipFile=answering("two"))
    answer = lambdas.invoke(FunctionName=name, Qualifier="1", InvocationType="Event", Payload=b"{}")
    delivery = answer["ResponseMetadata"]["RequestId"]
    done = until(lambda: (row := hub.api("GET", f"/api/v1/deliveries/{delivery}"))["finished"] and row, "it ran")
    assert (done["function"], done["version"], done["state"]) == (f"{name}:1", "1", "succeeded")


def test_the_context_of_node_and_of_a_bootstrap(lambdas: Any, name: str) -> None:
    bootstrap = zipfile.ZipInfo("bootstrap")
    bootstrap.external_attr = (stat.S_IFREG | 0o755) << 16
    text = (
        "#!/bin/sh\nN=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation\n"
        'while :; do H=$(mktemp); curl -sS -o /dev/null -D "$H" $N/next || exit 1\n'
        "I=$(grep -i ^lambda-runtime-aws-request-id \"$H\" | tr -d '\\r' | cut -d' ' -f2); rm \"$H\"\n"
        'curl -sS -o /dev/null -d "\\"$_HANDLER $AWS_LAMBDA_FUNCTION_NAME\\"" $N/$I/response; done\n'
    )
    code = zipped({bootstrap: text})  # type: ignore[dict-item]
    create(lambdas, name, code, Runtime="provided.al2023", Handler="the.handler", Timeout=30)
    assert json.loads(lambdas.invoke(FunctionName=name)["Payload"].read()) == f"the.handler {name}"


LOGGING = """
import logging
logger = logging.getLogger()
def handler(event, context):
    logger.info("too little")
    logger.warning("enough")
"""


def test_a_function_logs_in_json_from_the_level_that_its_configuration_says(lambdas: Any, name: str) -> None:
    create(
        lambdas, name, zipped({"app.py": LOGGING}), Publish=True,
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"},
    )  # fmt: skip
    group = f"/aws/lambda/{name}"
    assert lambdas.get_function_configuration(FunctionName=name)["LoggingConfig"] == {
        "LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": group,
    }  # fmt: skip

    def logged(**given: Any) -> list[str]:
        answer = lambdas.invoke(FunctionName=name, LogType="Tail", **given)
        lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
        return [line for line in lines if frame(line) is None]

    (line,) = logged()
    assert (json.loads(line)["level"], json.loads(line)["message"]) == ("WARNING", "enough")
    lambdas.update_function_configuration(FunctionName=name, LoggingConfig={"LogFormat": "Text", "LogGroup": group})
    assert lambdas.get_function_configuration(FunctionName=name)["LoggingConfig"] == {
        "LogFormat": "Text", "LogGroup": group,
    }  # fmt: skip
    (line,) = logged()
    assert line.startswith("[WARNING]")
    assert json.loads(*logged(Qualifier="1"))["message"] == "enough"
    assert lambdas.publish_version(FunctionName=name)["Version"] == "2", "how it logs makes a version of its own"
    for config, says in (
        ({"ApplicationLogLevel": "INFO"}, "LoggingConfig: levels go with the LogFormat JSON only."),
        ({"SystemLogLevel": "WARN"}, "LoggingConfig: levels go with the LogFormat JSON only."),
        ({"LogFormat": "JSON", "LogGroup": "/other"}, "LogGroup: a function's log is named after it."),
    ):
        code, kind, told = refused(lambdas.update_function_configuration, FunctionName=name, LoggingConfig=config)
        assert (code, kind, told.startswith(says)) == (400, "InvalidParameterValueException", True), told


FAILING = """
def handler(event, context):
    if event == "fail":
        raise LookupError("not there")
"""


def test_the_lines_around_each_call_are_in_the_form_and_from_the_level_that_the_configuration_says(
    lambdas: Any, name: str
) -> None:
    create(lambdas, name, zipped({"app.py": FAILING}), LoggingConfig={"LogFormat": "JSON"})

    def framed(event: str) -> list[Any]:
        answer = lambdas.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
        lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
        assert not [line for line in lines if line.startswith(("START ", "END ", "REPORT "))]
        told = [json.loads(line) for line in lines if frame(line)]
        assert {one["record"]["requestId"] for one in told} <= {answer["ResponseMetadata"]["RequestId"]}
        return told

    def kinds(event: str) -> list[str]:
        return [one["type"].removeprefix("platform.") for one in framed(event)]

    start, report = framed("work")
    assert (start["type"], start["record"]["version"]) == ("platform.start", "$LATEST")
    assert (report["type"], report["record"]["status"]) == ("platform.report", "success")
    metrics = report["record"]["metrics"]
    assert metrics["memorySizeMB"] == 128
    assert 0 < metrics["maxMemoryUsedMB"] <= 128
    assert metrics["durationMs"] <= metrics["billedDurationMs"]
    assert metrics["initDurationMs"] > 0
    assert kinds("fail") == ["start", "runtimeDone", "report"]
    for level, good, bad in (
        ("WARN", [], ["runtimeDone", "report"]),
        ("DEBUG", ["start", "runtimeDone", "report"], ["start", "runtimeDone", "report"]),
    ):
        lambdas.update_function_configuration(
            FunctionName=name, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": level}
        )
        assert lambdas.get_function_configuration(FunctionName=name)["LoggingConfig"]["SystemLogLevel"] == level
        assert (kinds("work"), kinds("fail")) == (good, bad)
    failed = framed("fail")[-1]["record"]
    assert (failed["status"], failed["errorType"]) == ("error", "LookupError")
