"""Every operation of the model gets an answer from its own model, whatever it is asked."""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.conftest import client
from tests.e2e.daemon import Daemon
from triggerhub.aws.restjson import ApiError
from triggerhub.web.lambda_api import members, support

MODEL = botocore.session.get_session().get_service_model("lambda")
EXAMPLES = 15
"""Inputs for each operation."""
COMMON = {"ValidationException", "SerializationException", "AccessDeniedException"}
ARN = "arn:aws:lambda:us-east-1:000000000000:function:hello"
NAMES = ("hello", "no-such", ARN, f"{ARN}:$LATEST", "hello:1", "1", "$LATEST", "live", "ALL")
PLAIN = st.sampled_from(NAMES) | st.text(string.digits + string.ascii_letters + string.punctuation, min_size=1)
TEXTS = PLAIN | st.text(min_size=1, max_size=5)


def inputs(shape: Any, name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that botocore sends, whether or not they satisfy the model's constraints."""
    match shape.type_name:
        case "structure":
            required = set(shape.required_members)
            members = {
                key: inputs(one, key, depth + 1) for key, one in shape.members.items() if key in required or depth < 3
            }
            return st.fixed_dictionaries(
                {key: value for key, value in members.items() if key in required},
                optional={key: value for key, value in members.items() if key not in required},
            )
        case "list":
            return st.lists(inputs(shape.member, name, depth + 1), max_size=2)
        case "map":
            return st.dictionaries(TEXTS, inputs(shape.value, name, depth + 1), max_size=2)
        case "string":
            if shape.serialization.get("location") == "header":
                return PLAIN
            return st.sampled_from(shape.enum) if shape.enum else TEXTS
        case "integer" | "long":
            return st.integers(-3, 1000)
        case "double" | "float":
            return st.floats(-1, 2)
        case "boolean":
            return st.booleans()
        case "blob":
            return st.sampled_from([b"{}", b"[]", b"no json", b"PK\x05\x06"])
        case "timestamp":
            return st.just("2026-01-01T00:00:00Z")
    raise AssertionError(shape.type_name)


@cache
def unchecked(hub: Daemon) -> Any:
    """A client that sends what the model does not allow, too."""
    return client(hub, parameter_validation=False)


def asking(call: Callable[..., dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = call(**asked)
        if "EventStream" in answer:
            answer["EventStream"].close()
        return answer
    except ClientError as error:
        return error.response


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_every_answer_is_one_that_the_model_has(operation: str, hub: Daemon) -> None:
    model = MODEL.operation_model(operation)
    call = getattr(unchecked(hub), botocore.xform_name(operation))

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(asked=inputs(model.input_shape) if model.input_shape else st.just({}))
    def ask(asked: dict[str, Any]) -> None:
        answer = asking(call, asked)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if "Error" in answer:
            assert 400 <= status < 500, answer
            assert answer["Error"]["Code"] in COMMON | {one.name for one in model.error_shapes}, answer
            assert answer["Error"]["Message"]
        else:
            assert status in (model.http["responseCode"], 202, 204)
            told = {name: value for name, value in answer.items() if name not in ("ResponseMetadata", "EventStream")}
            assert set(told) <= {*(model.output_shape.members if model.output_shape else ())}
            if model.output_shape:
                validate_parameters(told, model.output_shape)

    ask()


def test_what_is_not_built_is_refused_by_name(lambdas: Any) -> None:
    with pytest.raises(ClientError) as caught:
        lambdas.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": ["arn:aws:signer:::x"]})
    assert caught.value.response["Error"] == {
        "Code": "InvalidParameterValueException",
        "Message": "triggerhub does not do CreateCodeSigningConfig: code signing is not in this version.",
    }


def test_what_is_said_of_operations_names_operations_that_there_are() -> None:
    assert support.REFUSED.keys() <= set(MODEL.operation_names)
    assert support.DIFFERS.keys() <= set(MODEL.operation_names)
    assert not support.REFUSED.keys() & support.DIFFERS.keys()


def test_the_table_tells_the_members_that_are_refused() -> None:
    table = {name: (word, remark) for name, word, remark in support.table(MODEL.operation_names, MODEL.operation_names)}
    for name in ("CreateFunction", "UpdateFunctionConfiguration"):
        word, remark = table[name]
        assert word == "differs"
        for member in ("VpcConfig", "ImageConfig", "KMSKeyArn", "FileSystemConfigs"):
            assert f"`{member}`" in remark
            with pytest.raises(ApiError, match=member):
                members.refuse({member: {"SubnetIds": ["subnet-1"]}})
    assert "`ImageUri`" in table["UpdateFunctionCode"][1]
    assert "`PublishTo`" in table["PublishVersion"][1]
    assert "`KMSKeyArn`" in table["CreateEventSourceMapping"][1]
    assert table["GetAlias"] == ("works", "")
