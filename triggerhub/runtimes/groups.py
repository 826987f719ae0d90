"""Hold a worker's whole tree to its memory, its share of the processor and its number of processes, by control groups.

Version 1 where its controllers are mounted, as root; version 2 where this process's own group is given to its
user, as systemd does with ``Delegate=yes``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from triggerhub.policy.sandbox import shares
from triggerhub.policy.sandbox.shares import Limit

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("memory", "pids", "cpu")
_NAME = "triggerhub"
_PATIENCE = 0.2
"""Seconds that a group may stay busy after its last process."""


class NoGroups(Exception):
    """This host has no control groups for us; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The groups of one worker."""

    folders: tuple[Path, ...]
    """That which counts memory is the first."""
    unified: bool
    tmp: int = 0
    """Bytes that files in memory may have."""

    def killed(self) -> bool:
        """Whether the kernel ended a process of it for its memory."""
        name = "memory.events" if self.unified else "memory.oom_control"
        for folder in self.folders:
            for line in _text(folder / name).splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1]) > 0
        return False

    def used(self, pid: int) -> int:
        """Return the bytes of memory that the processes hold, *pid* one of them; what is in ``/tmp`` is none."""
        try:
            there = os.statvfs(f"/proc/{pid}/root/tmp")
            files = (there.f_blocks - there.f_bfree) * there.f_frsize
        except OSError:
            # Another user's process does not show it: then whatever is shared may lie there.
            files = self.tmp
        return shares.used(_text(self.folders[0] / "memory.stat"), files)

    def remove(self) -> None:
        """Remove them, once nothing is left in them."""
        for folder in self.folders:
            until = time.monotonic() + _PATIENCE
            while folder.is_dir():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.001)


class Groups:
    """Makes groups below those that this process is in."""

    def __init__(self, parents: tuple[Path, ...], *, unified: bool) -> None:
        self._parents = parents
        self._unified = unified

    @classmethod
    def find(cls, uid: int | None = None) -> Groups:
        """Find where groups can be made, and clear what a hub that was killed left there. Raises NoGroups.

        *uid* is whose they are, by default this process's own.
        """
        places = _places()
        if above := _separate(places):
            owner = os.geteuid() if uid is None else uid
            made = cls(tuple(parent / _folder(owner) for parent in above), unified=False)
            try:
                made._open()
            except OSError as error:
                raise NoGroups(f"{error.filename} cannot be made: {error.strerror}") from None
            for folder in made._parents:
                if not os.access(folder, os.W_OK):
                    raise NoGroups(f"{folder} is not this user's")
        elif places.unified is not None:
            made = cls((_delegated(Path(places.unified)),), unified=True)
        else:
            raise NoGroups("no control groups for memory are mounted")
        made._clear()
        return made

    def _open(self) -> None:
        """Make the folders of version 1 that those of the workers are in. Raises OSError."""
        for folder in () if self._unified else self._parents:
            folder.mkdir(exist_ok=True)
            # All workers together weigh as one busy process of each core; otherwise as a single one of the host.
            with contextlib.suppress(OSError):
                if (folder / "cpu.shares").exists():
                    (folder / "cpu.shares").write_text(str(1024 * (os.cpu_count() or 1)))

    def make(self, limit: Limit) -> Group:
        """Make the groups of a worker. Raises OSError."""
        name = f"worker-{os.getpid()}-{secrets.token_hex(6)}"
        folders = tuple(parent / name for parent in self._parents)
        group = Group(folders=folders, unified=self._unified, tmp=limit.tmp)
        try:
            for folder in group.folders:
                try:
                    folder.mkdir()
                except FileNotFoundError:
                    self._open()  # it went with an earlier launcher
                    folder.mkdir()
                for file, value, needed in shares.settings(limit, unified=self._unified):
                    if (folder / file).exists():
                        with contextlib.nullcontext() if needed else contextlib.suppress(OSError):
                            (folder / file).write_text(value)
        except BaseException:
            group.remove()
            raise
        return group

    def give(self, uid: int, gid: int) -> tuple[Path, ...]:
        """Let, as root, another user make groups here; return below which folders. Raises OSError.

        It gets folders and none of the files in them: whom it puts there is not its to say, but the launcher's.
        """
        for parent in self._parents:
            os.chown(parent, uid, gid)
        return self._parents

    def _clear(self) -> None:
        """Remove what processes that are gone left here, and what hubs that are gone left beside it."""
        for parent in self._parents:
            for folder in parent.glob("worker-*"):
                if not _alive(folder.name.split("-")[1]):
                    _remove(folder)
        for other in self.beside():
            if not _alive(other.name.rpartition("-")[2]):
                for folder in other.glob("worker-*"):
                    _remove(folder)
                _remove(other)

    def beside(self) -> list[Path]:
        """Return the folders of all hubs of version 1, this one's own included."""
        above = () if self._unified else [parent.parent for parent in self._parents]
        return [folder for place in above for folder in place.glob(f"{_NAME}-*-*")]


def own() -> list[Path]:
    """Return the folders of version 1 that this process made and that are there."""
    return [folder for above in _separate(_places()) for folder in above.glob(f"{_NAME}-*-{os.getpid()}")]


def leave() -> None:
    """Remove them where nothing is in them any more.

    What another user owns, or root alone may remove, stays: that is for who keeps root.
    """
    for folder in own():
        _remove(folder)


def _places() -> shares.Places:
    return shares.places(_text(Path("/proc/self/cgroup")), _text(Path("/proc/self/mountinfo")))


def _separate(places: shares.Places) -> tuple[Path, ...]:
    """Return where this process is in groups of version 1, each place once; nothing where one controller lacks."""
    if not all(name in places.separate for name in _CONTROLLERS):
        return ()
    return tuple(dict.fromkeys(Path(places.separate[name]) for name in _CONTROLLERS))


def _folder(uid: int) -> str:
    """Return the name of the folder of a hub: of its own, so that it can go with it."""
    return f"{_NAME}-{uid}-{os.getpid()}"


def _alive(pid: str) -> bool:
    return Path("/proc", pid).exists()


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _delegated(own: Path) -> Path:
    """Return the folder of ours within our own group of version 2. Raises NoGroups.

    A group with groups below it that limit memory must not have processes itself: this process moves down.
    """
    there = set(_text(own / "cgroup.controllers").split())
    if not there >= set(_CONTROLLERS):
        raise NoGroups(f"{own} is given no control over {', '.join(sorted(set(_CONTROLLERS) - there))}")
    if own == _ROOT:
        raise NoGroups("this process is in the root of all control groups")
    try:
        home, workers = own / "hub", own / "workers"
        if own.name == "hub" and (own.parent / "workers").is_dir():
            return own.parent / "workers"
        home.mkdir(exist_ok=True)
        (home / "cgroup.procs").write_text(str(os.getpid()))
        (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        workers.mkdir(exist_ok=True)
        (workers / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
    except OSError as error:
        raise NoGroups(f"{own} is not this user's to divide: {error.strerror}") from None
    return workers


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
