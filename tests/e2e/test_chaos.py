"""The short form of `make chaos`: fifty kills in every run of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.chaos import rampage


@pytest.mark.timeout(600)
def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    report = rampage(tmp_path, kills=50, seed=20)
    print(report.table())
    assert report.broken() == [], report.table()
    assert len(report.told.accepted) > 50, "the load was there"
    assert len(report.kills) > 3, "several kinds of kill happened"
