"""What archives take is counted once, however many put the same one at the same time."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.package import zipped
from triggerhub.deploy.shelf import Shelf, StorageExceeded
from triggerhub.settings import MB

AT_ONCE = 8


def archive(number: int) -> bytes:
    """An archive of about a megabyte that no compression makes smaller."""
    return zipped({"app.py": f"x = {number}\n", "data": os.urandom(MB)})


def together(shelf: Shelf, data: bytes) -> list[str]:
    """Put one archive from several threads that begin at the same moment."""
    begin = threading.Barrier(AT_ONCE)

    def put(_: int) -> str:
        begin.wait(20)
        return shelf.put(data)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(put, range(AT_ONCE)))


def test_one_archive_that_many_put_at_once_is_counted_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "var" / "functions", sync=False, total=4 * MB)
    for number in range(3):
        assert len(set(together(shelf, archive(number)))) == 1
    on_disk = sum(path.stat().st_size for path in shelf.archives.iterdir())
    assert len(list(shelf.archives.iterdir())) == 3
    assert shelf._held == on_disk
    with pytest.raises(StorageExceeded):
        shelf.put(archive(3))
    assert not shelf._putting


def test_one_that_is_refused_is_counted_not_at_all(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "var" / "functions", sync=False, total=MB // 2)
    for _ in range(3):
        with pytest.raises(StorageExceeded):
            shelf.put(archive(0))
    assert not shelf._putting
    assert shelf.put(zipped({"app.py": "x = 1\n"}))
