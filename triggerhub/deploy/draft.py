"""Hold an archive that is on its way in a file of its own, so that it need not be in memory."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import IO


class Draft:
    """A file that nobody refers to, in the folder of archives, until it is kept or closed. Blocks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f".{secrets.token_hex(8)}"
        self._file = self._path.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def name(self) -> str:
        """What the archive is called by its content."""
        return self._digest.hexdigest()

    def add(self, pieces: Iterable[bytes]) -> None:
        """Raises OSError."""
        for piece in pieces:
            self._file.write(piece)
            self._digest.update(piece)
            self.size += len(piece)

    def open(self) -> IO[bytes]:
        """Return what there is by now, to be read. Raises OSError."""
        self._file.flush()
        return self._path.open("rb")

    def settle(self, path: Path, *, sync: bool) -> None:
        """Become the file *path*, whole on the disk before it has that name. Raises OSError."""
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        self._path.rename(path)

    def close(self) -> None:
        """Take it away where it was not kept. Raises OSError."""
        try:
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)
