"""Remove, while the hub runs, the code and layers that nothing refers to any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog

from triggerhub.deploy.registry import Registry

log = structlog.get_logger("deploy")

EVERY = 60.0
"""Seconds between two sweeps; what the first finds unneeded goes at the second."""


@asynccontextmanager
async def sweeping(registry: Registry, held: Callable[[], set[Path]], *, every: float = EVERY) -> AsyncGenerator[None]:
    """Sweep until left; *held* tells the folders that workers have, which stay."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_sweep, registry, held, every)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


async def _sweep(registry: Registry, held: Callable[[], set[Path]], every: float) -> None:
    while True:
        await anyio.sleep(every)
        try:
            if gone := await registry.sweep(held):
                log.info("old code was removed", folders=gone)
        except OSError as error:  # the next one may do better
            log.warning("old code could not be removed", error=str(error))
