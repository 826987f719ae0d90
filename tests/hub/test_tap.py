"""What a function writes is kept, whatever else is made of it."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from triggerhub.hub.call import Tap
from triggerhub.hub.clock import SystemClock
from triggerhub.hub.feed import Feed
from triggerhub.policy import embedded
from triggerhub.settings import Function
from triggerhub.telemetry.metrics import Metrics


def test_metrics_that_cannot_be_read_cost_no_line_and_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "read", Mock(side_effect=OverflowError("too large")))
    kept: list[str] = []
    output = SimpleNamespace(write=lambda function, request, stream, text: kept.append(text))
    tap, function = Tap(output, Feed(), SystemClock(), Metrics()), Function(name="f", runtime="python")
    lines = ['{"_aws": 1}', '{"_aws": 2}', "after"]
    with capture_logs() as logged:
        for line in lines:
            tap.write(function, "r", "stdout", line)
    assert kept == lines
    assert [(one["function"], str(one["exc_info"])) for one in logged] == [("f", "too large")]
