"""The short form of `make operations`; damage is in tests/faults, a second hub in test_start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.operations import migration, reloads, terminated
from tests.e2e.sheet import Sheet


@pytest.fixture
def sheet() -> Sheet:
    return Sheet()


def test_no_call_sees_two_editions_of_the_configuration(tmp_path: Path, sheet: Sheet) -> None:
    reloads(tmp_path, sheet, times=20)
    assert sheet.broken == []


def test_a_migration_that_was_killed_is_completed_by_the_next_try(tmp_path: Path, sheet: Sheet) -> None:
    migration(tmp_path, sheet, points=6, events=100)
    assert sheet.broken == []


def test_a_hub_that_is_stopped_under_load_loses_nothing_and_does_nothing_twice(tmp_path: Path, sheet: Sheet) -> None:
    terminated(tmp_path, sheet, times=3)
    assert sheet.broken == []
