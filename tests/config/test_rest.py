"""What is just being saved is read once it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from triggerhub.config.rest import EMPTIED, REST, TRIES, settled


class Saving:
    """A file, those who change it while others wait or read, and a clock that only waiting moves."""

    def __init__(self, path: Path, text: str, *, ago: float) -> None:
        self.path = path
        self.path.write_text(text)
        self.time = path.stat().st_ctime_ns / 1e9 + ago
        self.slept: list[float] = []
        self.reads = 0
        self.meanwhile: list[str] = []
        """What is written at each next wait."""
        self.underhand: list[str] = []
        """What is written at each next read, just after it."""

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        if self.meanwhile:
            self._save(self.meanwhile.pop(0))

    def read(self) -> str | None:
        self.reads += 1
        found = self.path.read_text() if self.path.exists() else None
        if self.underhand:
            self._save(self.underhand.pop(0))
        return found

    def _save(self, text: str) -> None:
        """Save as editors do, so that it is another file whatever the kernel's clock says."""
        draft = self.path.with_suffix(".new")
        draft.write_text(text)
        os.replace(draft, self.path)
        self.time = max(self.time, self.path.stat().st_ctime_ns / 1e9 + REST)

    def settled(self) -> str | None:
        return settled(self.path, self.read, now=self.now, sleep=self.sleep)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "triggerhub.toml"


@pytest.mark.parametrize(("text", "ago"), [("whole", REST + 1), ("", EMPTIED + 1), ("of a clock set back", -60)])
def test_a_file_at_rest_is_read_at_once(path: Path, text: str, ago: float) -> None:
    saving = Saving(path, text, ago=ago)
    assert saving.settled() == text
    assert (saving.slept, saving.reads) == ([], 1)


@pytest.mark.parametrize(("text", "ago"), [("", REST + 0.1), ("", 0), ("[triggers", 0)])
def test_a_file_that_is_emptied_or_half_written_is_read_once_it_is_whole(path: Path, text: str, ago: float) -> None:
    saving = Saving(path, text, ago=ago)
    saving.meanwhile = ["whole"]
    assert saving.settled() == "whole"
    assert saving.reads == 1


def test_what_is_saved_while_it_is_read_is_read_again(path: Path) -> None:
    saving = Saving(path, "before", ago=60)
    saving.underhand = ["after"]
    assert saving.settled() == "after"
    assert saving.reads == 2


def test_a_file_that_stays_empty_is_an_empty_file(path: Path) -> None:
    saving = Saving(path, "", ago=0.5)
    assert saving.settled() == ""
    assert sum(saving.slept) == pytest.approx(EMPTIED - 0.5)


def test_a_file_that_never_rests_is_read_as_it_is(path: Path) -> None:
    saving = Saving(path, "0", ago=60)
    saving.underhand = [str(number) for number in range(1, 20)]
    assert saving.settled() == str(TRIES)


def test_a_file_that_is_gone_is_for_its_reader_to_tell(path: Path) -> None:
    saving = Saving(path, "", ago=0)
    path.unlink()
    assert saving.settled() is None
    assert saving.slept == []
