"""Look at the files of a folder, at the disk itself.

Everything here blocks and belongs in a thread. Symbolic links inside the folder are never followed,
neither to files nor to folders: what is told of a folder lies in it. What follows from a look is
decided in ``policy``.
"""

# Names are taken as the kernel gives them, and by the 100,000: os.path.
# ruff: noqa: PTH116, PTH118, PTH120, PTH123
from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from triggerhub.aws import s3
from triggerhub.policy import globs
from triggerhub.policy.inventory import Version
from triggerhub.policy.mounts import LOCAL, file_system, is_mount
from triggerhub.policy.settling import Clocks, Look
from triggerhub.settings import MB

HASHED = 8 * MB
"""Files up to this size get the MD5 of their content as tag, as S3 does; larger ones are not read."""

CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE}
"""What is answered where there is no file any more, but nothing, a link or a socket."""


@dataclass(slots=True)
class Seen:
    """What a look or a walk found."""

    looks: list[Look] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Paths that are no folders (any more)."""
    unknown: list[str] = field(default_factory=list)
    """Paths that could not be looked at, and folders that could not be listed: nothing follows from them."""


class Folder:
    """A folder and what of it is selected. Never looks into a hub's data folder: it changes with every event."""

    def __init__(self, root: str, selection: globs.Selection, settle: float, place: str | None = None) -> None:
        """*place* is where *root* must be, without links; None: wherever it is."""
        self.root = root
        self._place = place
        self._selection = selection
        self._clocks = Clocks(settle)
        self._identity: tuple[int, int] | None = None
        self._local = False
        self.mounted = False
        """Whether a volume is mounted at the folder; without one an empty folder is then not what is watched."""
        self.closed = False
        """Set by another thread: whatever is under way ends as soon as it can."""

    def open(self) -> None:
        """Take the folder as it now is; OSError says why it cannot be watched."""
        real = os.path.realpath(self.root, strict=True)
        if self._place not in (None, real):
            why = "a link leads elsewhere than when the configuration was read, or lies in what a function may write"
            raise OSError(errno.ELOOP, f"{why}; take it away, or reload")
        found = os.stat(real)
        with os.scandir(real) as entries:
            empty = next(entries, None) is None
        above = real
        while not _is_hub(above) and above != "/":
            above = os.path.dirname(above)
        if above != "/":
            raise OSError(errno.ELOOP, f"it lies in a hub's data folder, {above}")
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
        mounted = is_mount(mounts, real)
        if self.mounted and not mounted and empty:
            raise OSError(errno.ENODEV, "the volume that was mounted there is not")
        self._identity = found.st_dev, found.st_ino
        self._local = file_system(mounts, real) in LOCAL
        self.mounted = mounted

    def same(self) -> bool:
        """Return whether the path still leads to the folder that was opened."""
        try:
            found = os.stat(self.root)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) == self._identity

    def look(self, paths: Iterable[str]) -> Seen | None:
        """Look at these paths; None when the folder itself is no longer there."""
        self._clocks.read(time.monotonic(), time.time())
        seen, real = Seen(), {"": True}
        for path in paths:
            try:
                found = os.lstat(self._at(path)) if self._inside(os.path.dirname(path), real) else None
            except (FileNotFoundError, NotADirectoryError):
                found = None
            except OSError:
                seen.unknown.append(path)
                continue
            if found is not None and stat.S_ISDIR(found.st_mode):
                if self._selection.enters(path):
                    seen.folders.append(path)
            else:
                seen.gone.append(path)
            if self._selection.takes(path):
                seen.looks.append(self._looked(path, found))
        return seen if self.same() else None

    def walk(
        self, folders: Iterable[str], saw: Callable[[str, Version], None], skip: Container[str] = ()
    ) -> Seen | None:
        """List these folders and those in them, but not the ones in *skip*; None as for :meth:`look`.

        *saw* is called for every selected file, once.
        """
        seen, visited, stack = Seen(), set[str](), list(folders)
        while stack and not self.closed:
            folder = stack.pop()
            if folder in visited or folder in skip:
                continue
            visited.add(folder)
            try:
                self._list(folder, saw, stack)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                seen.unknown.append(folder)
        seen.folders.extend(visited)
        return seen if self.same() and "" not in seen.unknown else None

    def tag(self, path: str, version: Version | None = None) -> tuple[Version, str] | None:
        """Return a file's version and tag; None unless it is (and while it was read, stayed) of *version*.

        The tag is the MD5 of the content, as S3's is, unless the file is large or may not be read. OSError says why it
        cannot be read, as on a disk that fails.
        """
        try:
            before = _version(os.lstat(self._at(path)))
            if before is None or (version is not None and not before.same(version)):
                return None
            if before.size > HASHED:
                return before, s3.multipart_etag(before.encode(), before.size)
            try:
                # Non-blocking, no link: what was a file a moment ago may be a pipe by now.
                descriptor = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except PermissionError:
                return before, s3.multipart_etag(before.encode(), before.size)
            with open(descriptor, "rb", buffering=0) as file:
                digest = hashlib.md5(usedforsecurity=False)
                while part := file.read(MB):
                    digest.update(part)
                after = _version(os.fstat(descriptor))
        except OSError as error:
            if error.errno not in CHANGED:
                raise
            return None
        return (before, digest.hexdigest()) if before.same(after) else None

    def _list(self, folder: str, saw: Callable[[str, Version], None], stack: list[str]) -> None:
        if folder and _is_hub(self._at(folder)):
            return
        with os.scandir(self._at(folder)) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if self._selection.enters(path):
                        stack.append(path)
                elif self._selection.takes(path):
                    try:
                        version = _version(entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
                    if version is not None:
                        saw(path, version)

    def _looked(self, path: str, found: os.stat_result | None) -> Look:
        version = found and _version(found)
        # A mount inside the folder may be of another kind.
        ours = found is not None and self._local and self._identity and found.st_dev == self._identity[0]
        changed = self._clocks.steady(version.mtime_ns) if version and ours else None
        return Look(path=path, version=version, at=time.monotonic(), changed=changed)

    def _inside(self, folder: str, real: dict[str, bool]) -> bool:
        if folder not in real:
            at = self._at(folder)
            above = self._inside(os.path.dirname(folder), real)
            real[folder] = above and stat.S_ISDIR(os.lstat(at).st_mode) and not _is_hub(at)
        return real[folder]

    def _at(self, path: str) -> str:
        return os.path.join(self.root, path)


def _is_hub(folder: str) -> bool:
    return all(os.path.lexists(os.path.join(folder, name)) for name in ("hub.lock", "hub.db"))


def _version(found: os.stat_result) -> Version | None:
    if not stat.S_ISREG(found.st_mode):
        return None
    return Version(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
