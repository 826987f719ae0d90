"""Invoke as boto3 does it."""

from __future__ import annotations

import base64
import json
import re
import socket
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from tests.contract.conftest import client
from tests.contract.package import called
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, until

ARN = "arn:aws:lambda:us-east-1:000000000000:function:hello"


def read(answer: Any) -> Any:
    return json.loads(answer["Payload"].read())


@pytest.mark.parametrize(
    ("name", "qualifier", "arn"),
    [
        ("hello", None, ARN),
        (ARN, None, ARN),
        ("000000000000:function:hello", None, ARN),
        ("hello:$LATEST", None, f"{ARN}:$LATEST"),
        ("hello", "$LATEST", f"{ARN}:$LATEST"),
        (f"{ARN}:$LATEST", "$LATEST", f"{ARN}:$LATEST"),
    ],
)
def test_a_function_is_called_by_any_of_its_names(lambdas: Any, name: str, qualifier: str | None, arn: str) -> None:
    asked = {} if qualifier is None else {"Qualifier": qualifier}
    answer = lambdas.invoke(FunctionName=name, Payload=b'{"n": 1}', **asked)
    body = read(answer)
    assert body == {"event": {"n": 1}, "arn": arn, "id": answer["ResponseMetadata"]["RequestId"]}
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert len(answer["ExecutedVersion"]) == 12


def test_no_payload_is_an_empty_object_and_no_answer_is_null(lambdas: Any) -> None:
    assert read(lambdas.invoke(FunctionName="hello"))["event"] == {}
    assert lambdas.invoke(FunctionName="nothing")["Payload"].read() == b"null"


def test_the_log_is_given_where_it_is_asked_for(lambdas: Any) -> None:
    answer = lambdas.invoke(FunctionName="hello", LogType="Tail")
    text = base64.b64decode(answer["LogResult"]).decode()
    assert text.splitlines()[0].startswith(f"START RequestId: {answer['ResponseMetadata']['RequestId']}")
    assert "\nhello there\n" in text
    assert "\nREPORT RequestId: " in text


def test_a_function_error_is_an_answer_of_200(lambdas: Any) -> None:
    answer = lambdas.invoke(FunctionName="broken")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    body = read(answer)
    assert (body["errorType"], body["errorMessage"]) == ("ValueError", "no")


def test_the_client_context_reaches_the_handler(lambdas: Any) -> None:
    context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
    assert read(lambdas.invoke(FunctionName="context", ClientContext=context)) == {"a": 1}


def test_a_dry_run_calls_nothing(lambdas: Any) -> None:
    answer = lambdas.invoke(FunctionName="broken", InvocationType="DryRun")
    assert (answer["StatusCode"], answer["Payload"].read()) == (204, b"")
    assert "FunctionError" not in answer


@pytest.mark.parametrize("how", ["invoke", "invoke_async"])
def test_an_event_is_a_delivery_of_the_api(lambdas: Any, hub: Daemon, how: str) -> None:
    if how == "invoke":
        answer = lambdas.invoke(FunctionName="hello", InvocationType="Event", Payload=b'{"n": 2}')
        assert answer["Payload"].read() == b""
    else:
        answer = lambdas.invoke_async(FunctionName="hello", InvokeArgs=b'{"n": 2}')
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    delivery = answer["ResponseMetadata"]["RequestId"]
    done = until(lambda: (row := hub.api("GET", f"/api/v1/deliveries/{delivery}"))["finished"] and row, "it ran")
    assert (done["trigger"], done["function"], done["state"]) == ("api", "hello", "succeeded")


