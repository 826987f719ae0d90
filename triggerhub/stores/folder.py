"""Make names in a folder certain: what was made or renamed there outlives a power cut only then."""

from __future__ import annotations

import os
from pathlib import Path


def sync(folder: Path) -> None:
    """Return once every name in *folder* is on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make(folder: Path) -> None:
    """Make *folder* and those above it that are missing, and their names certain; also of one that is there.

    A hub that was killed may have left names that it had not synced: nothing that is kept under them now
    would be safe.
    """
    above = next(one for one in folder.absolute().parents if one.exists())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for one in (folder, *folder.absolute().parents):
        try:
            sync(one)
        except PermissionError:  # not ours, so nothing of ours was made there
            return
        if one == above:
            return
