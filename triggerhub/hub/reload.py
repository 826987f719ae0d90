"""Watch the project's files and reload when they have come to rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
import watchfiles

from triggerhub.policy.leftovers import passing
from triggerhub.policy.unseen import spelt
from triggerhub.settings import Project

log = structlog.get_logger("reload")

REST_MS = 150
"""A burst of saves is one reload: wait until nothing changed for this long."""
LOOK = 0.5
"""Seconds between looks for a folder that is not there yet, or no more."""
LOOK_AGAIN = 2.0
"""Seconds before a watch that failed is tried again."""
QUIET = 3600.0
"""Seconds for which the same trouble is not told again."""
MOST = 1000
"""Troubles that are remembered."""
COARSE = 20_000_000
"""Nanoseconds by which the kernel's stamp on a file may lag behind the clock."""


def matters(path: str) -> bool:
    """Whether a path is a reason to reload: neither an editor's own nor the interpreter's."""
    return "/__pycache__" not in path and not passing(path.rsplit("/", 1)[-1])


async def watch_project(
    project: Callable[[], Project], reload: Callable[[], Awaitable[object]], *, read: int | None = None
) -> None:
    """Reload on every change of triggerhub.toml, the handlers and the project's own sources, until cancelled.

    *read* is when the project was read, in nanoseconds since the epoch: what was saved since then is not missed.
    """
    top, now = project().hub.project, time.time_ns() if read is None else read
    toml = str(top / "triggerhub.toml")
    watches = (
        _Watch(lambda: [top], lambda path: path == toml, reload, now, recursive=False),
        _Watch(lambda: [project().hub.handlers, top / "sources"], matters, reload, now),
    )
    async with anyio.create_task_group() as tasks:
        for watch in watches:
            tasks.start_soon(watch.run)


class _Watch:
    """Follows folders that come and go."""

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        matters: Callable[[str], bool],
        reload: Callable[[], Awaitable[object]],
        read: int,
        *,
        recursive: bool = True,
    ) -> None:
        self._folders = folders
        self._matters = matters
        self._reload = reload
        self._read = read
        self._recursive = recursive
        self._told: dict[str, float] = {}

    async def run(self) -> None:
        present: list[Path] | None = None
        while True:
            found = self._present()
            if present is not None and found != present:
                await self._again()
            present = found
            try:
                if present:
                    await self._follow(present)
                else:
                    await anyio.sleep(LOOK)
            except* (OSError, RuntimeError) as failed:
                # A name that is not UTF-8 ends a watch, for one. The next begins with a look at what was touched.
                await anyio.to_thread.run_sync(self._tell, _first(failed), present or [])
                await anyio.sleep(LOOK_AGAIN)

    async def _follow(self, present: list[Path]) -> None:
        """Reload on every change, until other folders are there."""
        began = False
        async for changes in watchfiles.awatch(
            *present,
            debounce=1600,
            step=REST_MS,
            watch_filter=lambda _, path: self._matters(path),
            recursive=self._recursive,
            rust_timeout=int(LOOK * 1000),
            yield_on_timeout=True,
        ):
            if changes or (not began and await anyio.to_thread.run_sync(self._touched, present)):
                await self._again()
            began = True
            if self._present() != present:
                return

    async def _again(self) -> None:
        self._read = time.time_ns()
        await self._reload()

    def _tell(self, why: str, folders: Iterable[Path]) -> None:
        """Say why a watch ended: of each name that it is for once, of anything else once in a while."""
        now = time.monotonic()
        names = [str(path) for path in self._all(folders) if not _encodable(str(path))]
        new = [name for name in names if name not in self._told]
        if new and len(self._told) < MOST:
            more = {"more": len(new) - 1} if len(new) > 1 else {}
            hint = "rename it; until then all of the folder is looked at whenever it changes"
            log.warning("a name that is not UTF-8 cannot be watched", path=spelt(new[0]), hint=hint, **more)
        elif not names and now - self._told.get(why, float("-inf")) >= QUIET:
            log.warning("the project cannot be watched just now", error=why)
        else:
            return
        self._told |= dict.fromkeys(names or [why], now)

    def _present(self) -> list[Path]:
        return [folder for folder in self._folders() if folder.is_dir()]

    def _touched(self, folders: Iterable[Path]) -> bool:
        """Whether something was saved before the watch began and after the project was read."""
        return any(
            self._matters(str(path)) and self._young(path) and not self._young(path / "__pycache__")
            for path in self._all(folders)
        )

    def _all(self, folders: Iterable[Path]) -> Iterator[Path]:
        for folder in folders:
            yield folder
            yield from folder.rglob("*") if self._recursive else folder.glob("*")

    def _young(self, path: Path) -> bool:
        """Whether a path changed after the project was read; a folder also does by what the interpreter puts there."""
        with contextlib.suppress(OSError):
            return path.lstat().st_ctime_ns >= self._read - COARSE
        return False


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first(group: BaseExceptionGroup[Exception]) -> str:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return str(found)
