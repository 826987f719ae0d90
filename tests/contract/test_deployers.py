"""What Terraform, the SAM CLI and the CDK ask of Lambda while they deploy, in their order and with their inputs.

Terraform's are those of ``internal/service/lambda`` in its AWS provider: each resource is made, read back, changed, read back
and taken away, and a thing that was never set must read as AWS has it unset, or the next plan wants to change it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.package import ROLE, RUNTIME, answering, called, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import until

ONE, TWO = answering("one"), answering("two")
MANY = 10_000
"""Terraform's page of ListVersionsByFunction."""


def digest(code: bytes) -> str:
    return b64encode(hashlib.sha256(code).digest()).decode()


def read(lambdas: Any, name: str) -> dict[str, Any]:
    """Read a function as Terraform does after every change: three calls."""
    found = lambdas.get_function(FunctionName=name)
    versions = lambdas.get_paginator("list_versions_by_function").paginate(
        FunctionName=name, PaginationConfig={"PageSize": MANY}
    )
    newest = [one for page in versions for one in page["Versions"]][-1]
    signing = lambdas.get_function_code_signing_config(FunctionName=name)
    return {
        **found["Configuration"],
        "code": found["Code"],
        "tags": found.get("Tags", {}),
        "reserved": found.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1),
        "newest": newest["Version"],
        "qualified_arn": newest["FunctionArn"],
        "signing": signing["CodeSigningConfigArn"],
    }


def gone(call: Any, **given: Any) -> bool:
    """Whether a thing is not there, in the one way that deployers take for it."""
    try:
        call(**given)
    except ClientError as error:
        return error.response["Error"]["Code"] in (
            "ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException",
        )  # fmt: skip
    return False


@pytest.fixture
def function(lambdas: Any) -> Iterator[str]:
    """A function of Terraform's making, with the members that it sends though nothing was said of them."""
    name = "deployed-by-others"
    lambdas.create_function(
        FunctionName=name, Role=ROLE, Runtime=RUNTIME, Handler="app.handler", Code={"ZipFile": ONE}, Description="",
        MemorySize=128, PackageType="Zip", Publish=True, Timeout=3, Tags={"stage": "test"},
    )  # fmt: skip
    until(lambda: lambdas.get_function(FunctionName=name)["Configuration"]["State"] == "Active", "it is active")
    yield name
    if not gone(lambdas.get_function, FunctionName=name):
        lambdas.delete_function(FunctionName=name)


def test_a_function_of_terraform(lambdas: Any, function: str) -> None:
    found = read(lambdas, function)
    assert {key: found[key] for key in ("tags", "reserved", "newest", "signing")} == {
        "tags": {"stage": "test"}, "reserved": -1, "newest": "1", "signing": "",
    }  # fmt: skip
    assert (found["qualified_arn"], found["CodeSha256"]) == (f"{ARN}{function}:1", digest(ONE))
    assert (found["TracingConfig"], found["PackageType"]) == ({"Mode": "PassThrough"}, "Zip")
    assert (found["EphemeralStorage"], found["LoggingConfig"]["LogFormat"]) == ({"Size": 512}, "Text")
    unset = {"DeadLetterConfig", "Environment", "FileSystemConfigs", "ImageConfigResponse", "Layers", "VpcConfig"}
    assert not {key for key in unset & found.keys() if found[key]}
    # Everything that was set and is taken out again comes as what is empty.
    lambdas.update_function_configuration(
        FunctionName=function, Timeout=5, Environment={"Variables": {"WHO": "me"}}, MemorySize=256,
    )  # fmt: skip
    lambdas.update_function_configuration(
        FunctionName=function, Environment={"Variables": {}}, DeadLetterConfig={"TargetArn": ""}, KMSKeyArn="",
        FileSystemConfigs=[], ImageConfig={}, Layers=[], TracingConfig={"Mode": "PassThrough"},
        VpcConfig={"Ipv6AllowedForDualStack": False, "SecurityGroupIds": [], "SubnetIds": []},
        SnapStart={"ApplyOn": "None"}, LoggingConfig={"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function}"},
        EphemeralStorage={"Size": 512},
    )  # fmt: skip
    updated = lambdas.get_function(FunctionName=function)["Configuration"]
    assert (updated["LastUpdateStatus"], updated["Timeout"], updated["MemorySize"]) == ("Successful", 5, 256)
    assert updated["Environment"] == {"Variables": {}}, "as AWS shows one that was given"
    lambdas.update_function_code(FunctionName=function, ZipFile=TWO, Architectures=updated["Architectures"])
    assert lambdas.get_function(FunctionName=function)["Configuration"]["LastUpdateStatus"] == "Successful"
    version = lambdas.publish_version(FunctionName=function)
    published = lambdas.get_function_configuration(FunctionName=version["FunctionArn"], Qualifier=version["Version"])
    assert published["LastUpdateStatus"] == "Successful"
    lambdas.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=2)
    lambdas.tag_resource(Resource=found["FunctionArn"], Tags={"owner": "us"})
    lambdas.untag_resource(Resource=found["FunctionArn"], TagKeys=["stage"])
    found = read(lambdas, function)
    assert (found["newest"], found["reserved"], found["tags"]) == ("2", 2, {"owner": "us"})
    assert lambdas.get_function_concurrency(FunctionName=function)["ReservedConcurrentExecutions"] == 2
    lambdas.delete_function_concurrency(FunctionName=function)
    # A signing configuration that is taken out, as if there had been one.
    lambdas.delete_function_code_signing_config(FunctionName=function)
    assert called(lambdas, function)["answer"] == "two"
    lambdas.delete_function(FunctionName=function)
    assert gone(lambdas.get_function, FunctionName=function)


