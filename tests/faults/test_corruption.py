"""Twenty damaged stores in every run of the suite; 200 by `make operations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import corruption
from tests.faults.corruption import sweep
from triggerhub.stores import reading


def test_damage_is_told_or_does_no_harm(tmp_path: Path) -> None:
    found = sweep(tmp_path, times=24, seed=7, events=60)
    assert (found.wrong, found.silent, found.unclear) == ([], [], [])
    assert found.told.keys() >= set(corruption.KINDS) - {"bit"}, "nearly every kind of damage did some"


def test_without_a_look_at_the_pages_some_of_it_would_go_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "EXAMINED", 0)
    monkeypatch.setattr(corruption, "KINDS", ("swapped pages",))
    assert sweep(tmp_path, times=20, seed=1, events=60).silent
