"""The short form of ``make outage``: the endpoint is away for a few seconds."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.outages import run


def test_an_outage_loses_nothing_and_floods_no_log(tmp_path: Path) -> None:
    report = run(tmp_path, 8)
    assert report.well, report
    assert report.lines, "it is told at all"
