"""Keep lines of JSON in files by day, and give them back newest first.

A file is ``2026-01-31.jsonl``; a day that outgrows a file goes on in ``2026-01-31.1.jsonl``. Only
the one owner appends; what a crash tore is passed over when read.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from triggerhub.model import Json, Millis
from triggerhub.settings import DAY, MB

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.(\d+))?\.jsonl")
_PARTS = 8
"""A file is at most this part of all that is kept, so that little goes at once."""
_SHARE = 4
"""What is kept is at most this part of the disk …"""
_SPARE = 10
"""… and nothing is written where less than this part of it is free …"""
_SPARE_MOST = 256 * MB
"""… or less than this on a large one: the rest is for the queue."""
_BLOCK = 64 * 1024


class Archive:
    """The files of one folder, made when the first line comes."""

    def __init__(self, folder: Path, *, keep: Millis, keep_size: int) -> None:
        self._folder = folder
        self._keep = keep
        self._keep_size = keep_size
        self._part = min(max(keep_size // _PARTS, 1), 64 * MB)
        self._file: int | None = None
        self._path: Path | None = None
        self._day = ""
        self.cut = ""
        """The latest day of which a file was removed before its time, for room; empty where none was."""

    def append(self, lines: Sequence[tuple[Millis, bytes]]) -> None:
        """Write lines of one day (with their newlines), all or none.

        Raises OSError, ENOSPC also where they would take the room that is left for the queue.
        """
        day = day_of(lines[0][0])
        file, size = self._open(day)
        view = memoryview(b"".join(line for _, line in lines))
        disk = os.fstatvfs(file)
        spare = min(disk.f_blocks * disk.f_frsize // _SPARE, _SPARE_MOST)
        if disk.f_bavail * disk.f_frsize < spare + len(view):
            raise OSError(errno.ENOSPC, "the rest of the disk is kept for the queue")
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError:
            # What was half written would be read as lines, and written again.
            os.ftruncate(file, size)
            raise

    def backwards(self, since: Millis | None = None) -> Iterator[Mapping[str, Json]]:
        """Yield the lines, newest first, of every day from *since* on."""
        for path in reversed(self._files()):
            if since is not None and path.name[:10] < day_of(since):
                return
            try:
                with path.open("rb") as file:
                    for text in _backwards(file.fileno()):
                        line = _parse(text)
                        if line is not None:
                            yield line
            except FileNotFoundError:
                continue

    def retain(self, now: Millis) -> None:
        """Remove the files of days gone by, and the oldest while there is too much. Raises OSError."""
        files = self._files()
        total = sum(path.stat().st_size for path in files)
        oldest = day_of(now - self._keep)
        for path in files:
            if path.name[:10] >= oldest and total <= self._keep_size:
                return
            if path == self._path:
                self.close()
            total -= path.stat().st_size
            path.unlink()
            if path.name[:10] >= oldest:
                self.cut = max(self.cut, path.name[:10])

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = self._path = None

    def _open(self, day: str) -> tuple[int, int]:
        """Return the file to append to and its size."""
        if self._file is not None and day == self._day:
            state = os.fstat(self._file)
            if state.st_nlink and state.st_size < self._part:
                return self._file, state.st_size
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._bound()
        last = max((_number(path) for path in self._files() if path.name.startswith(day)), default=0)
        path = self._path_of(day, last)
        if path.exists() and path.stat().st_size >= self._part:
            path = self._path_of(day, last + 1)
            self.retain(_moment(day))
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._path, self._day = path, day
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            size += os.write(self._file, b"\n")
        return self._file, size

    def _bound(self) -> None:
        disk = os.statvfs(self._folder)
        self._keep_size = min(self._keep_size, disk.f_blocks * disk.f_frsize // _SHARE)
        self._part = min(self._part, max(self._keep_size // _PARTS, 1))

    def _path_of(self, day: str, number: int) -> Path:
        return self._folder / (f"{day}.{number}.jsonl" if number else f"{day}.jsonl")

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        files = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(files, key=lambda path: (path.name[:10], _number(path)))


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[2] or 0) if match else 0


def day_of(moment: Millis) -> str:
    """Return the day (UTC) whose file a moment belongs to."""
    return _day(moment // DAY)


@lru_cache(maxsize=8)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY / 1000, UTC).strftime("%Y-%m-%d")


def _moment(day: str) -> Millis:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000) + DAY - 1


def _backwards(file: int) -> Iterator[bytes]:
    position = os.fstat(file).st_size
    rest = b""
    while position:
        size = min(_BLOCK, position)
        position -= size
        first, *lines = (os.pread(file, size, position) + rest).split(b"\n")
        yield from reversed(lines)
        rest = first
    yield rest


def _parse(text: bytes) -> Mapping[str, Json] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and "time" in line and "text" in line else None
