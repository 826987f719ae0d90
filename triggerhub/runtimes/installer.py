"""Run a package installer, in a sandbox or as a plain process, and end it where it takes too much.

What packages bring to be installed with runs here: any program, by whomever.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from triggerhub.aws import errors
from triggerhub.errors import ConfigError
from triggerhub.policy.masking import shortened
from triggerhub.runtimes.child import Child, Spawn
from triggerhub.runtimes.watch import Watch
from triggerhub.settings import GB, MB

LIMIT = 1800.0
"""Seconds that one build may take."""
MEMORY = 2 * GB
"""Bytes that one in a sandbox may hold, or as many as its function may."""
DISK, FILES = 8 * GB, 1_000_000
"""Bytes and files that one in a sandbox may write, and never more than half of what is free."""
_LOOK = 0.2
"""Seconds between two looks at how much of the disk is left and what the installer says."""
_TAIL = 8192
_TOLD = 600
"""How many characters of an installer's last words are shown."""
_OPEN = 'umask 0; exec "$@"'
"""What a build makes is the hub's to read and to remove, also where its uid is another."""
_NOISE = (
    "WARNING: Location ", "WARNING: Running pip as ", "WARNING: You are using pip ", "WARNING: The directory ",
    "npm warn", "npm http", "npm verbose",
)  # fmt: skip
"""Lines that say nothing of why a build failed."""
_PATHS = ("No such file", "does not exist", "not found at", "Permission denied", "ENOENT", "EACCES")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of an installer."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    said: Path
    """Where its words go: a file of the hub's own."""
    memory: int = MEMORY

    @property
    def tool(self) -> str:
        name = Path(self.command[0]).name
        return name if name in ("uv", "npm") else "pip"


async def run(job: Job, spawn: Spawn | None, tell: Callable[[str], None] = lambda line: None) -> None:
    """Run it to its end; *spawn* starts it in a sandbox, None as a plain process of the hub's user.

    *tell* is called with the installer's latest line. Raises ConfigError with its last words, and for what it
    took too much of. Cancelled: it is killed with all it started.
    """
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    why: list[str] = []
    with job.said.open("wb", buffering=0) as output, Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230 - local
        child = (spawn or Child)(
            job.command if spawn is None else ["/bin/sh", "-c", _OPEN, "sh", *job.command],
            cwd=job.cwd,
            env=job.env,
            stdin=nothing.fileno(),
            stdout=output,
            stderr=output,
            exited=lambda status: None if gone.done() else gone.set_result(status),
        )
    child.thorough = True

    def end(reason: str) -> None:
        why.append(reason)
        child.kill()

    late = f"was still busy after {LIMIT:.0f} seconds"
    over = f"held more than {job.memory // MB} MB of memory, the most that a build may"
    watch = Watch(job.memory, late=lambda: end(late), over=lambda: end(over))
    volume = _Volume(job.said.parent) if spawn else None
    try:
        with anyio.move_on_after(LIMIT):
            pid = await child.started()
            if spawn and not gone.done():
                watch.begin(pid, LIMIT)
            while not gone.done():
                await asyncio.wait({gone}, timeout=_LOOK)
                if volume and not why and (reason := volume.exceeded()):
                    end(reason)
                if words := _words(job.said):
                    tell(shortened(words.splitlines()[-1], _TOLD))
        if not gone.done():
            end(late)
            await gone
    finally:
        watch.close()
        if not gone.done():
            child.kill()
            with anyio.CancelScope(shield=True):
                await gone
    if not why and child.fault is not None and child.fault.type == errors.OUT_OF_MEMORY:
        why.append(over)
    if why:
        raise ConfigError(f"{job.tool} {why[0]}", hint="bring the packages along in the function's folder instead")
    if child.fault is not None:
        raise ConfigError(f"{job.tool} could not run: {child.fault.message}")
    if status := gone.result():
        words = _words(job.said)
        raise ConfigError(
            f"{job.tool} failed with status {status}: {words if len(words) <= _TOLD else f'…{words[-_TOLD:]}'}",
            hint=_hint(words) if spawn else None,
        )


class _Volume:
    """Watches how much of a file system is left: what a build wrote and removed again takes room, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes, self._files = _free(folder)

    def exceeded(self) -> str | None:
        """Say what was taken too much of since; None where it was not."""
        room, files = _free(self._folder)
        most, many = min(DISK, self._bytes // 2), min(FILES, self._files // 2)
        if self._bytes - room > most:
            return f"filled more than {most // MB} MB of the disk, the most that a build may here"
        if self._files - files > many:
            return f"made more than {many} files, the most that a build may here"
        return None


def _free(folder: Path) -> tuple[int, int]:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_favail


def _words(said: Path) -> str:
    """Return the last of what an installer said that is for people, as a terminal may be shown it."""
    with said.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
        text = file.read(_TAIL).decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith(_NOISE)]
    return "\n".join("".join(one if one.isprintable() else "�" for one in line) for line in lines)


def _hint(words: str) -> str | None:
    if "403" in words and "roxy" in words:
        return (
            "a build reaches port 443 of public names, the registries of the hub's user and what its function's table "
            'lists: sandbox = { network = ["HOST:PORT"] }; its log (triggerhub logs) says what was refused'
        )
    if any(one in words for one in _PATHS):
        return (
            "a build sees the function's own folder, and of the host what the registries' settings name and "
            "sandbox = { read = [...] } shows"
        )
    return None
