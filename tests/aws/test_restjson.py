"""Inputs are read, and what is wrong with them is told, in the words of AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from triggerhub.aws import constraints, eventstream, restjson
from triggerhub.aws.restjson import ApiError
from triggerhub.web.lambda_api.description import service

LAMBDA = service()


def read(name: str, given: Any = None, *, path: Any = None, query: Any = None, headers: Any = None) -> dict[str, Any]:
    body = given if isinstance(given, bytes) else b"" if given is None else json.dumps(given).encode()
    return restjson.read(
        LAMBDA, LAMBDA.operations[name], path=path or {}, query=query or {}, headers=headers or {}, body=body
    )


FUNCTION = {"FunctionName": "a", "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": "UEs="}}


def broken(name: str, given: dict[str, Any]) -> list[str]:
    shape = LAMBDA.operations[name].input
    assert shape is not None
    return constraints.violations(LAMBDA, shape, given)


@pytest.mark.parametrize(
    ("method", "path", "query", "name", "parts"),
    [
        ("GET", "/2015-03-31/functions", {}, "ListFunctions", {}),
        ("GET", "/2015-03-31/functions/", {}, "ListFunctions", {}),
        ("GET", "/2015-03-31/functions/arn%3Aaws%3Ax", {}, "GetFunction", {"FunctionName": "arn:aws:x"}),
        ("POST", "/2014-11-13/functions/f/invoke-async/", {}, "InvokeAsync", {"FunctionName": "f"}),
        ("GET", "/2018-10-31/layers", {"find": ["LayerVersion"]}, "GetLayerVersionByArn", {}),
        ("GET", "/2018-10-31/layers", {}, "ListLayers", {}),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency", {"List": ["ALL"]},
         "ListProvisionedConcurrencyConfigs", {"FunctionName": "f"}),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency", {}, "GetProvisionedConcurrencyConfig",
         {"FunctionName": "f"}),
    ],
)  # fmt: skip
def test_a_request_is_found_to_be_its_operation(
    method: str, path: str, query: dict[str, list[str]], name: str, parts: dict[str, str]
) -> None:
    found = LAMBDA.find(method, path, query)
    assert found is not None
    assert (found[0].name, found[1]) == (name, parts)


@pytest.mark.parametrize("path", ["/2015-03-31", "/2015-03-31/functions//invocations", "/2015-03-31/nothing/a"])
def test_what_is_no_operation_is_found_to_be_none(path: str) -> None:
    assert LAMBDA.find("POST", path, {}) is None
    assert LAMBDA.serves(path)
    assert not LAMBDA.serves("/api/v1/status")


def test_members_are_read_from_where_the_description_has_them() -> None:
    assert read("CreateFunction", FUNCTION)["Code"] == {"ZipFile": b"PK"}
    assert read("ListFunctions", query={"MaxItems": ["7"], "Marker": [""]}) == {"MaxItems": 7, "Marker": ""}
    assert read(
        "Invoke", b"1", path={"FunctionName": "f"}, headers={"x-amz-log-type": "Tail"}, query={"Qualifier": ["2"]}
    ) == {"FunctionName": "f", "LogType": "Tail", "Qualifier": "2", "Payload": b"1"}
    assert read("UntagResource", path={"Resource": "r"}, query={"tagKeys": ["a", "b"]})["TagKeys"] == ["a", "b"]
    assert read("CreateFunction", {**FUNCTION, "Description": None}) == read("CreateFunction", FUNCTION)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"{", "Could not parse request body into json"),
        (b"[]", "expected an object"),
        (b"[" * 100_000, "Could not parse request body into json"),
        ({"Timeout": "3"}, "Timeout: STRING_VALUE cannot be converted to Integer"),
        ({"Timeout": True}, "Timeout: TRUE_VALUE cannot be converted to Integer"),
        ({"Timeout": 2**31}, "Timeout: NUMBER_VALUE cannot be converted to Integer"),
        ({"Publish": 1}, "Publish: NUMBER_VALUE cannot be converted to Boolean"),
        ({"Layers": {}}, "Layers: START_OBJECT cannot be converted to List"),
        ({"Layers": [None]}, "Layers: NULL_VALUE cannot be a member of it"),
        ({"Tags": {"a": []}}, "Tags: START_ARRAY cannot be converted to String"),
        ({"Code": {"ZipFile": "*"}}, "Code.ZipFile: expected base64"),
        ({"Code": {"Zipfile": ""}}, "Unknown member Code.Zipfile: this version does not know what it asks for"),
        ({"Description": "\ud800"}, "Description: expected a text that is valid Unicode"),
    ],
)
def test_a_body_of_the_wrong_form_is_told_where(given: Any, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        read("CreateFunction", given)
    assert caught.value.kind == "SerializationException"
    assert caught.value.message.startswith(says) or says in caught.value.message


@pytest.mark.parametrize("text", ["x", "1.0", "9" * 30, "٣", ""])
def test_a_parameter_of_the_wrong_form_is_told(text: str) -> None:
    with pytest.raises(ApiError, match="cannot be converted to Integer"):
        read("ListFunctions", query={"MaxItems": [text]})


@pytest.mark.parametrize(
    ("operation", "given", "says"),
    [
        ("GetFunction", {}, ["Value null at 'functionName' failed to satisfy constraint: Member must not be null"]),
        ("CreateFunction", {**FUNCTION, "Timeout": 0, "Runtime": "cobol"},
         ["Value 'cobol' at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs,",
          "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"]),
        ("CreateFunction", {**FUNCTION, "Description": "d" * 257},
         [f"Value '{'d' * 257}' at 'description' failed to satisfy constraint: Member must have length less than or equal to 256"]),
        ("CreateFunction", {**FUNCTION, "Role": "me"},
         ["Value 'me' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws"]),
        ("CreateFunction", {**FUNCTION, "Architectures": ["z80"]},
         ["Value '[z80]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"]),
        ("CreateFunction", {**FUNCTION, "SnapStart": {"ApplyOn": "Never"}},
         ["Value 'Never' at 'snapStart.applyOn' failed to satisfy constraint: Member must satisfy enum value set: [PublishedVersions, None]"]),
        ("CreateAlias", {"FunctionName": "f", "Name": "12", "FunctionVersion": "1"},
         ["Value '12' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"]),
        ("CreateAlias", {"FunctionName": "f", "Name": "a", "FunctionVersion": "1",
                         "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}}},
         ["Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]"]),
        ("GetFunction", {"FunctionName": "x" * 10_000},
         [f"Value '{'x' * 1024}…' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to"]),
    ],
)  # fmt: skip
def test_broken_constraints_are_told_in_the_words_of_aws(
    operation: str, given: dict[str, Any], says: list[str]
) -> None:
    found = sorted(broken(operation, given))
    assert len(found) == len(says)
    for sentence, begins in zip(found, sorted(says), strict=True):
        assert sentence.startswith(begins)
    plural = "" if len(says) == 1 else "s"
    assert constraints.message(found).startswith(f"{len(says)} validation error{plural} detected: Value ")


def test_secrets_are_not_repeated() -> None:
    (sentence,) = broken("CreateFunction", {**FUNCTION, "Environment": {"Variables": {"1": "hush"}}})
    assert "hush" not in sentence
    assert "at 'environment.variables' failed to satisfy constraint: Map keys" in sentence


def test_every_pattern_of_the_description_can_be_used() -> None:
    patterns = [shape["pattern"] for shape in LAMBDA.shapes.values() if "pattern" in shape]
    assert len(patterns) > 50
    for pattern in patterns:
        constraints._pattern(pattern)


def test_an_answer_goes_where_the_description_has_it() -> None:
    status, headers, body = restjson.write(
        LAMBDA, LAMBDA.operations["Invoke"], {"StatusCode": 202, "FunctionError": "Unhandled", "Payload": b"{}"}
    )
    assert (status, body) == (202, b"{}")
    assert ("x-amz-function-error", "Unhandled") in headers
    assert restjson.write(LAMBDA, LAMBDA.operations["DeleteAlias"], {})[::2] == (204, b"")
    assert restjson.write(LAMBDA, LAMBDA.operations["ListTags"], {"Tags": {}})[2] == b'{"Tags":{}}'


def test_an_error_has_the_status_and_the_words_of_its_class() -> None:
    status, headers, body = restjson.write_error(LAMBDA, ApiError("TooManyRequestsException", "m", Reason="r"))
    assert (status, json.loads(body)) == (429, {"Type": "User", "message": "m", "Reason": "r"})
    assert ("x-amzn-errortype", "TooManyRequestsException") in headers
    assert restjson.write_error(LAMBDA, ApiError("ResourceNotFoundException", "m"))[::2] == (
        404, b'{"Type":"User","Message":"m"}',
    )  # fmt: skip


@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 100_000])
def test_messages_of_a_stream_are_read_by_botocore(payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.event("PayloadChunk", payload, "application/octet-stream"))
    (message,) = buffer
    assert message.payload == payload
    assert message.headers == {
        ":message-type": "event", ":event-type": "PayloadChunk", ":content-type": "application/octet-stream",
    }  # fmt: skip


@pytest.mark.parametrize("more", [{"Layers": ["x"] * 1_001}, {"Tags": {f"k{n}": "v" for n in range(1_001)}}])
def test_lists_and_maps_without_a_bound_have_one(more: dict[str, Any]) -> None:
    (member,) = more
    with pytest.raises(ApiError, match="Member must have length less than or equal to 1000") as caught:
        read("CreateFunction", {**FUNCTION, **more})
    assert caught.value.kind == "ValidationException"
    assert f"at '{member.lower()}' failed to satisfy constraint" in caught.value.message
