"""Hold back some room on the disk, so that what was accepted can settle when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from triggerhub.settings import MB

SIZE = 8 * MB
AMPLE = 256 * MB
"""With less than this the disk is nearly full."""


class Reserve:
    """The file ``reserve`` in the data folder; it holds nothing but room."""

    def __init__(self, data: Path) -> None:
        self._path = data / "reserve"
        self.held = self._path.exists()

    def hold(self) -> bool:
        """Allocate the room; False where there is none."""
        if self.held:
            return True
        draft = self._path.with_suffix(".draft")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)
            draft.rename(self._path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        self.held = True
        return True

    def room(self) -> int:
        """Return how many bytes the disk has left for us."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0  # it tells nothing; whoever writes will learn what is wrong
        return disk.f_bavail * disk.f_frsize

    @property
    def scarce(self) -> bool:
        """Whether the disk is full or soon will be."""
        return not self.held or self.room() < AMPLE

    def give_up(self) -> None:
        """Make the room available."""
        with suppress(OSError):  # what needs the room will then say what is wrong
            self._path.unlink(missing_ok=True)
        self.held = False
