"""A hub that is killed takes all of its workers along, and what they started."""

from __future__ import annotations

from pathlib import Path

import pytest

from triggerhub.runtimes.groups import Groups, NoGroups

from .conftest import until
from .orphans import ALLOWED, EACH, ends

BUSY = 10
"""How many times as long as on an idle machine it may take beside other tests."""


@pytest.mark.parametrize("level", ["isolated", "contained"])
def test_nothing_outlives_a_killed_hub(tmp_path: Path, level: str) -> None:
    folders: set[Path] = set()
    if level == "contained":
        try:
            folders = set(Groups.find().beside())
        except (NoGroups, OSError) as error:
            pytest.skip(str(error))
    took, processes = ends(tmp_path / "project", level, 20)
    assert processes >= 20 * (EACH + 1), "process 1 of each is watched, too"
    assert took < ALLOWED * BUSY
    if folders:
        until(lambda: set(Groups.find().beside()) <= folders, "its control groups are gone, too")
