"""Keep archives of code on the disk, by their content, and unpacked for the workers.

An archive is durable before it is spoken of; what was unpacked from it is not, so the folder of what is
unpacked belongs to one boot of the machine: a power cut may have torn it, a killed hub has not. All here
blocks and belongs in a thread.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from triggerhub import archive
from triggerhub.crash import crash_point

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Shelf:
    """The archives of one data folder."""

    def __init__(self, home: Path, *, sync: bool = True) -> None:
        """*sync* is false where the hub is to survive crashes of its own only."""
        self._sync = sync
        self.archives = home / "archives"
        self._boots = home / "unpacked"
        self._unpacked = self._boots / _boot()

    def put(self, data: bytes) -> str:
        """Keep an archive and unpack it; return its name. Raises BadArchive, and OSError where there is no room."""
        name = hashlib.sha256(data).hexdigest()
        path = self.archives / name
        if not path.exists():
            self._write(data, path)
        try:
            self.unpack(name)
        except archive.BadArchive:
            path.unlink(missing_ok=True)
            raise
        return name

    def _write(self, data: bytes, path: Path) -> None:
        self.archives.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            crash_point("before-archive")
            draft.rename(path)
            if self._sync:
                # The names of the folders, too: the first archive makes them.
                for folder in (self.archives, self.archives.parent, self.archives.parent.parent):
                    _sync(folder)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def unpack(self, name: str) -> Path:
        """Return the folder of what an archive holds, made where this boot has not made it. BadArchive, OSError."""
        folder = self._unpacked / name
        if not folder.is_dir():
            self._unpacked.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path(name).open("rb") as file:
                try:
                    archive.unpack(file, folder)
                except OSError:
                    if not folder.is_dir():  # another was first
                        raise
        return folder

    def path(self, name: str) -> Path:
        return self.archives / name

    def collect(self, keep: Collection[str] | None) -> None:
        """Remove archives that are not in *keep* (None is all of them), drafts, and what other boots unpacked."""
        for path in self.archives.iterdir() if self.archives.is_dir() else ():
            if path.name.startswith(".") or (keep is not None and path.name not in keep):
                with suppress(OSError):
                    path.unlink()
        for boot in self._boots.iterdir() if self._boots.is_dir() else ():
            if boot != self._unpacked:
                archive.remove(boot)
        for folder in self._unpacked.iterdir() if self._unpacked.is_dir() else ():
            if folder.name.startswith(".") or (keep is not None and folder.name not in keep):
                archive.remove(folder)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        # Where the kernel does not say, nothing that an earlier hub unpacked is believed.
        return secrets.token_hex(16)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
