"""Notice that a database was taken away under the hub: what is written into it then lies in nobody's folder."""

from __future__ import annotations

import os
from pathlib import Path

from triggerhub.errors import StoreBroken


class Presence:
    """The files of an open database, as they lay in their folder when it was opened."""

    def __init__(self, database: Path) -> None:
        self._files = {path: _identity(path) for path in (database, database.with_name(f"{database.name}-wal"))}

    def look(self) -> None:
        """Raise StoreBroken where one of them is no longer there, or another lies in its place."""
        for path, opened in self._files.items():
            if _identity(path) != opened:
                raise StoreBroken(
                    f"{path} was moved or removed while the hub ran",
                    hint="Nothing is acknowledged any more. Put it back, or a backup in its place with "
                    "`triggerhub restore FILE`, then start the hub again.",
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - for each commit
    except OSError:
        return None
    return found.st_dev, found.st_ino
