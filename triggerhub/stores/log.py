"""Tell how much of the write-ahead log is not in the database yet."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_INDEX = struct.Struct("=16x I 76x I")
"""Of the log's index (https://www.sqlite.org/walformat.html): how many pages the log has, and how many of them are in
the database."""


class Log:
    """The log of the database at *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}-shm")
        self._index = -1

    def open(self) -> None:
        """Look at the index from now on; after a connection has written."""
        self._index = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def unmoved(self) -> int:
        """Return how many pages a checkpoint would move; for who writes them."""
        pages, moved = _INDEX.unpack(os.pread(self._index, _INDEX.size, 0))
        return int(pages - moved)

    def close(self) -> None:
        """Look no more; after every connection has closed, since its locks on the index would go with this."""
        if self._index >= 0:
            os.close(self._index)
