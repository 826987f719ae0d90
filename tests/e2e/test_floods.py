"""The short form of `make floods`; how long a hung neighbour makes others wait is judged there only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.floods import again_and_again, few_descriptors, overloaded, poisonous
from tests.e2e.sheet import Sheet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path


@pytest.fixture
def sheet() -> Sheet:
    return Sheet()


def test_a_function_that_kills_its_workers_is_given_up_and_harms_no_neighbour(folder: Path, sheet: Sheet) -> None:
    poisonous(folder, sheet, events=2)
    assert sheet.broken == []


def test_what_an_overloaded_hub_does_not_refuse_is_done(folder: Path, sheet: Sheet) -> None:
    overloaded(folder, sheet, seconds=2, backlog=60)
    assert sheet.broken == []


def test_more_clients_than_descriptors_keep_the_hub_neither_busy_nor_away(folder: Path, sheet: Sheet) -> None:
    few_descriptors(folder, sheet, seconds=1)
    assert sheet.broken == []


def test_what_is_sent_again_and_again_over_a_kill_runs_once(folder: Path, sheet: Sheet) -> None:
    again_and_again(folder, sheet, times=200)
    assert sheet.broken == []
