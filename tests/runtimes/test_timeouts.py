"""The short form of ``make timeouts``: nothing stays of a handler that ran into its timeout."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes import timeouts


async def test_fifty_timeouts_leave_nothing(tmp_path: Path) -> None:
    report = await timeouts.run(tmp_path / "project", "isolated", 50)
    print(report)
    assert report.broken() == []
    assert report.timeouts == 50


async def test_without_a_sandbox_children_stay_and_are_found(tmp_path: Path) -> None:
    report = await timeouts.run(tmp_path / "project", "trusted", 4)
    assert report.survivors > 0
