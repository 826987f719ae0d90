"""Make names in a folder certain: what was made or renamed there outlives a power cut only then."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_CANNOT = (errno.EINVAL, errno.ENOTSUP)
"""A file system that syncs no folders, such as some network disks: there is nothing to be had."""


def sync_names(folder: Path) -> None:
    """Return once every name in *folder* is on the disk. Blocks. OSError."""
    descriptor = opened(folder)
    try:
        sync_opened(descriptor)
    finally:
        os.close(descriptor)


def opened(folder: Path) -> int:
    """Return a descriptor of *folder*. OSError."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_opened(descriptor: int) -> None:
    """As :func:`sync_names`, of a folder that is open."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
