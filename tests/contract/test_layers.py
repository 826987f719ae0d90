"""Layers, and code that lies in S3."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.aws_double.moto import moto_server
from tests.contract.conftest import client
from tests.contract.package import ROLE, RUNTIME, VERSION, answering, called, create, zipped
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon

ARN = "arn:aws:lambda:us-east-1:000000000000:layer:"
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
USER = "import shared\ndef handler(event, context):\n    return shared.name\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, s3: str) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("layers"), "", {}, start=False) as made:
        made.start(environ={**KEYS, "AWS_ENDPOINT_URL_S3": s3})
        yield made


def publish(lambdas: Any, layer: str, text: str) -> str:
    code = zipped({"python/shared.py": f"name = {text!r}\n"})
    return lambdas.publish_layer_version(
        LayerName=layer, Content={"ZipFile": code}, CompatibleRuntimes=[RUNTIME], Description=text
    )["LayerVersionArn"]


def test_functions_keep_the_layers_that_they_refer_to(hub: Daemon) -> None:
    lambdas = client(hub)
    one, two = publish(lambdas, "shared", "one"), publish(lambdas, "shared", "two")
    assert (one, two) == (f"{ARN}shared:1", f"{ARN}shared:2")
    create(lambdas, "user", zipped({"app.py": USER}), Layers=[one])
    assert called(lambdas, "user") == "one"
    lambdas.update_function_configuration(FunctionName="user", Layers=[two])
    assert called(lambdas, "user") == "two"
    (layer,) = lambdas.get_function_configuration(FunctionName="user")["Layers"]
    assert layer["Arn"] == two
    lambdas.delete_layer_version(LayerName="shared", VersionNumber=2)
    assert [row["Version"] for row in lambdas.list_layer_versions(LayerName="shared")["LayerVersions"]] == [1]
    assert [row["LatestMatchingVersion"]["Version"] for row in lambdas.list_layers()["Layers"]] == [1]
    assert lambdas.list_layers(CompatibleRuntime="nodejs20.x")["Layers"] == []
    hub.kill()
    hub.start(environ=KEYS)
    assert called(lambdas, "user") == "two"
    assert lambdas.get_layer_version_by_arn(Arn=one)["Description"] == "one"
    assert publish(lambdas, "shared", "three") == f"{ARN}shared:3"
    assert refused(lambdas.get_layer_version, LayerName="shared", VersionNumber=2)[:2] == (
        404, "ResourceNotFoundException",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([f"{ARN}nobody:1"], f"Layer version {ARN}nobody:1 does not exist."),
        ([f"{ARN}twice:1", f"{ARN}twice:2"], "Two different versions of the same layer are not allowed"),
        ([f"{ARN}l{n}:1" for n in range(6)], "Cannot reference more than 5 layers."),
    ],
)
def test_layers_that_cannot_be_had_together_are_refused(hub: Daemon, layers: list[str], says: str) -> None:
    lambdas = client(hub)
    publish(lambdas, "twice", "a")
    publish(lambdas, "twice", "b")
    _, kind, told = refused(
        lambdas.create_function, FunctionName="bad", Runtime=RUNTIME, Handler="app.handler", Role=ROLE,
        Code={"ZipFile": answering(1)}, Layers=layers,
    )  # fmt: skip
    assert kind == "InvalidParameterValueException"
    assert told.startswith(says)


def test_code_and_layers_together_are_no_more_than_code_may_be(hub: Daemon) -> None:
    lambdas, mb = client(hub), 1_000_000
    code = zipped({"app.py": VERSION.format(answer=1), "noise": bytes(60 * mb)})
    arns = []
    for number in (1, 2):
        layer = zipped({f"noise{number}": bytes(number * 70 * mb)})
        arns.append(
            lambdas.publish_layer_version(LayerName=f"large{number}", Content={"ZipFile": layer})["LayerVersionArn"]
        )
    asked = {"Runtime": RUNTIME, "Handler": "app.handler", "Role": ROLE}
    total = 270 * mb + len(VERSION.format(answer=1))
    told = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes."
    says = (400, "InvalidParameterValueException", f"{told} The actual size is {total} bytes.")
    assert refused(lambdas.create_function, FunctionName="sum", **asked, Code={"ZipFile": code}, Layers=arns) == says
    create(lambdas, "sum", code)
    assert refused(lambdas.update_function_configuration, FunctionName="sum", Layers=arns) == says
    lambdas.update_function_code(FunctionName="sum", ZipFile=answering(2))
    lambdas.update_function_configuration(FunctionName="sum", Layers=arns)
    for dry in (True, False):
        assert refused(lambdas.update_function_code, FunctionName="sum", ZipFile=code, DryRun=dry) == says
    assert called(lambdas, "sum")["answer"] == 2


def test_code_is_fetched_from_s3(tmp_path: Path, s3: str) -> None:
    bucket = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    bucket.create_bucket(Bucket="code")
    bucket.put_object(Bucket="code", Key="one.zip", Body=answering("from S3"))
    with daemon(tmp_path, "", {}, start=False) as hub:
        hub.start(environ={**KEYS, "AWS_ENDPOINT_URL_S3": s3})
        lambdas = client(hub)
        asked = {"Runtime": RUNTIME, "Handler": "app.handler", "Role": ROLE, "FunctionName": "fetched"}
        _, kind, says = refused(lambdas.create_function, **asked, Code={"S3Bucket": "code", "S3Key": "none.zip"})
        assert kind == "InvalidParameterValueException"
        assert says == (
            "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
            "S3 Error Message: The specified key does not exist."
        )
        lambdas.create_function(**asked, Code={"S3Bucket": "code", "S3Key": "one.zip"})
        assert called(lambdas, "fetched")["answer"] == "from S3"
        # More than comes in one piece.
        large = zipped({"app.py": VERSION.format(answer="large"), "noise": os.urandom(3_000_000)})
        bucket.put_object(Bucket="code", Key="large.zip", Body=large)
        lambdas.update_function_code(FunctionName="fetched", S3Bucket="code", S3Key="large.zip")
        assert called(lambdas, "fetched")["answer"] == "large"


def test_statements_of_a_layers_policy_are_kept_by_their_ids(hub: Daemon) -> None:
    lambdas = client(hub)
    publish(lambdas, "lent", "one")
    lent = {"LayerName": "lent", "VersionNumber": 1}
    gone = (404, "ResourceNotFoundException", "No policy is associated with the given resource.")
    assert refused(lambdas.get_layer_version_policy, **lent) == gone
    given = {**lent, "StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    added = lambdas.add_layer_version_permission(**given, OrganizationId="o-abcdefghij")
    statement = json.loads(added["Statement"])
    assert statement == {
        "Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "lambda:GetLayerVersion",
        "Resource": f"{ARN}lent:1", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}},
    }  # fmt: skip
    assert refused(lambdas.add_layer_version_permission, **given)[:2] == (409, "ResourceConflictException")
    one = lambdas.add_layer_version_permission(**{**given, "StatementId": "one", "Principal": "123456789012"})
    assert json.loads(one["Statement"])["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    hub.kill()
    hub.start(environ=KEYS)
    policy = lambdas.get_layer_version_policy(**lent)
    assert (len(json.loads(policy["Policy"])["Statement"]), policy["RevisionId"]) == (2, one["RevisionId"])
    assert lambdas.get_layer_version(**lent)["Description"] == "one"
    stale = refused(lambdas.remove_layer_version_permission, **lent, StatementId="all", RevisionId=added["RevisionId"])
    assert stale[:2] == (412, "PreconditionFailedException")
    for sid in ("all", "one"):
        lambdas.remove_layer_version_permission(**lent, StatementId=sid)
    assert refused(lambdas.get_layer_version_policy, **lent) == gone
    assert refused(lambdas.remove_layer_version_permission, **lent, StatementId="one") == (
        404, "ResourceNotFoundException", "Statement one is not found in resource policy.",
    )  # fmt: skip
    assert refused(lambdas.add_layer_version_permission, **{**given, "VersionNumber": 2}) == (
        404, "ResourceNotFoundException", f"Layer version {ARN}lent:2 does not exist.",
    )  # fmt: skip

    def fill() -> None:
        for number in range(200):
            lambdas.add_layer_version_permission(**{**given, "StatementId": f"{'s' * 90}{number}"})

    with pytest.raises(ClientError, match="PolicyLengthExceededException"):
        fill()
