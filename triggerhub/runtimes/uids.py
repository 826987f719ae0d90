"""Give each function a uid of the host for good: who was first keeps it, and nobody else ever gets it.

What a function leaves in a folder is its uid's, also after a restart, where others may be started before it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path

from triggerhub.durable import sync_names
from triggerhub.runtimes.launcher.plan import FIRST_UID, UIDS


class Uids:
    """The uids that were given, in a file of which each line is one; it only ever grows."""

    def __init__(self, path: Path | None = None) -> None:
        """*path* is the file; without one they are kept as long as this is. OSError."""
        self._path = path
        self._given: dict[str, int] = {}
        self._taken: set[int] = set()
        self._one = threading.Lock()
        if path is not None:
            with suppress(FileNotFoundError):
                self._read(path.read_bytes())

    def knows(self, name: str) -> bool:
        """Whether :meth:`of` has nothing to write for that function."""
        return name in self._given

    def of(self, name: str) -> int:
        """Return the uid of the function *name*. Blocks where it is new, until it is certain. OSError."""
        if name in self._given:
            return self._given[name]
        with self._one:
            return self._give(name) if self._path is None else self._keep(name, self._path)

    def passing(self) -> int:
        """Return a uid that no function has now, for what leaves nothing of its own; it is not kept."""
        last = FIRST_UID + UIDS - 1
        return next((uid for uid in range(last, FIRST_UID - 1, -1) if uid not in self._taken), last)

    def _keep(self, name: str, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # A call on the command line may be giving one, too.
            fcntl.flock(file, fcntl.LOCK_EX)
            content = os.pread(file, os.fstat(file).st_size, 0)
            self._read(content)
            if name in self._given:
                return self._given[name]
            uid = self._free(name)
            line, whole = f"{uid} {name}\n".encode(), content.rfind(b"\n") + 1
            # A power cut may have torn the last one.
            os.ftruncate(file, whole)
            try:
                if os.write(file, line) != len(line):
                    raise OSError(errno.ENOSPC, f"{path}: {os.strerror(errno.ENOSPC)}")
                os.fsync(file)
                if not whole:
                    sync_names(path.parent)
            except OSError:
                os.ftruncate(file, whole)
                raise
        finally:
            os.close(file)
        return self._add(name, uid)

    def _give(self, name: str) -> int:
        return self._given[name] if name in self._given else self._add(name, self._free(name))

    def _add(self, name: str, uid: int) -> int:
        self._given[name] = uid
        self._taken.add(uid)
        return uid

    def _free(self, name: str) -> int:
        """Return the uid that no other has and that this name leads to."""
        if len(self._taken) >= UIDS:
            what = f"each of the {UIDS} uids of functions was given"
            raise OSError(errno.EUSERS, f"{what}: take lines of functions that are gone out of {self._path}")
        uid = FIRST_UID + zlib.crc32(name.encode()) % UIDS
        while uid in self._taken:
            uid = FIRST_UID + (uid + 1 - FIRST_UID) % UIDS
        return uid

    def _read(self, content: bytes) -> None:
        """Take what the file says in whole lines; of two for one function or one uid the first counts."""
        for line in content.split(b"\n")[:-1]:
            number, _, name = line.decode(errors="replace").partition(" ")
            uid = int(number) if len(number) < 10 and number.isdecimal() else 0
            known = name in self._given or uid in self._taken
            if name and not known and FIRST_UID <= uid < FIRST_UID + UIDS:
                self._add(name, uid)
