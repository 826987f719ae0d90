"""Read a file piece by piece: of what is sent to many, or to one who is slow, no more than a piece is held."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from triggerhub.settings import KB

PIECE = 128 * KB


class Pieces:
    """An open file as the parts of an answer. Opening it blocks."""

    def __init__(self, path: Path) -> None:
        """OSError."""
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size

    async def next(self) -> bytes | None:
        """Return what comes next, None at the end, and once it was left. OSError."""
        try:
            return await asyncio.to_thread(self._file.read, PIECE) or None
        except ValueError:  # it was closed
            return None

    def leave(self) -> None:
        self._file.close()
