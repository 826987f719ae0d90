"""The short form of ``make faults``: twenty points in every run of the suite, and what must be found out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import sweep
from tests.powercut import cuts, disk

pytestmark = pytest.mark.skipif(disk.compiler() is None, reason="there is no C compiler: apt install gcc")


@pytest.fixture
def scratch() -> Iterator[Path]:
    with cuts.scratch() as folder:
        yield folder


@pytest.mark.timeout(300)
def test_twenty_faults_lose_and_spoil_nothing(scratch: Path) -> None:
    report = sweep.Report(2026)
    report.points += sweep.play(scratch, sweep.chosen(200, 2026, 20), 2026)
    print(report.table())
    assert report.findings == [], report.table()
    assert all(point.reached for point in report.points), "every fault happened"
    assert sum(bool(point.refused or point.broken) for point in report.points) > 10, "and most were noticed"


@pytest.mark.timeout(300)
def test_a_store_that_trusts_its_log_after_a_failed_sync_is_found_out(scratch: Path) -> None:
    points = [("sync EIO sticky", at) for at in range(12, 20)]
    found = list(sweep.play(scratch, points, 2026, control=["--keep-log"]))
    assert any(point.lost for point in found), "what came after the failed sync went with it"
