"""Let the user of a function through to what is its own, where no mount leads there: at the level confined, by root."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

_THROUGH = 0o011


class OutOfReach(OSError):
    """A folder lets no other user through; says which, and what to do."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}: {remedy}")
        self.found = found
        self.remedy = remedy


def let_through(path: Path, data: Path) -> None:
    """Let every user pass through the folders above *path*: those in *data*, the hub's own, are opened for it.

    Passing through is not looking: nothing in them can be listed. Raises OutOfReach for a folder outside.
    """
    for folder in path.resolve().parents:
        found = folder.stat()
        if found.st_mode & _THROUGH == _THROUGH:
            continue
        if not folder.is_relative_to(data.resolve()) or found.st_uid != os.geteuid():
            raise OutOfReach(
                f"functions run as users of their own, who cannot enter {folder} on the way to {path}",
                f"chmod a+x {shlex.quote(str(folder))}",
            )
        folder.chmod(stat.S_IMODE(found.st_mode) | _THROUGH)


def give(folder: Path, uid: int) -> None:
    """Let *folder* be a user's."""
    os.chown(folder, uid, uid)
