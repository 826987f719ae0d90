"""What goes with a function beside its code: concurrency, events, tags, policies and URLs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.package import answering, called, create, opened, zipped
from tests.contract.test_functions import ARN, refused
from tests.e2e.daemon import Daemon, until
from triggerhub.web.lambda_api.urls import reached

WEB = """
import json
def handler(event, context):
    if event["rawPath"] == "/fail":
        raise ValueError("no")
    return {"statusCode": 201, "headers": {"x-own": "1", "access-control-allow-origin": "own"}, "cookies": ["a=1"],
            "body": json.dumps(event)}
"""


@pytest.fixture
def name(lambdas: Any) -> str:
    made = f"fn-{uuid.uuid4().hex[:8]}"
    create(lambdas, made, answering("one"))
    return made


def test_a_reservation_of_none_stops_calls_and_keeps_events(lambdas: Any, hub: Daemon, name: str) -> None:
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert lambdas.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 0
    with pytest.raises(ClientError) as caught:
        lambdas.invoke(FunctionName=name)
    response = caught.value.response
    assert (response["Error"]["Code"], response["Reason"]) == (
        "TooManyRequestsException", "ReservedFunctionConcurrentInvocationLimitExceeded",
    )  # fmt: skip
    delivery = lambdas.invoke(FunctionName=name, InvocationType="Event")["ResponseMetadata"]["RequestId"]
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    until(lambda: hub.api("GET", f"/api/v1/deliveries/{delivery}")["state"] == "succeeded", "it ran")
    assert called(lambdas, name)["answer"] == "one"
    assert lambdas.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 2}
    lambdas.delete_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in lambdas.get_function_concurrency(FunctionName=name)


def test_a_reservation_of_none_is_for_what_comes_to_be_of_the_function_too(
    lambdas: Any, hub: Daemon, name: str
) -> None:
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    lambdas.publish_version(FunctionName=name)
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    sent = [lambdas.invoke(FunctionName=f"{name}:{one}", InvocationType="Event") for one in ("1", "live")]
    ids = [one["ResponseMetadata"]["RequestId"] for one in sent]
    assert refused(lambdas.invoke, FunctionName=name, Qualifier="live")[1] == "TooManyRequestsException"
    shown = {row["name"]: row["paused"] for row in hub.api("GET", "/api/v1/functions")}
    assert (shown[f"{name}:1"], shown[f"{name}:live"]) == (True, True)
    asked = hub.cli("functions", "resume", name)
    assert asked.returncode == 1
    assert f"aws lambda delete-function-concurrency --function-name {name}" in asked.stderr
    assert {hub.api("GET", f"/api/v1/deliveries/{one}")["state"] for one in ids} == {"queued"}
    lambdas.delete_function(FunctionName=name)
    # The next one of its name does not begin stopped, nor does its version.
    create(lambdas, name, answering("two"), Publish=True)
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for one in ids:
        until(lambda one=one: hub.api("GET", f"/api/v1/deliveries/{one}")["state"] == "succeeded", "it ran")
    assert called(lambdas, f"{name}:live")["answer"] == "two"


def test_all_versions_of_a_function_share_its_reservation(lambdas: Any, hub: Daemon) -> None:
    name = f"one-{uuid.uuid4().hex[:8]}"
    held = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return context.function_version\n"
    create(lambdas, name, zipped({"app.py": held}), Timeout=1, Publish=True)
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    lambdas.update_function_configuration(FunctionName=name, Timeout=60)
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    sent = lambdas.invoke(FunctionName=name, InvocationType="Event", Payload=b"60")["ResponseMetadata"]["RequestId"]
    until(lambda: hub.api("GET", f"/api/v1/functions/{name}")["workers"] == 1, "$LATEST has what there is")
    with pytest.raises(ClientError) as caught:
        lambdas.invoke(FunctionName=name, Qualifier="live", Payload=b"0")
    response = caught.value.response
    assert (response["Error"]["Code"], response["Reason"]) == (
        "TooManyRequestsException", "ReservedFunctionConcurrentInvocationLimitExceeded",
    )  # fmt: skip
    assert "shared by all versions" in hub.cli("functions", "show", f"{name}:1").stdout
    assert hub.cli("deliveries", "cancel", sent).returncode == 0
    assert called(lambdas, name, Qualifier="live", Payload=b"0") == "1"


def test_an_error_of_the_name_that_throttling_has_is_the_functions_own(lambdas: Any, name: str) -> None:
    code = "class TooManyRequestsException(Exception):\n    pass\ndef handler(event, context):\n    raise TooManyRequestsException('mine')\n"
    lambdas.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": code}))
    answer = lambdas.invoke(FunctionName=name)
    assert (answer["FunctionError"], json.loads(answer["Payload"].read())["errorMessage"]) == ("Unhandled", "mine")


def test_so_is_one_of_its_start(lambdas: Any, name: str) -> None:
    code = "class TooManyRequestsException(Exception):\n    pass\nraise TooManyRequestsException('mine')\n"
    lambdas.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": code}))
    answer = lambdas.invoke(FunctionName=name)
    assert (answer["FunctionError"], json.loads(answer["Payload"].read())["errorMessage"]) == ("Unhandled", "mine")


def test_tags_are_kept(lambdas: Any, name: str) -> None:
    lambdas.tag_resource(Resource=ARN + name, Tags={"a": "1", "b": "2"})
    lambdas.untag_resource(Resource=ARN + name, TagKeys=["a"])
    assert lambdas.list_tags(Resource=ARN + name)["Tags"] == {"b": "2"}
    assert lambdas.get_function(FunctionName=name)["Tags"] == {"b": "2"}


def test_what_fails_goes_where_the_configuration_says(lambdas: Any, hub: Daemon, name: str) -> None:
    failing = f"{name}-failing"
    create(lambdas, failing, zipped({"app.py": "def handler(event, context):\n    raise ValueError('no')\n"}))
    set_ = lambdas.put_function_event_invoke_config(
        FunctionName=failing, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": ARN + name}},
    )  # fmt: skip
    assert set_["FunctionArn"] == f"{ARN}{failing}:$LATEST"
    assert set_["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": ARN + name}}
    lambdas.update_function_event_invoke_config(FunctionName=failing, MaximumEventAgeInSeconds=120)
    found = lambdas.get_function_event_invoke_config(FunctionName=failing)
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (0, 120)
    assert len(lambdas.list_function_event_invoke_configs(FunctionName=failing)["FunctionEventInvokeConfigs"]) == 1
    lambdas.invoke(FunctionName=failing, InvocationType="Event", Payload=b'{"n": 1}')
    (row,) = until(lambda: [
        row for row in hub.deliveries(function=name) if row["state"] == "succeeded"
    ], "the destination was called")  # fmt: skip
    assert row["trigger"] == f"destination:{failing}"
    lambdas.delete_function_event_invoke_config(FunctionName=failing)
    assert refused(lambdas.get_function_event_invoke_config, FunctionName=failing) == (
        404, "ResourceNotFoundException", f"The function {ARN}{failing}:$LATEST doesn't have an EventInvokeConfig",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({}, "InvalidParameterValueException", "You must specify at least one of error handling or destination"),
        ({"MaximumRetryAttempts": 3}, "ValidationException", "1 validation error detected: Value '3' at 'maximumRetry"),
        ({"DestinationConfig": {"OnSuccess": {"Destination": "NAME"}}}, "InvalidParameterValueException",
         "You can't specify the function as a destination for itself."),
        ({"DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}}},
         "InvalidParameterValueException", "The destination ARN arn:aws:sqs:us-east-1:000000000000:q.fifo is invalid"),
        ({"DestinationConfig": {"OnSuccess": {"Destination": f"{ARN}nobody"}}}, "InvalidParameterValueException",
         f"The destination ARN {ARN}nobody is invalid."),
    ],
)  # fmt: skip
def test_a_configuration_of_events_that_cannot_be_is_refused(
    lambdas: Any, name: str, given: dict[str, Any], kind: str, says: str
) -> None:
    asked = json.loads(json.dumps(given).replace('"NAME"', f'"{ARN}{name}"'))
    _, found, told = refused(lambdas.put_function_event_invoke_config, FunctionName=name, **asked)
    assert found == kind
    assert told.startswith(says)


def test_statements_of_a_policy_are_kept_by_their_ids(lambdas: Any, name: str) -> None:
    given = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
             "SourceArn": "arn:aws:s3:::bucket", "SourceAccount": "000000000000"}  # fmt: skip
    added = json.loads(lambdas.add_permission(FunctionName=name, **given)["Statement"])
    assert added == {
        "Sid": "s3", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction",
        "Resource": ARN + name,
        "Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
                      "StringEquals": {"AWS:SourceAccount": "000000000000"}},
    }  # fmt: skip
    assert refused(lambdas.add_permission, FunctionName=name, **given)[1] == "ResourceConflictException"
    unknown = refused(lambdas.add_permission, FunctionName=name, **{**given, "Action": "lambda:Nope"})
    assert unknown == (400, "InvalidParameterValueException", "Action: Lambda has no action lambda:Nope.")
    policy = lambdas.get_policy(FunctionName=name)
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [added]}
    assert refused(lambdas.remove_permission, FunctionName=name, StatementId="s3", RevisionId="old")[0] == 412
    lambdas.remove_permission(FunctionName=name, StatementId="s3", RevisionId=policy["RevisionId"])
    assert refused(lambdas.get_policy, FunctionName=name)[2] == "The resource you requested does not exist."
    assert refused(lambdas.remove_permission, FunctionName=name, StatementId="s3")[0] == 404


def test_what_a_destination_names_is_not_deleted(lambdas: Any) -> None:
    told, telling = (f"{word}-{uuid.uuid4().hex[:8]}" for word in ("told", "telling"))
    create(lambdas, told, answering(1), Publish=True)
    create(lambdas, telling, answering(1))
    lambdas.create_alias(FunctionName=told, Name="live", FunctionVersion="1")
    to = {"OnSuccess": {"Destination": f"{ARN}{told}:live"}, "OnFailure": {"Destination": f"{ARN}{told}:1"}}
    lambdas.put_function_event_invoke_config(FunctionName=telling, DestinationConfig=to)
    place = f"of {telling}:$LATEST; change its EventInvokeConfig first."
    conflict = (409, "ResourceConflictException")
    deleting = refused(lambdas.delete_alias, FunctionName=told, Name="live")
    assert deleting == (*conflict, f"{told}:live is the OnSuccess {place}")
    lambdas.update_alias(FunctionName=told, Name="live", FunctionVersion="$LATEST")
    deleting = refused(lambdas.delete_function, FunctionName=told, Qualifier="1")
    assert deleting == (*conflict, f"{told}:1 is the OnFailure {place}")
    assert refused(lambdas.delete_function, FunctionName=told) == (*conflict, f"{told} is the OnSuccess {place}")
    lambdas.delete_function_event_invoke_config(FunctionName=telling)
    lambdas.delete_alias(FunctionName=told, Name="live")
    lambdas.delete_function(FunctionName=told)


def test_no_more_is_reserved_than_the_account_has_left(lambdas: Any, name: str) -> None:
    before = lambdas.get_account_settings()["AccountLimit"]
    assert before["ConcurrentExecutions"] == 10_000
    most = before["UnreservedConcurrentExecutions"] - 100
    over = refused(lambdas.put_function_concurrency, FunctionName=name, ReservedConcurrentExecutions=most + 1)
    text = (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )
    assert over == (400, "InvalidParameterValueException", text)
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=most)
    lambdas.publish_version(FunctionName=name)
    assert lambdas.get_account_settings()["AccountLimit"] == {**before, "UnreservedConcurrentExecutions": 100}
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=most - 1)
    lambdas.delete_function_concurrency(FunctionName=name)
    assert lambdas.get_account_settings()["AccountLimit"] == before


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize(
    ("listen", "host", "found"),
    [
        ("127.0.0.1:8700", "hub.example:8701", "127.0.0.1:8700"),
        ("0.0.0.0:8700", "hub.example:8701", "hub.example:8700"),
        (":::8700", "[2001:db8::1]:8701", "[2001:db8::1]:8700"),
        ("::1:8700", "localhost:8701", "[::1]:8700"),
        ("0.0.0.0:8700", "", "0.0.0.0:8700"),
        ("0.0.0.0:8700", "[", "0.0.0.0:8700"),
    ],
)
def test_a_function_url_is_told_as_the_client_reaches_it(listen: str, host: str, found: str) -> None:
    assert reached(listen, host) == found


def test_a_function_url_calls_its_function_once_its_policy_opens_it(lambdas: Any, hub: Daemon) -> None:
    name = f"web-{uuid.uuid4().hex[:8]}"
    create(lambdas, name, zipped({"app.py": WEB}))
    odd = {"AllowOrigins": ["https://*.a.example"]}
    told = refused(lambdas.create_function_url_config, FunctionName=name, AuthType="NONE", Cors=odd)
    assert told[:2] == (400, "InvalidParameterValueException")
    assert told[2].startswith("Cors: 'https://*.a.example' is no origin")
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "MaxAge": 60}
    made = lambdas.create_function_url_config(FunctionName=name, AuthType="NONE", Cors=cors)
    url = made["FunctionUrl"]
    assert url.startswith(f"http://127.0.0.1:{hub.listen}/_url/")
    closed, unknown = fetch(url), fetch(f"{url[:-34]}/{'x' * 32}/")
    assert (closed[0], closed[2]) == (unknown[0], unknown[2]) == (403, b'{"Message":null}')
    asked = fetch(url, "OPTIONS", origin="https://a.example", access_control_request_method="GET")
    assert (asked[0], asked[2]) == (403, closed[2]), "a browser that asks first learns no more"
    opened(lambdas, name)
    policy = json.loads(lambdas.get_policy(FunctionName=name)["Policy"])
    assert [one["Condition"] for one in policy["Statement"]] == [
        {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}, {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    ]  # fmt: skip
    for sid in ("open", "call"):
        lambdas.remove_permission(FunctionName=name, StatementId=sid)
        assert fetch(url)[::2] == (403, closed[2]), "it takes both"
        lambdas.remove_permission(FunctionName=name, StatementId=({"open", "call"} - {sid}).pop())
        opened(lambdas, name)
    status, headers, body = fetch(
        f"{url}a%20b/c?x=1&x=2&y=", "POST", b'{"k": 1}', content_type="application/json", origin="https://a.example",
        cookie="c=1; d=2",
    )  # fmt: skip
    event = json.loads(body)
    assert (status, headers["x-own"], headers["set-cookie"]) == (201, "1", "a=1")
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert (event["version"], event["routeKey"], event["rawPath"], event["rawQueryString"]) == (
        "2.0", "$default", "/a%20b/c", "x=1&x=2&y=",
    )  # fmt: skip
    assert event["queryStringParameters"] == {"x": "1,2", "y": ""}
    assert event["cookies"] == ["c=1", "d=2"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"k": 1}', False)
    context = event["requestContext"]
    assert (context["accountId"], context["stage"], context["http"]["path"]) == ("anonymous", "$default", "/a b/c")
    assert fetch(f"{url}fail")[::2] == (502, b"Internal Server Error")
    preflight = fetch(url, "OPTIONS", origin="https://a.example", access_control_request_method="GET")
    assert (preflight[0], preflight[1]["access-control-max-age"]) == (204, "60")
    assert refused(lambdas.create_function_url_config, FunctionName=name, AuthType="NONE")[0] == 409
    changed = lambdas.update_function_url_config(FunctionName=name, InvokeMode="RESPONSE_STREAM")
    assert (
        changed["InvokeMode"] == lambdas.get_function_url_config(FunctionName=name)["InvokeMode"] == "RESPONSE_STREAM"
    )
    lambdas.update_function_url_config(FunctionName=name, InvokeMode="BUFFERED")
    assert refused(lambdas.update_function_url_config, FunctionName=name, Cors=odd)[0] == 400
    assert [
        one["FunctionUrl"] for one in lambdas.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    ] == [url]
    lambdas.delete_function_url_config(FunctionName=name)
    assert fetch(url)[0] == 403
    assert refused(lambdas.get_function_url_config, FunctionName=name)[0] == 404


def test_a_policy_is_put_and_taken_away_as_a_whole(lambdas: Any, hub: Daemon) -> None:
    name = f"web-{uuid.uuid4().hex[:8]}"
    create(lambdas, name, zipped({"app.py": WEB}))
    resource = ARN + name
    url = lambdas.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    assert refused(lambdas.get_resource_policy, ResourceArn=resource)[:2] == (404, "ResourceNotFoundException")
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["lambda:Invoke*"], "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = lambdas.put_resource_policy(ResourceArn=resource, Policy=policy)
    assert json.loads(made["Policy"])["Statement"] == [statement]
    assert fetch(url)[0] == 201
    lambdas.add_permission(
        FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    found = lambdas.get_resource_policy(ResourceArn=resource)
    assert [one.get("Sid") for one in json.loads(found["Policy"])["Statement"]] == [None, "s"]
    stale = refused(lambdas.delete_resource_policy, ResourceArn=resource, RevisionId=made["RevisionId"])
    assert stale[:2] == (412, "PreconditionFailedException")
    for broken, says in (
        ("{", "Policy: line 1, column 2: Expecting property name"),
        (policy.replace("Allow", "Perhaps"), "Policy: Statement[0]: Effect: expected Allow or Deny"),
        (policy.replace(name, "other"), f"Policy: Statement[0]: Resource: expected {resource}."),
        (
            '{"Version": "2012-10-17", "Statement": [{"\\ud800": 1}]}',
            "Policy: Statement[0]: '\\ud800' is not in this version",
        ),
        ("[" * 20_000, "Policy: "),
    ):
        code, kind, told = refused(lambdas.put_resource_policy, ResourceArn=resource, Policy=broken)
        assert (code, kind, told.startswith(says)) == (400, "InvalidParameterValueException", True), told
    lambdas.delete_resource_policy(ResourceArn=resource, RevisionId=found["RevisionId"])
    assert fetch(url)[0] == 403
    assert refused(lambdas.delete_resource_policy, ResourceArn=resource)[0] == 404
    assert (
        refused(
            lambdas.put_resource_policy, ResourceArn=f"{resource}:9", Policy=policy.replace(resource, f"{resource}:9")
        )[0]
        == 404
    )


def test_a_loop_of_destinations_ends_unless_its_functions_allow_it(lambdas: Any, hub: Daemon) -> None:
    names = [f"loop-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        create(lambdas, name, answering("one"))
    for name, other in (names, reversed(names)):
        lambdas.put_function_event_invoke_config(
            FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": ARN + other}}
        )
        assert (
            lambdas.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"
        )

    def rows(state: str) -> int:
        return sum(row["state"] == state for name in names for row in hub.deliveries(function=name))

    lambdas.invoke(FunctionName=names[0], InvocationType="Event")
    until(lambda: rows("succeeded") > 25, "it goes on beyond where loops end")
    for name in names:
        lambdas.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
        assert lambdas.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    until(lambda: rows("dead") == 1, "it has ended")
    (dead,) = (row for name in names for row in hub.deliveries(function=name) if row["state"] == "dead")
    assert dead["reason"] == "stopped: 16 handlers' answers led to one another"
    assert lambdas.get_function_recursion_config(FunctionName="hello")["RecursiveLoop"] == "Terminate"
    told = refused(lambdas.put_function_recursion_config, FunctionName="hello", RecursiveLoop="Allow")
    assert told[:2] == (400, "InvalidParameterValueException")
