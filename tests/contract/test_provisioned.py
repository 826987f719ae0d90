"""Provisioned concurrency: workers that are there before the first call, of a version or of an alias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import client
from tests.contract.package import answering, called, create, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import daemon, until

KIND = "import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
INVALID = "InvalidParameterValueException"


def put(lambdas: Any, name: str, qualifier: str, count: int) -> Any:
    return lambdas.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )


def get(lambdas: Any, name: str, qualifier: str) -> Any:
    return lambdas.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)


def numbers(found: Any) -> tuple[int, ...]:
    return tuple(found[f"{word}ProvisionedConcurrentExecutions"] for word in ("Requested", "Allocated", "Available"))


def ready(lambdas: Any, name: str, qualifier: str) -> Any:
    return until(
        lambda: (found := get(lambdas, name, qualifier))["Status"] == "READY" and found, f"{name}:{qualifier} is ready"
    )


def test_workers_are_ready_before_a_call_and_after_a_kill_and_follow_their_alias(tmp_path: Path) -> None:
    with daemon(tmp_path, "[defaults]\nconcurrency = 2\n", {}) as hub:
        lambdas = client(hub)
        create(lambdas, "fn", zipped({"app.py": KIND}), Publish=True)
        lambdas.create_alias(FunctionName="fn", Name="live", FunctionVersion="1")
        begun = put(lambdas, "fn", "live", 3)
        assert (begun["ResponseMetadata"]["HTTPStatusCode"], begun["Status"], numbers(begun)) == (
            202, "IN_PROGRESS", (3, 0, 0),
        )  # fmt: skip
        found = ready(lambdas, "fn", "live")
        assert numbers(found) == (3, 3, 3)
        assert found["LastModified"] == begun["LastModified"]
        assert called(lambdas, "fn", Qualifier="live") == "provisioned-concurrency"
        assert called(lambdas, "fn") == "on-demand"
        assert 'triggerhub_cold_starts_total{function="fn:1"}' not in hub.api("GET", "/metrics", raw=True)[1].decode()
        assert "3 kept ready" in hub.cli("functions", "show", "fn:1").stdout
        hub.kill()
        hub.start()
        ready(lambdas, "fn", "live")
        lambdas.update_function_configuration(FunctionName="fn", Timeout=5)
        assert lambdas.publish_version(FunctionName="fn")["Version"] == "2"
        lambdas.update_alias(FunctionName="fn", Name="live", FunctionVersion="2")
        ready(lambdas, "fn", "live")
        until(lambda: hub.api("GET", "/api/v1/functions/fn:1")["workers"] == 0, "those of the first one ended")
        told = refused(lambdas.update_alias, FunctionName="fn", Name="live", FunctionVersion="$LATEST")
        assert told[:2] == (400, INVALID)
        assert "provisioned concurrency, which $LATEST cannot have" in told[2]
        put(lambdas, "fn", "1", 1)
        listed = lambdas.list_provisioned_concurrency_configs(FunctionName="fn")["ProvisionedConcurrencyConfigs"]
        assert [(one["FunctionArn"], numbers(one)[0]) for one in listed] == [(f"{ARN}fn:1", 1), (f"{ARN}fn:live", 3)]
        for qualifier in ("1", "live"):
            lambdas.delete_provisioned_concurrency_config(FunctionName="fn", Qualifier=qualifier)
        lambdas.delete_provisioned_concurrency_config(FunctionName="fn", Qualifier="live")
        assert refused(lambdas.get_provisioned_concurrency_config, FunctionName="fn", Qualifier="live") == (
            404, "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )  # fmt: skip
        until(lambda: hub.api("GET", "/api/v1/functions/fn:2")["workers"] == 0, "nothing is kept ready any more")


def test_a_function_that_does_not_start_says_so(lambdas: Any) -> None:
    create(lambdas, "unstarted", zipped({"app.py": "import nothing_of_this_name\n"}), Publish=True)
    put(lambdas, "unstarted", "1", 1)
    found = until(lambda: (one := get(lambdas, "unstarted", "1"))["Status"] == "FAILED" and one, "it failed")
    assert "nothing_of_this_name" in found["StatusReason"]
    lambdas.delete_function(FunctionName="unstarted")


@pytest.fixture(scope="module")
def fn(lambdas: Any) -> Any:
    create(lambdas, "kept", answering("one"), Publish=True)
    lambdas.update_function_code(FunctionName="kept", ZipFile=answering("two"), Publish=True)
    lambdas.create_alias(FunctionName="kept", Name="one", FunctionVersion="1")
    lambdas.create_alias(FunctionName="kept", Name="latest", FunctionVersion="$LATEST")
    lambdas.create_alias(
        FunctionName="kept", Name="both", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )
    lambdas.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=3)
    put(lambdas, "kept", "2", 2)
    yield "kept"
    lambdas.delete_function(FunctionName="kept")


@pytest.mark.parametrize(
    ("qualifier", "count", "expected"),
    [
        ("$LATEST", 1, (400, INVALID, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")),
        ("latest", 1, (400, INVALID, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")),
        ("both", 1, (400, INVALID, "Alias with weights can not be used with Provisioned Concurrency")),
        ("1", 2, (400, INVALID, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")),
        ("1", 1001, (400, INVALID, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000].")),
        ("9", 1, (404, "ResourceNotFoundException", f"Function not found: {ARN}kept:9")),
        ("none", 1, (404, "ResourceNotFoundException", f"Cannot find alias arn: {ARN}kept:none")),
    ],
)  # fmt: skip
def test_one_that_cannot_be_is_refused_in_awss_words(
    lambdas: Any, fn: str, qualifier: str, count: int, expected: tuple[int, str, str]
) -> None:
    asked = {"FunctionName": fn, "Qualifier": qualifier, "ProvisionedConcurrentExecutions": count}
    assert refused(lambdas.put_provisioned_concurrency_config, **asked) == expected


def test_a_version_and_an_alias_of_it_do_not_both_have_one(lambdas: Any, fn: str) -> None:
    lambdas.update_alias(FunctionName=fn, Name="one", FunctionVersion="2")
    asked = {"FunctionName": fn, "ProvisionedConcurrentExecutions": 1}
    put_ = lambdas.put_provisioned_concurrency_config
    assert refused(put_, **asked, Qualifier="one") == (
        409, "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )  # fmt: skip
    lambdas.update_alias(FunctionName=fn, Name="one", FunctionVersion="1")
    put(lambdas, fn, "one", 1)
    moved = refused(lambdas.update_alias, FunctionName=fn, Name="one", FunctionVersion="2")
    assert moved[:2] == (409, "ResourceConflictException"), "version 2 has one"
    assert refused(put_, **asked, Qualifier="1") == (
        409, "ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias",
    )  # fmt: skip
    assert refused(lambdas.put_function_concurrency, FunctionName=fn, ReservedConcurrentExecutions=2) == (
        400, INVALID,
        " ReservedConcurrentExecutions  2 should not be lower than function's total provisioned concurrency [3].",
    )  # fmt: skip
    lambdas.delete_alias(FunctionName=fn, Name="one")
    lambdas.create_alias(FunctionName=fn, Name="one", FunctionVersion="1")
    assert refused(lambdas.get_provisioned_concurrency_config, FunctionName=fn, Qualifier="one")[0] == 404
