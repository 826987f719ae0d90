"""Make names in the store's folders certain, or end the store.

A sync that failed might succeed at another try and mean nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from triggerhub import durable
from triggerhub.errors import StoreBroken

LOOK = "Nothing is acknowledged any more. Look at the disk and the kernel's log, then start the hub again."


def sync(folder: Path) -> None:
    """Return once every name in *folder* is on the disk.

    Raises OSError where the folder cannot be opened, and StoreBroken where it cannot be synced.
    """
    descriptor = durable.opened(folder)
    try:
        sync_opened(descriptor, folder)
    finally:
        os.close(descriptor)


def sync_opened(descriptor: int, folder: Path) -> None:
    """As :func:`sync`, of a folder that is open."""
    try:
        durable.sync_opened(descriptor)
    except OSError as error:
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
