"""The short form of ``make powercut``: a hundred cuts in every run of the suite, and what must be found out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import cuts, disk, replay
from tests.powercut.disk import Record
from tests.powercut.ledger import Book, Known, Ledger

needs_compiler = pytest.mark.skipif(disk.compiler() is None, reason="there is no C compiler: apt install gcc")


@pytest.fixture
def scratch() -> Iterator[Path]:
    with cuts.scratch() as folder:
        yield folder


@needs_compiler
@pytest.mark.timeout(300)
def test_a_hundred_power_cuts_lose_and_spoil_nothing(scratch: Path) -> None:
    report = cuts.play(scratch, 100, seed=2026)
    print(report.table())
    assert (report.lost, report.corrupt) == ([], []), report.table()
    assert report.acknowledged > 300, "there was something to lose"
    assert report.syncs > 100, "there were many moments between syncs"


@needs_compiler
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("control", "loses", "corrupts"),
    [
        pytest.param("normal", True, None, id="durability normal loses"),
        pytest.param("unsynced", None, True, id="syncs off corrupts"),
        pytest.param("nameless", True, None, id="folders unsynced lose"),
    ],
)
def test_a_weaker_store_is_found_out(scratch: Path, control: str, loses: bool | None, corrupts: bool | None) -> None:
    report = cuts.play(scratch, 20, seed=2026, control=control)
    if loses:
        assert report.lost, report.table()
    if corrupts:
        assert report.corrupt, report.table()


def written(offset: int, data: bytes) -> Record:
    return Record("w", False, 1, offset, data)


SYNC = Record("s", False, 1, 0, b"")
FAILED = Record("s", True, 1, 0, b"")
FOLDER = (Record("d", False, 2, 0, b"/disk"), Record("s", False, 2, 0, b""))
MADE = Record("c", False, 1, 0, b"/disk/file")


@pytest.mark.parametrize(
    ("records", "model", "left"),
    [
        pytest.param([MADE, written(0, b"a"), SYNC], "none", None, id="a name whose folder was not synced"),
        pytest.param([MADE, *FOLDER, written(0, b"a")], "none", b"", id="a write that was not synced"),
        pytest.param([MADE, *FOLDER, written(0, b"a"), SYNC], "none", b"a", id="a write that was synced"),
        pytest.param([MADE, written(0, b"a")], "all", b"a", id="all survives"),
        pytest.param(
            [MADE, *FOLDER, written(0, b"aaa"), SYNC, written(1, b"b")], "all", b"aba", id="a write over another"
        ),
        pytest.param(
            [MADE, *FOLDER, written(0, b"a"), FAILED, written(1, b"b"), SYNC], "none", b"\0b", id="a failed sync"
        ),
        pytest.param(
            [MADE, *FOLDER, written(0, b"abc"), SYNC, Record("t", False, 1, 1, b"")], "none", b"abc", id="truncated"
        ),
    ],
)
def test_the_disk_keeps_what_was_synced(tmp_path: Path, records: list[Record], model: str, left: bytes | None) -> None:
    drive = replay.Disk(Path("/disk"))
    drive.play(records)
    drive.image(model, random.Random(1), tmp_path)
    file = tmp_path / "file"
    assert (file.read_bytes() if file.exists() else None) == left


def test_a_torn_write_comes_by_sectors_of_the_file() -> None:
    parts = replay.Change(1, "w", 500, b"x" * 1000).sectors()
    assert [(one.offset, len(one.data)) for one in parts] == [(500, 12), (512, 512), (1024, 476)]


@pytest.mark.parametrize(
    ("told", "there", "finding"),
    [
        pytest.param(["did"], {"a": "open", "b": "open"}, None, id="kept"),
        pytest.param(["did"], {"a": "open"}, "b is None", id="lost"),
        pytest.param([], {}, None, id="not acknowledged and not there"),
        pytest.param([], {"a": "open", "b": "open"}, None, id="not acknowledged and there"),
        pytest.param([], {"a": "open"}, "half of command 1", id="not acknowledged and there by half"),
        pytest.param(["refused"], {"a": "open", "b": "open"}, "nobody was told", id="refused and there"),
        pytest.param(["did"], {"a": "open", "b": "open", "c": "open"}, "c is known", id="out of nowhere"),
    ],
)
def test_the_ledger_finds(told: list[str], there: dict[str, str], finding: str | None) -> None:
    marks: list[bytes] = []
    book = Book(marks.append)
    number = book.will({"a": "open", "b": "open"})
    for one in told:
        getattr(book, one)(number)
    ledger = Ledger()
    ledger.read(marks)
    found = ledger.broken(Known(dict(there), {}, [], epoch=1, integrity="ok"))
    assert (found == []) if finding is None else (finding in " ".join(found))
