"""The short form of `make clocks`; its nights are held by tests/policy/test_schedule_clocks.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clocks import HOUR, frozen_and_thawed, library, set_back_and_forth
from tests.e2e.sheet import Sheet

settable = pytest.mark.skipif(library() is None, reason="libfaketime is not installed (apt install libfaketime)")


def test_a_hub_that_was_frozen_times_nothing_out(tmp_path: Path) -> None:
    sheet = Sheet()
    frozen_and_thawed(tmp_path, sheet)
    assert sheet.broken == []


@settable
def test_a_clock_that_is_set_times_nothing_out_and_no_slot_comes_twice(tmp_path: Path) -> None:
    sheet = Sheet()
    set_back_and_forth(tmp_path, sheet, steps=(HOUR, -HOUR))
    assert sheet.broken == []
