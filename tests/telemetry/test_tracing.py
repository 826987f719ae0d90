"""When traces are sent at all."""

from __future__ import annotations

import sys

import pytest

from triggerhub.errors import ConfigError
from triggerhub.telemetry import tracing


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "True"}],
)
def test_nothing_is_traced_where_no_collector_is_named(environ: dict[str, str]) -> None:
    assert tracing.from_environment(environ, "1") is None


def test_a_missing_extra_is_told_with_the_variable_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT asks for traces") as raised:
        tracing.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "1")
    assert "pip install 'triggerhub[otel]'" in (raised.value.hint or "")
