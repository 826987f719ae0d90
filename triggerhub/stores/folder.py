"""Make names in a folder certain: what was made or renamed there outlives a power cut only then."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from triggerhub.errors import StoreBroken

_CANNOT = (errno.EINVAL, errno.ENOTSUP)
"""A file system that syncs no folders, such as some network disks: there is nothing to be had."""
LOOK = "Nothing is acknowledged any more. Look at the disk and the kernel's log, then start the hub again."


def sync(folder: Path) -> None:
    """Return once every name in *folder* is on the disk.

    Raises OSError where the folder cannot be opened, and StoreBroken where it cannot be synced, for whatever
    reason: another try might succeed and mean nothing.
    """
    descriptor = opened(folder)
    try:
        sync_opened(descriptor, folder)
    finally:
        os.close(descriptor)


def opened(folder: Path) -> int:
    """Return a descriptor of *folder*. Raises OSError."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_opened(descriptor: int, folder: Path) -> None:
    """As :func:`sync`, of a folder that is open."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _CANNOT:
            return
        raise StoreBroken(f"{folder} could not be synced: {error}", hint=LOOK) from error


def make(folder: Path) -> None:
    """Make *folder* and those above it that are missing, and their names certain; also that of one that is there.

    A hub that was killed may have left a name that it had not synced.
    """
    above = next(one for one in folder.absolute().parents if one.exists())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for one in folder.absolute().parents:
        try:
            sync(one)
        except PermissionError:  # not ours, so nothing of ours was made there
            return
        if one == above:
            return
