"""The hub is ready once every source has begun, is degraded, or has had its time."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import anyio
import pytest

from tests.hub.rig import NoOptions, echoing, rig, trigger
from triggerhub.hub import sources
from triggerhub.source import Context


def source(started: anyio.Event, told: anyio.Event, *, trouble: str | None = None) -> ModuleType:
    module = ModuleType("slow")

    async def run(ctx: Context, options: object) -> None:
        started.set()
        await told.wait()
        if trouble is None:
            ctx.begun()
        else:
            ctx.degraded(trouble)
        await anyio.sleep_forever()

    module.Options, module.run = NoOptions, run  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("trouble", [None, "no route to the host"])
async def test_ready_waits_for_a_source_to_begin_or_to_say_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str | None
) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 60)
    started, told = anyio.Event(), anyio.Event()
    slow = source(started, told, trouble=trouble)
    async with rig(
        tmp_path, {"work": echoing}, triggers=[trigger(type="slow")], more={"slow": slow}, sources=False
    ) as r:
        async with anyio.create_task_group() as tasks:

            async def take() -> None:
                async with r.hub.sources():
                    await anyio.sleep_forever()

            tasks.start_soon(take)
            await started.wait()
            before = r.hub.ready
            told.set()
            await r.until(lambda: r.hub.ready, "ready")
            tasks.cancel_scope.cancel()
        assert not before
        assert not r.hub.ready


async def test_a_source_that_says_nothing_does_not_keep_the_hub_from_being_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.01)
    slow = source(anyio.Event(), anyio.Event())
    async with rig(tmp_path, {"work": echoing}, triggers=[trigger(type="slow")], more={"slow": slow}) as r:
        assert r.hub.ready
