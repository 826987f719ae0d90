"""Several hubs of different names want one lease, and die: never two have it, and never nobody for long."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.simulation import virtual
from triggerhub.errors import StoreBroken
from triggerhub.hub.context import LEASE, SourceContext
from triggerhub.store import Lease
from triggerhub.stores.memory import MemoryStore

NODES = ("a", "b", "c")
RUNS = 1800.0


class Mortal:
    """The store as one process reaches it; nothing comes through once it is dead."""

    def __init__(self, store: MemoryStore, draw: random.Random) -> None:
        self._store = store
        self._draw = draw
        self.dead = False

    async def lease(self, *arguments: Any, **more: Any) -> Lease | None:
        await self._slowly()
        return await self._store.lease(*arguments, **more)

    async def unlease(self, *arguments: Any) -> None:
        await self._slowly()
        await self._store.unlease(*arguments)

    async def _slowly(self) -> None:
        await anyio.sleep(self._draw.random() * 0.2)
        if self.dead:
            raise StoreBroken("dead")


class Race:
    """Who has the lease, and for how long nobody had it."""

    def __init__(self, seed: int, store: MemoryStore) -> None:
        self.draw = random.Random(seed)
        self.store = store
        self.clock = virtual.Clock(1_767_225_600_000)
        self.holders: set[str] = set()
        self.together = 0
        self.taken = 0
        self.longest = 0.0
        self._since = 0.0

    async def run(self) -> None:
        with anyio.move_on_after(RUNS):
            async with anyio.create_task_group() as nodes:
                for name in NODES:
                    nodes.start_soon(self._node, name)

    async def _node(self, name: str) -> None:
        while True:
            mortal = Mortal(self.store, self.draw)
            with anyio.move_on_after(self.draw.expovariate(1 / 60)):
                try:
                    await self._want(name, mortal)
                except* StoreBroken:
                    pass
            await anyio.sleep(self.draw.random() * 5)

    async def _want(self, name: str, mortal: Mortal) -> None:
        killed = self.draw.random() < 0.5
        context: Any = SourceContext(
            find_gate=lambda: SimpleNamespace(trigger=SimpleNamespace(name="t")), node=name, store=mortal,
            clock=self.clock, project=None, timezone=None, log=None, routes=None, inlet=None, depth=None, handling=None, grace=None,
            call=None, report=None, begun=None,
        )  # type: ignore[arg-type]  # fmt: skip
        async with context.lease("only"):
            self._takes(name)
            try:
                await anyio.sleep(self.draw.expovariate(1 / 30))
            finally:
                mortal.dead = killed
                self.holders.discard(name)
                self._since = anyio.current_time()

    def _takes(self, name: str) -> None:
        self.taken += 1
        self.longest = max(self.longest, anyio.current_time() - self._since)
        self.together += bool(self.holders)
        self.holders.add(name)


def race(seed: int, store: MemoryStore) -> Race:
    made = Race(seed, store)
    virtual.run(made.run)
    return made


@pytest.mark.parametrize("seed", range(1, 21))
def test_one_at_a_time_has_a_lease_and_its_death_frees_it(seed: int) -> None:
    ran = race(seed, MemoryStore())
    assert ran.together == 0
    assert ran.taken > 20
    # The lease of a dead one runs out; then whoever waits looks once a second, if somebody waits.
    assert ran.longest < LEASE / 1000 + 15


class Generous(MemoryStore):
    """A store that lends to everybody."""

    async def lease(self, name: str, holder: str, ttl: int, *, now: int) -> Lease | None:
        return Lease(name=name, holder=holder, until=now + ttl)


def test_a_store_that_lends_to_everybody_is_found_out() -> None:
    assert race(1, Generous()).together > 0
