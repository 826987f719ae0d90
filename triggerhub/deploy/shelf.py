"""Keep archives of code on the disk, by their content, and unpacked for the workers.

An archive is durable before it is spoken of; what was unpacked from it is not, so the folder of what is
unpacked belongs to one boot of the machine: a power cut may have torn it, a killed hub has not. All here
blocks and belongs in a thread.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from triggerhub import archive
from triggerhub.crash import crash_point
from triggerhub.deploy.draft import Draft
from triggerhub.durable import sync_names
from triggerhub.errors import TriggerhubError
from triggerhub.policy.units import show_size
from triggerhub.settings import GB

TOTAL = 75 * GB
"""How much all archives may take, as at AWS."""
CLAIMED = 600.0
"""Seconds for which an archive that was put is nobody's to take away: who put it has yet to refer to it."""
SPARE = 1 * GB
"""How much of the disk, or a twentieth of a smaller one, is left to everything else."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class _Busy:
    """What threads that put one archive have in common."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0


class StorageExceeded(TriggerhubError):
    """There is no room for another archive."""


class Shelf:
    """The archives of one data folder."""

    def __init__(self, home: Path, *, sync: bool = True, total: int = TOTAL, spare: int = SPARE) -> None:
        """*sync* is false where the hub is to survive crashes of its own only."""
        self._sync = sync
        self._total, self._spare = total, spare
        self._lock = threading.Lock()
        self._held: int | None = None
        """How much the archives take, once that was looked at."""
        self._sizes: dict[str, int] = {}
        self._claimed: dict[str, float] = {}
        """When archives were put, on the monotonic clock."""
        self._putting: dict[str, _Busy] = {}
        """Archives that are being put."""
        self._idle: set[str] = set()
        """Those that nothing needed at the last sweep."""
        self.archives = home / "archives"
        self._boots = home / "unpacked"
        self._unpacked = self._boots / _boot()

    def put(self, code: bytes | Draft) -> str:
        """Keep an archive and unpack it; return its name. Raises BadArchive, StorageExceeded, OSError."""
        name = hashlib.sha256(code).hexdigest() if isinstance(code, bytes) else code.name
        with self._lock:
            self._claimed[name] = time.monotonic()
        # Whoever puts the same at the same time waits, and finds it there.
        with self._alone(name):
            if not self.path(name).exists():
                self._add(code, name)
            try:
                self.unpack(name)
            except archive.BadArchive:
                with self._lock:
                    self._remove(name)
                raise
        return name

    def draft(self) -> Draft:
        """Return a file for an archive that comes in pieces. OSError."""
        return Draft(self.archives)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let one thread at a time see to an archive of that name."""
        with self._lock:
            busy = self._putting.setdefault(name, _Busy())
            busy.threads += 1
        try:
            with busy.lock:
                yield
        finally:
            with self._lock:
                busy.threads -= 1
                if not busy.threads:
                    del self._putting[name]

    def _add(self, code: bytes | Draft, name: str) -> None:
        """Look at an archive that is not there, and write it. Raises BadArchive, StorageExceeded, OSError."""
        with io.BytesIO(code) if isinstance(code, bytes) else code.open() as file:
            unpacked = archive.check(file)
            size = file.seek(0, os.SEEK_END)
        self._make_room(size, unpacked)
        try:
            if isinstance(code, bytes):
                with closing(self.draft()) as draft:
                    draft.add((code,))
                    self._settle(draft, name)
            else:
                self._settle(code, name)
        except OSError:
            if not self.path(name).exists():
                self._take(-size)
            raise

    def _settle(self, draft: Draft, name: str) -> None:
        crash_point("before-archive")
        draft.settle(self.path(name), sync=self._sync)
        if self._sync:
            # The names of the folders, too: the first archive makes them.
            for folder in (self.archives, self.archives.parent, self.archives.parent.parent):
                sync_names(folder)

    def require(self, size: int) -> None:
        """Raise StorageExceeded where *size* bytes more would leave too little of the disk. OSError."""
        self.archives.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk = os.statvfs(self.archives)
        spare = min(self._spare, disk.f_blocks * disk.f_frsize // 20)
        if disk.f_bavail * disk.f_frsize - size < spare:
            raise StorageExceeded(f"the disk must keep {show_size(spare)} free", hint="Free some space.")

    def _make_room(self, size: int, unpacked: int) -> None:
        """Take *size* bytes for an archive. Raises StorageExceeded, OSError."""
        self.require(size + unpacked)
        with self._lock:
            if self._held is None:
                self._held = sum(path.stat().st_size for path in _entries(self.archives))
            if self._held + size > self._total:
                text = f"all archives may take {show_size(self._total)}"
                raise StorageExceeded(text, hint="Those that nothing refers to any more go within minutes.")
            self._held += size

    def _take(self, size: int) -> None:
        with self._lock:
            self._held = None if self._held is None else self._held + size

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

    def size(self, name: str) -> int:
        """Return how many bytes an archive unpacks to. BadArchive, OSError."""
        if name not in self._sizes:
            with self.path(name).open("rb") as file:
                self._sizes[name] = archive.check(file)
        return self._sizes[name]

    def sweep(self, keep: Collection[str], held: Collection[Path]) -> list[Path]:
        """Take away archives that are not in *keep* and were not at the last sweep; return folders to be removed.

        What was unpacked of one stays, and the archive too, while its folder is in *held*. OSError.
        """
        gone = []
        with self._lock:
            now = time.monotonic()
            self._claimed = {name: then for name, then in self._claimed.items() if now - then < CLAIMED}
            names = {path.name for folder in (self.archives, self._unpacked) for path in _entries(folder)}
            idle = {name for name in names - set(keep) - self._claimed.keys() if self._unpacked / name not in held}
            for name in idle & self._idle:
                gone += self._taken_away(name)
            self._idle = idle
        return gone

    def _taken_away(self, name: str) -> list[Path]:
        folder = self._unpacked / name
        self._remove(name)
        self._sizes.pop(name, None)
        return [put_aside(folder)] if folder.is_dir() else []

    def _remove(self, name: str) -> None:
        path = self.path(name)
        if path.exists():
            size = path.stat().st_size
            path.unlink()
            self._held = None if self._held is None else self._held - size

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


def put_aside(folder: Path) -> Path:
    """Give a folder a name that means nothing to anybody, so that it can be removed at leisure; return it."""
    aside = folder.with_name(f".{os.getpid()}.{secrets.token_hex(6)}")
    folder.rename(aside)
    return aside


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, but for drafts."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        # Where the kernel does not say, nothing that an earlier hub unpacked is believed.
        return secrets.token_hex(16)
