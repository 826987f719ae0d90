"""SnapStart: each call of a published version begins with what was loaded once, and ``$LATEST`` is as ever."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.contract.package import called, create, zipped
from tests.contract.test_functions import refused

CODE = """
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot

seen = []


@register_before_snapshot
def prime():
    seen.append("primed")


@register_after_restore
def connect():
    seen.append("restored")


def handler(event, context):
    seen.append("called")
    return [seen, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
"""
PUBLISHED = {"ApplyOn": "PublishedVersions"}


def test_published_versions_begin_each_call_with_what_was_loaded_once(lambdas: Any) -> None:
    name = f"snap-{uuid.uuid4().hex[:8]}"
    code = zipped({"app.py": CODE})
    made = create(lambdas, name, code, SnapStart=PUBLISHED, Timeout=20)
    assert made["SnapStart"] == {**PUBLISHED, "OptimizationStatus": "Off"}
    version = lambdas.publish_version(FunctionName=name)
    assert version["SnapStart"] == {**PUBLISHED, "OptimizationStatus": "On"}
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for place in (f"{name}:1", f"{name}:1", f"{name}:live"):
        assert called(lambdas, place) == [["primed", "restored", "called"], "snap-start"]
    assert called(lambdas, name) == [["called"], "on-demand"]
    shown = lambdas.get_function_configuration(FunctionName=name, Qualifier="live")["SnapStart"]
    assert shown == {**PUBLISHED, "OptimizationStatus": "On"}
    # it is of the version that was published so, and publishing without it makes another
    kept = lambdas.update_function_configuration(FunctionName=name, Description="x")
    assert kept["SnapStart"]["ApplyOn"] == "PublishedVersions"
    off = lambdas.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"})
    assert off["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert lambdas.publish_version(FunctionName=name)["Version"] == "2"
    assert called(lambdas, f"{name}:2") == [["called"], "on-demand"]
    assert called(lambdas, f"{name}:1")[1] == "snap-start"
    versions = lambdas.list_versions_by_function(FunctionName=name)["Versions"]
    assert [one["SnapStart"]["OptimizationStatus"] for one in versions] == ["Off", "On", "Off"]


def test_what_cannot_be_forked_is_refused_snapstart(lambdas: Any) -> None:
    name = f"snap-{uuid.uuid4().hex[:8]}"
    asked = {"FunctionName": name, "Role": "arn:aws:iam::000000000000:role/any", "Handler": "app.handler", "Code": {"ZipFile": zipped({"bootstrap": "x"})}}  # fmt: skip
    whole = refused(lambdas.create_function, Runtime="provided.al2023", SnapStart=PUBLISHED, **asked)
    assert whole == (
        400, "InvalidParameterValueException",
        "provided.al2023 is not supported for SnapStart enabled functions: here it is for Python.",
    )  # fmt: skip
    assert json.dumps(name) not in json.dumps([one["FunctionName"] for one in lambdas.list_functions()["Functions"]])
    create(lambdas, name, zipped({"app.py": CODE}), SnapStart=PUBLISHED)
    changed = refused(lambdas.update_function_configuration, FunctionName=name, Runtime="provided.al2023")
    assert changed[:2] == (400, "InvalidParameterValueException")