@pytest.mark.parametrize(
    ("name", "asked", "status", "kind", "says"),
    [
        ("nobody", {}, 404, "ResourceNotFoundException",
         "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody:$LATEST"),
        ("hello", {"Qualifier": "live"}, 404, "ResourceNotFoundException", f"Function not found: {ARN}:live"),
        ("123456789012:function:hello", {}, 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:123456789012:function:hello"),
        ("hello:a", {"Qualifier": "b"}, 400, "InvalidParameterValueException",
         "The derived qualifier from the function name does not match the specified qualifier."),
        ("hello", {"Payload": b"{"}, 400, "InvalidRequestContentException",
         "Could not parse request body into json: Could not parse payload into json: "),
        ("hello", {"Payload": b'{"n": NaN}'}, 400, "InvalidRequestContentException",
         "Could not parse request body into json: Could not parse payload into json: NaN is not JSON"),
        ("hello", {"Payload": b"-Infinity", "InvocationType": "Event"}, 400, "InvalidRequestContentException",
         "Could not parse request body into json: Could not parse payload into json: -Infinity is not JSON"),
        ("hello", {"InvocationType": "Sometimes"}, 400, "ValidationException",
         "1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"),
        ("n" * 65, {}, 400, "ValidationException",
         f"1 validation error detected: Value '{'n' * 65}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"),
        ("n" * 10_000, {}, 400, "ValidationException",
         f"1 validation error detected: Value '{'n' * 1024}…' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 256"),
        ("hello", {"ClientContext": "e30"}, 400, "InvalidRequestContentException", "Client context must be a valid "),
        ("hello", {"Payload": b'"' + b"x" * 6 * 2**20 + b'"'}, 413, "RequestTooLargeException",
         "Request must be smaller than 6291456 bytes for the InvokeFunction operation"),
        ("hello", {"Payload": b'"' + b"x" * 2**20 + b'"', "InvocationType": "Event"}, 413, "RequestTooLargeException",
         "Request must be smaller than 1048576 bytes for the InvokeFunction operation"),
        *(("hello", {"Qualifier": one}, 400, "ValidationException",
           f"1 validation error detected: Value '{one}' at 'qualifier' failed to satisfy constraint: Member must ")
          for one in ("a b", "é", "q" * 129)),
        ("a/b", {}, 400, "ValidationException",
         "1 validation error detected: Value 'a/b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: "),
        ("hello", {"TenantId": "t"}, 400, "InvalidParameterValueException", "TenantId is not in this version."),
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_told_in_the_words_of_aws(
    lambdas: Any, name: str, asked: dict[str, Any], status: int, kind: str, says: str
) -> None:
    with pytest.raises(ClientError) as caught:
        lambdas.invoke(FunctionName=name, **asked)
    response = caught.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, kind)
    assert response["Error"]["Message"].startswith(says)
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == kind


def test_a_qualifier_that_is_empty_is_none(hub: Daemon) -> None:
    loose = client(hub, parameter_validation=False)
    assert refused(loose.invoke, FunctionName="hello", Qualifier="")[:2] == (400, "ValidationException")


def test_an_answer_is_streamed_as_events(lambdas: Any) -> None:
    size = 600_000
    answer = lambdas.invoke_with_response_stream(FunctionName="big", Payload=str(size).encode(), LogType="Tail")
    events = list(answer["EventStream"])
    chunks = [event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event]
    assert json.loads(b"".join(chunks)) == "x" * size
    assert len(chunks) > 1
    assert list(events[-1]) == ["InvokeComplete"]
    assert "REPORT" in base64.b64decode(events[-1]["InvokeComplete"]["LogResult"]).decode()
    failed = list(lambdas.invoke_with_response_stream(FunctionName="broken")["EventStream"])
    assert [list(event) for event in failed] == [["InvokeComplete"]]
    assert json.loads(failed[0]["InvokeComplete"]["ErrorDetails"])["errorType"] == "ValueError"


def test_an_unsigned_request_is_refused(hub: Daemon) -> None:
    with pytest.raises(ClientError) as caught:
        client(hub, signature_version=UNSIGNED).invoke(FunctionName="hello")
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_handler_that_asks_aws_lambda_asks_this_hub(lambdas: Any) -> None:
    assert json.loads(called(lambdas, "asking"))["event"] == [7]


def test_who_leaves_before_his_request_is_whole_calls_nothing(hub: Daemon, lambdas: Any) -> None:
    def calls() -> str | None:
        _, page = hub.api("GET", "/metrics", raw=True)
        found = re.search(r'triggerhub_invocations_total\{function="nothing"\} (\S+)', page.decode())
        return found[1] if found else None

    lambdas.invoke(FunctionName="nothing")
    before = calls()
    for begun in (b"", b"{"):
        with socket.create_connection(("127.0.0.1", hub.admin), timeout=20) as raw:
            raw.sendall(b"POST /2015-03-31/functions/nothing/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            raw.sendall(f"Authorization: {ANY}\r\nContent-Length: 2\r\n\r\n".encode() + begun)
            raw.shutdown(socket.SHUT_RDWR)
    lambdas.invoke(FunctionName="hello")  # what came before it was looked at before it
    assert calls() == before


ANY = (
    "AWS4-HMAC-SHA256 Credential=AKIDAKIDAKIDAKIDAKID/20260101/us-east-1/lambda/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)
