"""Record what a process asks of the disk, and let it fail: the Python side of ``disk.c``."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")
HEAD = struct.Struct("<cBHIQQ")
CHANGE, SYNC = 1, 2
"""The kinds of operation that can be made to fail."""


def compiler() -> str | None:
    """Return the C compiler of this machine, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@cache
def library() -> Path:
    """Compile the library, once for each text of it, and return where it is."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"triggerhub-disk-{os.getuid()}-{digest}.so"
    if not path.exists():
        cc = compiler()
        assert cc, "there is no C compiler: apt install gcc"
        draft = path.with_suffix(f".{os.getpid()}")
        subprocess.run([cc, "-O1", "-shared", "-fPIC", "-o", draft, SOURCE, "-ldl", "-lpthread"], check=True)
        draft.rename(path)
    return path


def environ(root: Path, log: Path | None = None, fail: str = "") -> dict[str, str]:
    """Return the environment of a process whose changes below *root* are recorded or made to fail.

    *fail* is ``kind:at:errno:sticky``, see :func:`Disk.fail`.
    """
    more = {"LD_PRELOAD": str(library()), "DISK_ROOT": str(root)}
    if log is not None:
        more["DISK_LOG"] = str(log)
    if fail:
        more["DISK_FAIL"] = fail
    return {**os.environ, **more}


class Disk:
    """The library within this process, which must have been started with it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.disk_count.restype = ctypes.c_long

    def mark(self, text: bytes) -> None:
        """Write a word of our own between the records."""
        self._library.disk_mark(text, len(text))

    def log(self, path: Path) -> None:
        """Go on in another log."""
        self._library.disk_log(os.fsencode(path))

    def fail(self, kind: int, at: int, error: int, *, sticky: bool) -> None:
        """Let the *at*-th operation of *kind* from now fail; *sticky*: and all of the kind after it."""
        self._library.disk_fail(kind, ctypes.c_long(at), error, int(sticky))

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._library.disk_fail(0, ctypes.c_long(0), 0, 0)

    def count(self, kind: int) -> int:
        """Return how many operations of *kind* were asked for since the last ``fail`` or ``heal``."""
        return int(self._library.disk_count(kind))


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was asked of the disk, or a mark.

    *op* is ``c`` create, ``d`` open a folder, ``w`` write, ``t`` truncate to *offset*, ``a`` allocate up
    to *offset*, ``s`` sync, ``r`` rename, ``u`` unlink, ``k`` make a folder, ``m`` mark.
    """

    op: str
    failed: bool
    inode: int
    offset: int
    data: bytes


def read(log: Path) -> list[Record]:
    """Return the records of a log, in the order in which they happened."""
    return list(_records(log.read_bytes()))


def _records(text: bytes) -> Iterator[Record]:
    place = 0
    while place < len(text):
        op, failed, _, length, inode, offset = HEAD.unpack_from(text, place)
        place += HEAD.size
        yield Record(op.decode(), bool(failed), inode, offset, text[place : place + length])
        place += length


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* without the library."""
    return {key: value for key, value in environment.items() if key != "LD_PRELOAD" and not key.startswith("DISK_")}