def test_what_terraform_joins_to_a_function(lambdas: Any, function: str) -> None:
    alias = {"FunctionName": function, "Name": "live"}
    lambdas.create_alias(**alias, FunctionVersion="1", Description="", RoutingConfig={})
    assert "RoutingConfig" not in lambdas.get_alias(**alias)
    lambdas.update_alias(**alias, FunctionVersion="1", Description="said", RoutingConfig={})
    url = {"FunctionName": function, "Qualifier": "live"}
    lambdas.create_function_url_config(**url, AuthType="NONE", InvokeMode="BUFFERED")
    lambdas.add_permission(
        **url, StatementId="FunctionURLAllowPublicAccess", Action="lambda:InvokeFunctionUrl", Principal="*",
        FunctionUrlAuthType="NONE",
    )  # fmt: skip
    lambdas.add_permission(
        **url, StatementId="FunctionURLAllowInvokeAction", Action="lambda:InvokeFunction", Principal="*",
        InvokedViaFunctionUrl=True,
    )  # fmt: skip
    assert lambdas.get_function_url_config(**url)["FunctionArn"] == f"{ARN}{function}:live"
    granted = {"FunctionName": function, "Qualifier": "live", "StatementId": "events"}
    lambdas.add_permission(**granted, Action="lambda:InvokeFunction", Principal="events.amazonaws.com")
    policy = json.loads(lambdas.get_policy(FunctionName=function, Qualifier="live")["Policy"])
    assert {one["Sid"]: one["Resource"] for one in policy["Statement"]} == dict.fromkeys(
        ("FunctionURLAllowPublicAccess", "FunctionURLAllowInvokeAction", "events"), f"{ARN}{function}:live"
    )
    lambdas.remove_permission(**granted)
    for made in ("FunctionURLAllowPublicAccess", "FunctionURLAllowInvokeAction"):
        lambdas.remove_permission(**{**granted, "StatementId": made})
    assert gone(lambdas.get_policy, FunctionName=function, Qualifier="live")
    lambdas.delete_function_url_config(**url)
    assert gone(lambdas.get_function_url_config, **url)
    warm = {"FunctionName": function, "Qualifier": "1"}
    lambdas.put_provisioned_concurrency_config(**warm, ProvisionedConcurrentExecutions=1)
    until(lambda: lambdas.get_provisioned_concurrency_config(**warm)["Status"] == "READY", "it is warm")
    lambdas.delete_provisioned_concurrency_config(**warm)
    assert gone(lambdas.get_provisioned_concurrency_config, **warm)
    lambdas.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=1)
    assert lambdas.get_function_event_invoke_config(FunctionName=function)["MaximumRetryAttempts"] == 1
    lambdas.delete_function_event_invoke_config(FunctionName=function)
    assert gone(lambdas.get_function_event_invoke_config, FunctionName=function)
    for _ in range(2):
        lambdas.put_runtime_management_config(FunctionName=function, UpdateRuntimeOn="Auto")
        with pytest.raises(ClientError, match="RuntimeVersionArn: it goes with UpdateRuntimeOn Manual alone"):
            lambdas.put_runtime_management_config(
                FunctionName=function,
                UpdateRuntimeOn="Auto",
                RuntimeVersionArn=f"arn:aws:lambda:us-east-1::runtime:{'0' * 64}",
            )
        assert lambdas.get_runtime_management_config(FunctionName=function)["UpdateRuntimeOn"] == "Auto"
        lambdas.put_function_recursion_config(FunctionName=function, RecursiveLoop="Terminate")
        assert lambdas.get_function_recursion_config(FunctionName=function)["RecursiveLoop"] == "Terminate"
    lambdas.delete_alias(**alias)
    assert gone(lambdas.get_alias, **alias)


