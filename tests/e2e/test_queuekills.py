"""The short form of ``make queuekills``: the hub is killed once at each step."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.queuekills import POINTS, run


def test_nothing_is_lost_and_no_order_is_violated_however_the_hub_dies(tmp_path: Path) -> None:
    report = run(tmp_path, kills=len(POINTS), seed=7)
    assert report.well, report
    assert set(report.kills) == set(POINTS), report
