"""Metrics in a line of log."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import embedded
from triggerhub.policy.embedded import Sample


def line(metrics: Any = None, dimensions: Any = None, **root: Any) -> str:
    directive = {
        "Namespace": "shop",
        "Dimensions": [["service"]] if dimensions is None else dimensions,
        "Metrics": [{"Name": "Orders", "Unit": "Count"}] if metrics is None else metrics,
    }
    return json.dumps({"_aws": {"Timestamp": 1, "CloudWatchMetrics": [directive]}, "service": "a", "Orders": 2, **root})


ORDERS = Sample(namespace="shop", name="Orders", unit="Count", dimensions=(("service", "a"),), values=(2.0,))


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        (line(), [ORDERS]),
        (line(Orders=[1, 2.5]), [replace(ORDERS, values=(1.0, 2.5))]),
        (line(dimensions=[[]]), [Sample(namespace="shop", name="Orders", unit="Count", dimensions=(), values=(2.0,))]),
        (line(metrics=[{"Name": "Gone"}]), []),
        (line(metrics=[{"Name": "Orders"}], dimensions=[["nowhere"]]), []),
        (line(Orders="2"), []),
        (line(Orders=10**400), []),
        (line(Orders=[1, -(10**400)]), []),
        (line(Orders=True), []),
        (line(Orders=[]), []),
        (line(Orders=[1] * 101), []),
        (line(service=3), []),
        (line(service=""), []),
        (line(dimensions=[["service"]] * 31), []),
        (line(metrics={}), []),
        ('{"_aws": {"CloudWatchMetrics": [{"Namespace": "x", "Metrics": [{"Name": "y"}]}], "y": NaN}', []),
        ('{"_aws": 3}', []),
        ('{"_aws": {"CloudWatchMetrics": 3}}', []),
        ('{"_aws"', []),
        ("[" * 100_000, []),
    ],
)
def test_a_line_is_read(text: str, samples: list[Sample]) -> None:
    assert embedded.read(text) == samples


def test_only_what_may_be_a_metric_is_looked_into() -> None:
    assert embedded.looks_like(line())
    assert not embedded.looks_like("an ordinary line with _aws in it")
    assert not embedded.looks_like('x{"_aws": 1}')
    assert not embedded.looks_like('{"_aws": "' + "x" * embedded.LONGEST + '"}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["_aws", "CloudWatchMetrics", "Namespace", "Dimensions", "Metrics", "Name", "Unit", "a"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_whatever_is_written_nothing_is_raised(value: Any) -> None:
    for sample in embedded.read(json.dumps({"_aws": {"CloudWatchMetrics": value}, "a": 1})):
        assert sample.values
