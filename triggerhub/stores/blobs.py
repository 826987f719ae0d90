"""Keep large payloads beside the database, by content hash."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from triggerhub import durable
from triggerhub.settings import KB
from triggerhub.stores import folder

LARGE = 64 * KB
"""Payloads above this size are kept as files."""


class Blobs:
    """Files named by the SHA-256 of their content; durable after ``put`` and then ``sync``."""

    def __init__(self, place: Path, *, sync: bool) -> None:
        self.folder = place
        self._sync = sync
        self._renamed = False
        self._held: set[str] | None = None
        place.mkdir(parents=True, exist_ok=True)
        # Kept open: a commit must not fail for want of a descriptor.
        self._names = durable.opened(place)
        self.size = sum(entry.stat().st_size for entry in os.scandir(place))
        """The bytes of all files together."""

    def put(self, data: bytes) -> str:
        """Store *data* and return its name. Raises OSError."""
        name = hashlib.sha256(data).hexdigest()
        path = self.folder / name
        there = self.get(name)
        # A file that rotted must not speak for a new payload of the same name.
        if there == data:
            return name
        draft = path.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._renamed = True
        self.size += len(data) - len(there)
        return name

    def sync(self) -> None:
        """Make the names of what was put durable; to be called before the commit that refers to them."""
        if self._renamed and self._sync:
            folder.sync_opened(self._names, self.folder)
        self._renamed = False

    def close(self) -> None:
        os.close(self._names)

    def get(self, name: str) -> bytes:
        """Return the content, or nothing where the file is gone or its disk cannot read it.

        Its checksum then tells: one bad file costs its own deliveries, not the hub. Raises OSError.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EIO):
                return b""
            raise

    def length(self, name: str) -> int:
        """Return how many bytes a file has; none where it is gone."""
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            return 0

    def hold(self) -> None:
        """Remove nothing from now on: somebody copies the files."""
        self._held = set()

    def release(self) -> set[str]:
        """Remove again what is asked for; returns what was asked for meanwhile."""
        held, self._held = self._held, None
        return held or set()

    def remove(self, name: str) -> None:
        """Remove a file; one that cannot be removed now is swept at the next opening."""
        if self._held is not None:
            self._held.add(name)
            return
        path = self.folder / name
        with suppress(OSError):
            length = path.stat().st_size
            path.unlink()
            self.size -= length

    def sweep(self, used: Callable[[str], bool]) -> None:
        """Remove what no event uses: a crash between a file and its commit leaves one behind."""
        for entry in list(os.scandir(self.folder)):
            if not used(entry.name):
                self.remove(entry.name)
