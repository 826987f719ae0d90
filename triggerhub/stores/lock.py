"""Let one hub at a time use a data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from triggerhub.errors import HubLocked
from triggerhub.stores import folder
from triggerhub.stores.fault import translate


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold ``hub.lock``; the kernel frees it however the process ends.

    Raises HubLocked at once; StoreFull and StoreBroken where the folder cannot be made.
    """
    descriptor = _open(data)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise HubLocked(
                f"another hub, process {holder}, already runs on {data}",
                hint="Stop it first, or give this project a data folder of its own with [hub] data.",
            ) from None
        with suppress(OSError):  # it is for people; a full disk keeps the lock as well
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(data: Path) -> int:
    try:
        folder.make(data)
        return os.open(data / "hub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate(error) from error
