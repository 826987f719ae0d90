"""Names outlive a power cut once their folder was synced; a folder that cannot be is told from one that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from triggerhub import durable
from triggerhub.errors import StoreBroken
from triggerhub.stores import folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were synced, in their order."""
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(os.readlink(f"/proc/self/fd/{file}")))
    return seen


def test_every_folder_that_is_made_is_named_in_one_that_is_synced(tmp_path: Path, synced: list[str]) -> None:
    folder.make(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [str(tmp_path / "a" / "b"), str(tmp_path / "a"), str(tmp_path)]


def test_a_folder_that_is_there_may_have_been_left_by_a_hub_that_was_killed(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "var").mkdir()
    folder.make(tmp_path / "var")
    assert synced == [str(tmp_path)]


@pytest.mark.parametrize("why", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_breaks_the_store_whatever_it_says(
    tmp_path: Path, why: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreBroken, match="could not be synced"):
        folder.sync(tmp_path)
    with pytest.raises(OSError, match=os.strerror(why)):
        durable.sync_names(tmp_path)


@pytest.mark.parametrize("why", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_such_a_sync_is_no_failure(
    tmp_path: Path, why: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cannot(file: int) -> None:
        asked.append(file)
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "fsync", cannot)
    folder.sync(tmp_path)
    durable.sync_names(tmp_path)
    assert len(asked) == 2
