"""What an error of the disk or of SQLite means for the store."""

from __future__ import annotations

import errno
import os

import pytest

from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.stores.fault import translate


@pytest.mark.parametrize(
    ("number", "kind", "says", "do"),
    [
        (errno.ENOSPC, StoreFull, "the disk is full", "a hub that runs goes on by itself"),
        (errno.EACCES, StoreBroken, "/var/x may not be used: Permission denied", "as the user whose project it is"),
        (errno.EROFS, StoreBroken, "/var/x may not be used: Read-only file system", "Mount it for writing"),
        (errno.EIO, StoreBroken, "the disk failed: ", "Look at the kernel's log"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_who_is_to_blame_for_what_cannot_be_written(number: int, kind: type, says: str, do: str) -> None:
    fault = translate(OSError(number, os.strerror(number), "/var/x"))
    assert isinstance(fault, kind)
    assert says in fault.message
    assert do in fault.hint
