"""What a key is denied or allowed of a function holds however the function is named, and whoever shall call it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.keys import made, signed
from tests.contract.package import ROLE, RUNTIME, answering, create, zipped
from tests.contract.test_functions import refused
from tests.contract.test_policies import ARN, allow, denied, deny, keyed, policy, says, unallowed
from tests.e2e.daemon import daemon
from triggerhub.aws.restjson import ApiError
from triggerhub.hub.tokens import Token
from triggerhub.policy.access import Role
from triggerhub.web.lambda_api import identity
from triggerhub.web.lambda_api.caller import require
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.permissions import opens
from triggerhub.web.lambda_api.wanted import call as wanted_of
from triggerhub.web.lambda_api.wanted import resource_tags
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
        admin = made(hub, "admin", role="admin")
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


def test_what_the_folder_has_is_denied_by_its_hash_too(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {"secret.py": "def handler(event, context):\n    return 1\n"}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "mine", answering(1))
        secret, now = f"{ARN}:function:secret", admin.get_function_configuration(FunctionName="secret")["Version"]
        all_ = {"Effect": "Allow", "Action": ["lambda:*", "kinesis:*"], "Resource": "*"}
        but = keyed(hub, "but", all_, deny("InvokeFunction", on=secret))
        told = denied(f"{secret}:{now}")
        for given in ({"FunctionName": f"secret:{now}"}, {"FunctionName": "secret", "Qualifier": now}):
            assert says(but, but.invoke, **given) == told
            assert says(but, but.invoke, **given, InvocationType="Event") == told
        assert says(but, but.invoke_async, FunctionName=f"secret:{now}", InvokeArgs=b"{}") == told
        for which in ("OnSuccess", "OnFailure"):
            to = {which: {"Destination": f"{secret}:{now}"}}
            put = {"FunctionName": "mine", "DestinationConfig": to}
            assert says(but, but.put_function_event_invoke_config, **put) == told
        stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
        mapping = {"EventSourceArn": stream, "StartingPosition": "LATEST", "Enabled": False}
        for named in ("secret", f"secret:{now}"):
            assert says(but, but.create_event_source_mapping, FunctionName=named, **mapping) == denied(
                f"{ARN}:function:{named}"
            )
        # what it is not now it may be at any time
        assert says(but, but.invoke, FunctionName="secret:0123456789ab") == denied(f"{secret}:0123456789ab")
        narrow = keyed(hub, "narrow", allow("InvokeFunction", on=secret))
        assert says(narrow, narrow.invoke, FunctionName="secret") == "allowed"
        assert says(narrow, narrow.invoke, FunctionName=f"secret:{now}") == unallowed(
            f"{secret}:{now}", "InvokeFunction"
        )


def test_a_condition_on_a_mapping_s_function_is_about_what_is_mapped(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {"here.py": "def handler(event, context):\n    return 1\n"}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "secret", answering(1), Publish=True)
        now = admin.get_function_configuration(FunctionName="here")["Version"]
        guarded = [f"{ARN}:function:secret", f"{ARN}:function:here"]
        changes = ("CreateEventSourceMapping", "UpdateEventSourceMapping", "DeleteEventSourceMapping")
        one = keyed(
            hub, "one",
            {"Effect": "Allow", "Action": ["lambda:*", "kinesis:*"], "Resource": "*"},
            deny(*changes, Condition={"ArnEquals": {"lambda:FunctionArn": guarded}}),
        )  # fmt: skip
        stream = {
            "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s", "StartingPosition": "LATEST",
            "Enabled": False,
        }  # fmt: skip
        other = says(one, one.create_event_source_mapping, FunctionName="secret:1", **stream)
        assert other == "allowed"  # another resource, as at AWS
        (key,) = [each["UUID"] for each in admin.list_event_source_mappings()["EventSourceMappings"]]
        names = ["secret", "secret:$LATEST", f"{guarded[0]}:$LATEST", "here", "here:$LATEST", f"here:{now}"]
        for named in names:
            told = says(one, one.create_event_source_mapping, FunctionName=named, **stream)
            assert told == denied(f"{ARN}:event-source-mapping:*"), named
            told = says(one, one.update_event_source_mapping, UUID=key, FunctionName=named)
            assert told == denied(f"{ARN}:event-source-mapping:{key}"), named
        assert len(admin.list_event_source_mappings()["EventSourceMappings"]) == 1


def test_who_may_not_call_a_function_calls_it_in_no_other_way(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        web = "def handler(event, context):\n    return {'n': 1}\n"
        create(admin, "web", zipped({"app.py": web}))
        url = admin.create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        arn = f"{ARN}:function:web"
        one = keyed(hub, "one", allow("*"), deny("InvokeFunction", on=arn))
        other = keyed(hub, "other", allow("InvokeAsync", "InvokeFunctionUrl", on=arn))
        both = keyed(hub, "both", allow("InvokeFunction", "InvokeFunctionUrl", on=arn))
        assert says(one, one.invoke_async, FunctionName="web", InvokeArgs=b"{}") == denied(arn)
        assert signed(url, one._request_signer._credentials) == (403, {"Message": "Forbidden"})
        assert says(other, other.invoke_async, FunctionName="web", InvokeArgs=b"{}") == "allowed"
        assert signed(url, other._request_signer._credentials) == (403, {"Message": "Forbidden"})
        assert signed(url, both._request_signer._credentials) == (200, {"n": 1})
        admin.update_function_url_config(FunctionName="web", AuthType="NONE")
        opened = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction*", "Resource": arn}
        half = {**opened, "Action": "lambda:InvokeFunctionUrl"}
        closed = {"Effect": "Deny", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": arn}
        for statements, answer in (([half], 403), ([opened], 200), ([opened, closed], 403)):
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


def test_a_function_that_a_key_names_as_a_target_is_one_that_it_may_call(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        for name in ("mine", "helper", "secret"):
            create(admin, name, answering(1))
        queue, topic = "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:sns:us-east-1:000000000000:t"
        stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
        functions = [f"{ARN}:function:{name}" for name in ("mine", "helper")]
        narrow = keyed(
            hub, "narrow",
            allow("*", on=[*functions, f"{ARN}:event-source-mapping:*"]),
            {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue},
        )  # fmt: skip
        simple = made(hub, "simple", actions=["lambda:*"], functions=["mine"])
        secret = f"{ARN}:function:secret"
        refusal = unallowed(secret, "InvokeFunction")
        for which in ("OnSuccess", "OnFailure"):
            for call in ("put", "update"):
                for one in (narrow, simple):
                    put = getattr(one, f"{call}_function_event_invoke_config")
                    to = {"FunctionName": "mine", "DestinationConfig": {which: {"Destination": secret}}}
                    assert says(one, put, **to) == refusal
                    assert says(one, put, **{**to, "DestinationConfig": {which: {"Destination": topic}}}).startswith(
                        f"{topic} because"
                    )
            for target in (functions[1], queue):
                to = {"FunctionName": "mine", "DestinationConfig": {which: {"Destination": target}}}
                assert says(narrow, narrow.put_function_event_invoke_config, **to) == "allowed"
                assert says(admin, admin.put_function_event_invoke_config, **to) == "allowed"
        mapping = {"FunctionName": "mine", "EventSourceArn": stream, "StartingPosition": "LATEST", "Enabled": False}
        assert says(narrow, narrow.create_event_source_mapping, **mapping).startswith(f"{stream} because")
        theirs = admin.create_event_source_mapping(**mapping)["UUID"]
        to = {"UUID": theirs, "DestinationConfig": {"OnFailure": {"Destination": secret}}}
        assert says(narrow, narrow.update_event_source_mapping, **to) == refusal
        denier = keyed(hub, "denier", allow("*"), deny("*", on=secret))
        moved = {"UUID": theirs, "FunctionName": "secret:$LATEST"}
        assert says(denier, denier.update_event_source_mapping, **moved) == denied(f"{secret}:$LATEST")
        change = narrow.update_function_configuration
        assert says(narrow, change, FunctionName="mine", DeadLetterConfig={"TargetArn": queue}) == "allowed"
        told = says(narrow, change, FunctionName="mine", DeadLetterConfig={"TargetArn": topic})
        assert told == f"{topic} because no identity-based policy allows the sns:Publish action"
        told = says(narrow, narrow.update_function_code, FunctionName="mine", S3Bucket="bucket", S3Key="k/1.zip")
        assert told == "arn:aws:s3:::bucket/k/1.zip because no identity-based policy allows the s3:GetObject action"


def test_a_layer_is_for_a_key_that_may_get_it(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "mine", answering(1))
        layers = {
            name: admin.publish_layer_version(LayerName=name, Content={"ZipFile": answering(1)})["LayerVersionArn"]
            for name in ("open", "secret")
        }
        one = keyed(
            hub, "one",
            allow("*", on=[f"{ARN}:function:*"]), allow("GetLayerVersion", on=f"{ARN}:layer:open:*"),
        )  # fmt: skip
        assert says(one, one.update_function_configuration, FunctionName="mine", Layers=[layers["open"]]) == "allowed"
        told = unallowed(layers["secret"], "GetLayerVersion")
        both = list(layers.values())
        assert says(one, one.update_function_configuration, FunctionName="mine", Layers=both) == told
        assert says(one, one.create_function, FunctionName="new", Layers=both, **NEW) == told
        assert says(one, one.get_layer_version_by_arn, Arn=layers["open"]) == "allowed"
        assert says(one, one.get_layer_version_by_arn, Arn=layers["secret"]) == told
        but = keyed(hub, "but", allow("*"), deny("GetLayerVersion", on=layers["secret"]))
        assert says(but, but.get_layer_version_by_arn, Arn=layers["secret"]) == denied(layers["secret"])
        held = admin.get_function(FunctionName="mine")["Configuration"]["Layers"]
        assert [layer["Arn"] for layer in held] == [layers["open"]]


def test_tags_that_differ_by_capitals_are_refused_as_conditions_do_not_tell_them_apart(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "red", answering(1), Tags={"team": "red"})
        arn = f"{ARN}:function:red"
        one = keyed(
            hub, "one", allow("*"), deny("DeleteFunction", Condition={"StringEquals": {"aws:ResourceTag/team": "red"}})
        )
        for tags in ({"Team": "blue"}, {"a": "1", "A": "2"}):
            assert refused(one.tag_resource, Resource=arn, Tags=tags)[1] == "InvalidParameterValueException"
        assert refused(one.create_function, FunctionName="new", Tags={"a": "1", "A": "2"}, **NEW)[1] == (
            "InvalidParameterValueException"
        )
        assert admin.list_tags(Resource=arn)["Tags"] == {"team": "red"}
        assert says(one, one.delete_function, FunctionName="red") == denied(arn)
    assert resource_tags({"team": "red", "Team": "blue"}) == {"aws:resourcetag/team": ("red", "blue")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"Principal": "garbage"}, "The provided principal was invalid. Please check the principal and try again."),
        ({"Principal": "123456789012"}, "The provided principal was invalid. Please check the principal and try again."),
        ({"Principal": "arn:aws:iam::123456789012:user/a"}, "The provided principal was invalid. Please check the principal and try again."),
        ({"Principal": "arn:aws:iam::000000000000:role/a"}, "The provided principal was invalid. Please check the principal and try again."),
        ({"Principal": "s3.amazonaws.com", "Action": "*"}, "Action: s3.amazonaws.com is a service, which calls functions: expected lambda:InvokeFunction."),
    ],
)  # fmt: skip
def test_a_permission_that_can_be_nobody_s_is_refused(lambdas: Any, given: dict[str, str], says: str) -> None:
    create(lambdas, "granting", answering(1))
    try:
        asked = {"FunctionName": "granting", "StatementId": "s", "Action": "lambda:InvokeFunction", **given}
        assert refused(lambdas.add_permission, **asked) == (400, "InvalidParameterValueException", says)
        if "Action" not in given:
            whole = {"Effect": "Allow", "Principal": {"AWS": given["Principal"]}, "Action": "lambda:InvokeFunction"}
            text = policy({**whole, "Resource": f"{ARN}:function:granting"})
            put = {"ResourceArn": f"{ARN}:function:granting", "Policy": text}
            assert refused(lambdas.put_resource_policy, **put) == (400, "InvalidParameterValueException", says)
        for principal in ("arn:aws:iam::000000000000:user/a", "000000000000", "*", "events.amazonaws.com"):
            fits = {"StatementId": str(len(principal)), "Principal": principal, "Action": "lambda:InvokeFunction"}
            lambdas.add_permission(**{**asked, **fits})
    finally:
        lambdas.delete_function(FunctionName="granting")


@pytest.mark.parametrize("resource", [f"{ARN}:layer", f"{ARN}:function:", f"{ARN}:functions:a", f"{ARN}:"])
def test_a_resource_that_names_nothing_is_refused(resource: str) -> None:
    with pytest.raises(ValueError, match=r"Statement\[0\]: Resource: .* names nothing"):
        identity.read(policy(allow("GetFunction", on=resource)))


def test_a_resource_may_be_of_what_lambda_reaches_and_of_nothing_else() -> None:
    for action, on in (
        ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:123456789012:q"), ("s3:Get*", "arn:aws:s3:::b/*"), ("sqs:*", "*"),
        ("lambda:*", f"{ARN}:function:${{aws:username}}"), ("lambda:*", f"{ARN}:*"),
        ("lambda:*", "arn:aws:lambda:${aws:RequestedRegion}:000000000000:function:a"),
    ):  # fmt: skip
        assert identity.read(policy({"Effect": "Allow", "Action": action, "Resource": on}))
    for action, why in (("s3:PutObject", "here is no action like"), ("iam:*", "expected actions like")):
        with pytest.raises(ValueError, match=f"Action: {why}"):
            identity.read(policy({"Effect": "Allow", "Action": action, "Resource": "*"}))


def test_a_policy_that_cannot_be_read_allows_nothing() -> None:
    token = Token(
        id="1", name="a", role=Role.ADMIN, payloads=True, created=0, expires=None, digest="", key="AKIA", secret="s"
    )
    old = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
        "Condition": {"Odd": {"a": "b"}},
    }
    with pytest.raises(ApiError, match="a policy cannot be read") as caught:
        require(token, wanted_of("a", None), [old], {})
    assert caught.value.kind == "AccessDeniedException"
    with pytest.raises(ApiError, match="a policy cannot be read"):
        require(replace(token, policy=policy(allow("Nope"))), wanted_of("a", None), (), {})
    assert not opens((old,), f"{ARN}:function:a", {})
