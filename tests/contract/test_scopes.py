"""What a key is denied or allowed of a function holds however the function is named, and whoever shall call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.package import ROLE, RUNTIME, answering, create, zipped
from tests.contract.test_functions import refused
from tests.contract.test_keys import made, signed
from tests.contract.test_policies import ARN, allow, denied, deny, keyed, says
from tests.e2e.daemon import daemon
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.whole import of_whole

WHOLE = {
    "CreateAlias", "CreateFunction", "DeleteAlias", "DeleteFunctionCodeSigningConfig", "DeleteFunctionConcurrency",
    "GetAlias", "GetFunctionCodeSigningConfig", "GetFunctionConcurrency", "GetFunctionRecursionConfig", "ListAliases",
    "ListFunctionEventInvokeConfigs", "ListFunctionUrlConfigs", "ListProvisionedConcurrencyConfigs",
    "ListVersionsByFunction", "PublishVersion", "PutFunctionCodeSigningConfig", "PutFunctionConcurrency",
    "PutFunctionRecursionConfig", "UpdateAlias", "UpdateFunctionCode", "UpdateFunctionConfiguration",
}  # fmt: skip
QUALIFIED = {
    "AddPermission", "CreateEventSourceMapping", "CreateFunctionUrlConfig", "DeleteFunction",
    "DeleteFunctionEventInvokeConfig", "DeleteFunctionUrlConfig", "DeleteProvisionedConcurrencyConfig", "GetFunction",
    "GetFunctionConfiguration", "GetFunctionEventInvokeConfig", "GetFunctionScalingConfig", "GetFunctionUrlConfig",
    "GetPolicy", "GetProvisionedConcurrencyConfig", "GetRuntimeManagementConfig", "Invoke", "InvokeAsync",
    "InvokeWithResponseStream", "ListDurableExecutionsByFunction", "ListEventSourceMappings",
    "PutFunctionEventInvokeConfig", "PutFunctionScalingConfig", "PutProvisionedConcurrencyConfig",
    "PutRuntimeManagementConfig", "RemovePermission", "UpdateEventSourceMapping", "UpdateFunctionEventInvokeConfig",
    "UpdateFunctionUrlConfig",
}  # fmt: skip


def test_each_operation_that_names_a_function_is_of_it_as_a_whole_or_takes_a_qualifier() -> None:
    lambdas = service()
    naming = {
        name
        for name, one in lambdas.operations.items()
        if one.input and "FunctionName" in {member for member, _, _ in lambdas.members(one.input)}
    }
    assert naming == WHOLE | QUALIFIED
    assert {name for name in naming if of_whole(name)} == WHOLE


CODE = answering(2)
NEW = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": CODE}}
BY_NAME: list[tuple[str, dict[str, Any]]] = [
    ("put_function_concurrency", {"ReservedConcurrentExecutions": 1}),
    ("get_function_concurrency", {}),
    ("delete_function_concurrency", {}),
    ("update_function_code", {"ZipFile": CODE}),
    ("update_function_configuration", {"Timeout": 9}),
    ("publish_version", {}),
    ("create_alias", {"Name": "new", "FunctionVersion": "1"}),
    ("update_alias", {"Name": "live", "Description": "x"}),
    ("get_alias", {"Name": "live"}),
    ("delete_alias", {"Name": "other"}),
    ("list_aliases", {}),
    ("list_versions_by_function", {}),
    ("list_function_url_configs", {}),
    ("list_function_event_invoke_configs", {}),
    ("list_provisioned_concurrency_configs", {}),
    ("get_function_code_signing_config", {}),
    ("create_function", NEW),
]


def test_a_qualifier_evades_no_policy(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", "--role", "admin")
        for name in ("secret", "mine"):
            create(admin, name, answering(1), Publish=True)
            for alias in ("live", "other"):
                admin.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        secret, mine = f"{ARN}:function:secret", f"{ARN}:function:mine"
        but = keyed(hub, "but", allow("*"), deny("*", on=secret))
        narrow = keyed(hub, "narrow", allow("*", on=f"{mine}:live"))
        granted = keyed(hub, "granted", allow("ListFunctions"))
        user = "arn:aws:iam::000000000000:user/granted"
        admin.add_permission(
            FunctionName="mine", Qualifier="live", StatementId="all", Action="lambda:*", Principal=user
        )
        for operation, given in BY_NAME:
            for named in ("secret:zz", "secret:live", "secret:$LATEST", secret + ":zz"):
                told = says(but, getattr(but, operation), FunctionName=named, **given)
                assert told == denied(secret) or "failed to satisfy constraint" in told, (operation, named)
            for one in (narrow, granted):
                told = says(one, getattr(one, operation), FunctionName="mine:live", **given)
                assert told.startswith(f"{mine} because"), operation
            told = refused(getattr(admin, operation), FunctionName="mine:live", **given)
            assert told[:2] == (400, "InvalidParameterValueException"), operation
            assert told[2].startswith("This operation is permitted on Lambda functions only."), operation
        assert says(but, but.create_function, FunctionName="fresh:live", **NEW).startswith("{")
        for operation in ("invoke", "get_function", "delete_function", "get_function_event_invoke_config"):
            for given in ({"FunctionName": "secret:$LATEST"}, {"FunctionName": "secret", "Qualifier": "$LATEST"}):
                assert says(but, getattr(but, operation), **given) == denied(f"{secret}:$LATEST"), operation
        assert says(but, but.invoke, FunctionName="secret:live") == "allowed"  # another resource, as at AWS
        assert says(narrow, narrow.invoke, FunctionName="mine", Qualifier="live") == "allowed"
        assert says(granted, granted.invoke, FunctionName="mine:live") == "allowed"
        assert says(admin, admin.update_function_configuration, FunctionName="mine:$LATEST", Timeout=4) == "allowed"
        admin.put_resource_policy(ResourceArn=mine, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": mine},
        ]}))  # fmt: skip
        for named in ("mine", "mine:$LATEST"):
            assert says(admin, admin.invoke, FunctionName=named).endswith("explicit deny in a resource-based policy")


def test_who_may_not_call_a_function_calls_it_in_no_other_way(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", "--role", "admin")
        web = "def handler(event, context):\n    return {'n': 1}\n"
        create(admin, "web", zipped({"app.py": web}))
        url = admin.create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        arn = f"{ARN}:function:web"
        one = keyed(hub, "one", allow("*"), deny("InvokeFunction", on=arn))
        other = keyed(hub, "other", allow("InvokeAsync", "InvokeFunctionUrl", on=arn))
        assert says(one, one.invoke_async, FunctionName="web", InvokeArgs=b"{}") == denied(arn)
        assert signed(url, one._request_signer._credentials) == (403, {"Message": "Forbidden"})
        assert says(other, other.invoke_async, FunctionName="web", InvokeArgs=b"{}") == "allowed"
        assert signed(url, other._request_signer._credentials) == (200, {"n": 1})
        admin.update_function_url_config(FunctionName="web", AuthType="NONE")
        opened = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl", "Resource": arn}
        closed = {"Effect": "Deny", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": arn}
        for statements, answer in (([opened], 200), ([opened, closed], 403)):
            text = json.dumps({"Version": "2012-10-17", "Statement": statements})
            admin.put_resource_policy(ResourceArn=arn, Policy=text)
            assert signed(url, None)[0] == answer


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("arn:aws:lambda:us-east-1:123456789012:function:hello", "Function not found: arn:aws:lambda:us-east-1:123456789012:function:hello"),
        ("123456789012:function:hello", "Function not found: arn:aws:lambda:us-east-1:123456789012:function:hello"),
        ("arn:aws:lambda:eu-west-1:000000000000:function:hello", "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"),
    ],
)  # fmt: skip
def test_functions_of_other_accounts_and_regions_are_none_of_ours(lambdas: Any, named: str, says: str) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = [
        (lambdas.get_function, {}), (lambdas.get_function_configuration, {}), (lambdas.delete_function, {}),
        (lambdas.invoke, {}), (lambdas.create_function, NEW), (lambdas.update_function_configuration, {"Timeout": 4}),
        (lambdas.list_versions_by_function, {}), (lambdas.put_function_concurrency, {"ReservedConcurrentExecutions": 1}),
        (lambdas.get_policy, {}), (lambdas.list_event_source_mappings, {}),
    ]  # fmt: skip
    for call, given in calls:
        assert refused(call, FunctionName=named, **given) == (404, "ResourceNotFoundException", says), call
    if named.startswith("arn:"):
        assert refused(lambdas.list_tags, Resource=named)[1] == "ResourceNotFoundException"
        assert refused(lambdas.get_resource_policy, ResourceArn=named)[1] == "ResourceNotFoundException"
