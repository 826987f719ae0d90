"""Keep large payloads beside the database, by content hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from triggerhub.settings import KB

LARGE = 64 * KB
"""Payloads above this size are kept as files."""


class Blobs:
    """Files named by the SHA-256 of their content, durable once ``put`` returns."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store *data* and return its name. Raises OSError."""
        name = hashlib.sha256(data).hexdigest()
        path = self._folder / name
        if path.exists() and path.stat().st_size == len(data):
            return name
        draft = path.with_suffix(f".{os.getpid()}")
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
        if self._sync:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return name

    def get(self, name: str) -> bytes:
        """Return the content, or nothing where the file is gone (its checksum then tells)."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return b""

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def size(self) -> int:
        return sum(entry.stat().st_size for entry in os.scandir(self._folder))
