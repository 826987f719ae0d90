"""Watch the project's files and reload when they have come to rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import structlog
import watchfiles

from triggerhub.settings import Project

log = structlog.get_logger("reload")

REST_MS = 150
"""A burst of saves is one reload: wait until nothing changed for this long."""
LOOK_AGAIN = 2.0
"""Seconds between looks for a folder that is not there yet, or a watch that failed."""
LEFTOVERS = ("~", ".swp", ".swx", ".tmp", ".pyc")


def leftover(path: str) -> bool:
    """Whether a path is an editor's or interpreter's own: no reason to reload."""
    name = path.rsplit("/", 1)[-1]
    return "/__pycache__" in path or name.endswith(LEFTOVERS) or name.startswith(".#") or name == "4913"


async def watch_project(project: Callable[[], Project], reload: Callable[[], Awaitable[object]]) -> None:
    """Reload on every change of triggerhub.toml, the handlers and the project's own sources, until cancelled."""
    top = project().hub.project
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, lambda: [top], False, lambda path: path == str(top / "triggerhub.toml"), reload)
        tasks.start_soon(
            _watch, lambda: [project().hub.handlers, top / "sources"], True, lambda path: not leftover(path), reload
        )


async def _watch(
    folders: Callable[[], list[Path]],
    recursive: bool,
    matters: Callable[[str], bool],
    reload: Callable[[], Awaitable[object]],
) -> None:
    while True:
        present = [folder for folder in folders() if folder.is_dir()]
        if present:
            try:
                await _follow(present, recursive, matters, reload)
            except (OSError, RuntimeError) as error:
                log.warning("the project cannot be watched just now", error=str(error))
        await anyio.sleep(LOOK_AGAIN)
        if [folder for folder in folders() if folder.is_dir()] != present:
            await reload()


async def _follow(
    present: list[Path], recursive: bool, matters: Callable[[str], bool], reload: Callable[[], Awaitable[object]]
) -> None:
    async for changes in watchfiles.awatch(
        *present,
        debounce=1600,
        step=REST_MS,
        watch_filter=lambda _, path: matters(path),
        recursive=recursive,
        rust_timeout=int(LOOK_AGAIN * 1000),
        yield_on_timeout=True,
    ):
        if changes:
            await reload()
        if not all(folder.is_dir() for folder in present):
            return