def test_a_mapping_of_terraform(lambdas: Any, function: str) -> None:
    made = lambdas.create_event_source_mapping(
        FunctionName=function, EventSourceArn="arn:aws:sqs:us-east-1:000000000000:jobs", Enabled=False, BatchSize=5,
        Tags={"stage": "test"},
    )  # fmt: skip
    key, named = made["UUID"], made["EventSourceMappingArn"]
    until(lambda: lambdas.get_event_source_mapping(UUID=key)["State"] == "Disabled", "it is there")
    assert lambdas.list_tags(Resource=named)["Tags"] == {"stage": "test"}
    lambdas.update_event_source_mapping(UUID=key, BatchSize=7, FilterCriteria={}, ScalingConfig={})
    lambdas.tag_resource(Resource=named, Tags={"owner": "us"})
    lambdas.untag_resource(Resource=named, TagKeys=["stage"])
    found = lambdas.get_event_source_mapping(UUID=key)
    assert (found["BatchSize"], found["State"]) == (7, "Disabled")
    assert lambdas.list_tags(Resource=named)["Tags"] == {"owner": "us"}
    lambdas.delete_event_source_mapping(UUID=key)
    assert gone(lambdas.get_event_source_mapping, UUID=key)
    assert gone(lambdas.list_tags, Resource=named)
    assert gone(lambdas.tag_resource, Resource=named, Tags={"a": "b"})


def test_a_layer_of_terraform(lambdas: Any) -> None:
    layer = lambdas.publish_layer_version(
        LayerName="shared-by-others", Content={"ZipFile": zipped({"python/shared.py": "name = 1\n"})}, Description="",
        CompatibleRuntimes=[RUNTIME],
    )  # fmt: skip
    one = {"LayerName": "shared-by-others", "VersionNumber": layer["Version"]}
    assert lambdas.get_layer_version(**one)["Content"]["CodeSha256"] == layer["Content"]["CodeSha256"]
    lambdas.add_layer_version_permission(**one, StatementId="all", Action="lambda:GetLayerVersion", Principal="*")
    assert json.loads(lambdas.get_layer_version_policy(**one)["Policy"])["Statement"][0]["Principal"] == "*"
    lambdas.remove_layer_version_permission(**one, StatementId="all")
    assert gone(lambdas.get_layer_version_policy, **one)
    lambdas.delete_layer_version(**one)
    assert gone(lambdas.get_layer_version, **one)


def test_code_that_sam_sync_and_a_hotswap_of_the_cdk_put_in_place(lambdas: Any, function: str) -> None:
    lambdas.update_function_code(FunctionName=function, ZipFile=TWO, DryRun=False)
    lambdas.get_waiter("function_updated_v2").wait(FunctionName=function)
    lambdas.update_function_configuration(FunctionName=function, Environment={"Variables": {"WHO": "me"}})
    lambdas.get_waiter("function_updated").wait(FunctionName=function)
    version = lambdas.publish_version(FunctionName=function)["Version"]
    lambdas.get_waiter("published_version_active").wait(FunctionName=function, Qualifier=version)
    lambdas.create_alias(FunctionName=function, Name="hot", FunctionVersion="1")
    lambdas.update_alias(FunctionName=function, Name="hot", FunctionVersion=version)
    answer = called(lambdas, function, Qualifier="hot")
    assert (answer["answer"], answer["env"], answer["version"]) == ("two", "me", version)


SIGNING = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"
NO_SIGNING = (
    f"The code signing configuration cannot be found. Check that the provided configuration is not deleted: {SIGNING}."
)


def test_what_there_is_none_of_is_not_there(lambdas: Any, function: str) -> None:
    assert lambdas.list_code_signing_configs()["CodeSigningConfigs"] == []
    assert lambdas.list_capacity_providers()["CapacityProviders"] == []
    assert lambdas.list_durable_executions_by_function(FunctionName=function)["DurableExecutions"] == []
    assert gone(lambdas.list_durable_executions_by_function, FunctionName="nobody")
    for call in (
        lambdas.get_code_signing_config, lambdas.delete_code_signing_config, lambdas.update_code_signing_config,
        lambdas.list_functions_by_code_signing_config,
    ):  # fmt: skip
        assert refused(call, CodeSigningConfigArn=SIGNING) == (
            404, "ResourceNotFoundException", f"The Lambda code signing configuration {SIGNING} can not be found.",
        )  # fmt: skip
    assert refused(
        lambdas.put_function_code_signing_config, FunctionName=function, CodeSigningConfigArn=SIGNING
    ) == (404, "CodeSigningConfigNotFoundException", NO_SIGNING)  # fmt: skip
    assert gone(lambdas.get_capacity_provider, CapacityProviderName="any")
    assert gone(lambdas.list_tags, Resource=SIGNING)
