"""Compare what lies in a folder with what was told of it.

A files trigger keeps, for every file, the version it last told. What differs from that is news,
whether it happened a moment ago or while the hub was down. Pure: the caller looks at the disk.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

Change: TypeAlias = Literal["created", "modified", "deleted"]

_PREFIX = "f:"
_KEY_LIMIT = 900
"""Bytes of a dedup key that are left readable; the hub refuses keys over 1 KB, and paths may be longer."""


class Version(NamedTuple):
    """Which content of a path was seen. Two are the same content when all but ``ctime_ns`` agree."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    """Tells a file that was moved away and back from one that never left; chmod changes it too, so it
    marks a version in dedup keys but makes none."""

    def same(self, other: Version | None) -> bool:
        """Return whether *other* is the same content."""
        return other is not None and self[:3] == other[:3]

    def encode(self) -> str:
        """Return the value of its checkpoint."""
        return "-".join(format(part, "x") if part >= 0 else f"~{-part:x}" for part in self)

    @classmethod
    def decode(cls, text: str) -> Version:
        """Read what :meth:`encode` wrote."""
        return cls(*(-int(part[1:], 16) if part.startswith("~") else int(part, 16) for part in text.split("-")))


def change(known: Version | None, seen: Version | None) -> Change | None:
    """Return what is to be told of a path; None where nothing happened."""
    if seen is None:
        return None if known is None else "deleted"
    if known is None:
        return "created"
    return None if seen.same(known) else "modified"


class Comparison:
    """Compares a full scan with the inventory, file by file."""

    def __init__(self, known: dict[str, Version]) -> None:
        """Take *known* over: what is seen is taken out of it, so that no second index has to be built."""
        self._known = known
        self.fresh: dict[str, Version] = {}
        """Files that were not known."""
        self._changed: list[str] = []

    def saw(self, path: str, version: Version) -> None:
        """Take in that a file is there; once per path."""
        known = self._known.pop(path, None)
        if known is None:
            self.fresh[path] = version
        elif not version.same(known):
            self._changed.append(path)

    def news(self, unread: Collection[str] = ()) -> list[str]:
        """Return the paths that something happened to: new, changed, gone.

        Of what lies in folders that could not be read (*unread*) nothing is said.
        """
        hidden = set(below(unread, self._known))
        return [*self.fresh, *self._changed, *(path for path in self._known if path not in hidden)]


def written(path: str) -> str:
    """Return a path as ASCII without blanks, in bytes percent-encoded: names need not be UTF-8."""
    return quote_from_bytes(path.encode("utf-8", "surrogateescape"), safe="/-_.~")


def key(path: str) -> str:
    """Return the checkpoint key of a path."""
    return _PREFIX + written(path)


def dedup_key(path: str, version: Version, change: Change) -> str:
    """Name one version of a path, in at most 1 KB; a deletion is named by the version that went."""
    tail = f":{version.encode()}{':deleted' if change == 'deleted' else ''}"
    head = written(path)
    if len(head) + len(tail) > _KEY_LIMIT:
        head = f"{head[: _KEY_LIMIT - 200]}:{hashlib.sha256(head.encode()).hexdigest()}"
    return head + tail


def read(checkpoints: Mapping[str, str]) -> dict[str, Version]:
    """Return the versions by path that are stored under keys of :func:`key`."""
    return {
        unquote_to_bytes(name.removeprefix(_PREFIX)).decode("utf-8", "surrogateescape"): Version.decode(value)
        for name, value in checkpoints.items()
        if name.startswith(_PREFIX)
    }


class Inventory:
    """The versions told so far, and the folders that they make up."""

    def __init__(self, versions: Mapping[str, Version] | None = None) -> None:
        self._versions = dict(versions or {})
        self._folders: Counter[str] = Counter()
        for path in self._versions:
            self._folders.update(_ancestors(path))

    def __len__(self) -> int:
        return len(self._versions)

    def __repr__(self) -> str:
        return f"<Inventory: {len(self._versions)} files in {len(self._folders)} folders>"

    def get(self, path: str) -> Version | None:
        return self._versions.get(path)

    def put(self, path: str, version: Version | None) -> None:
        """Remember what was told of *path*; None forgets it."""
        if version is None:
            if self._versions.pop(path, None) is not None:
                self._folders.subtract(_ancestors(path))
                for folder in _ancestors(path):
                    if self._folders[folder] <= 0:
                        del self._folders[folder]
            return
        if path not in self._versions:
            self._folders.update(_ancestors(path))
        self._versions[path] = version

    def is_folder(self, path: str) -> bool:
        """Return whether files below *path* are known."""
        return path in self._folders

    def snapshot(self) -> dict[str, Version]:
        """Return a copy that another thread may read."""
        return self._versions.copy()


def below(folders: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Return those of *paths* that lie in one of the folders, at any depth."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    return [path for path in paths if path.startswith(prefixes)] if prefixes else []


def _ancestors(path: str) -> list[str]:
    found = []
    end = path.rfind("/")
    while end > 0:
        found.append(path[:end])
        end = path.rfind("/", 0, end)
    return found
