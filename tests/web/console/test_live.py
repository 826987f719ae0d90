"""The numbers that open pages share."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import anyio

from triggerhub.model import Json
from triggerhub.policy.grouping import Group
from triggerhub.store import Stats
from triggerhub.web.console.live import Readings


class _SlowHub:
    """Counts its dead letters once it is let."""

    def __init__(self) -> None:
        self.asked, self.go_on, self.deliveries = 0, anyio.Event(), self

    project = SimpleNamespace(functions={})

    async def stats(self) -> Stats:
        return Stats(accepted=0, discarded=0, pruned=0)

    async def graves(self) -> list[Group]:
        self.asked += 1
        await self.go_on.wait()
        return []


class _Still(Readings):
    async def now(self) -> Mapping[str, Json]:
        return {"mark": "1"}


async def test_pages_that_ask_while_dead_letters_are_counted_share_that_count() -> None:
    hub = _SlowHub()
    readings = _Still(hub)  # type: ignore[arg-type]
    done = []

    async def look() -> None:
        done.append(await readings.graves())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            assert (hub.asked, done) == (1, [])
            hub.go_on.set()
    assert (hub.asked, len(done)) == (1, 5)
