"""The short form of ``make simulate``: two hundred light days in every run of the suite, and what must be found out."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import anyio
import pytest

from tests.simulation import virtual
from tests.simulation.day import Trouble, Worker, simulate
from tests.simulation.seeds import days
from triggerhub.hub.dispatchers import Dispatchers
from triggerhub.hub.pool import Pool
from triggerhub.model import Invocation, Millis, Outcome, Returned, State
from triggerhub.store import Fence, Settlement
from triggerhub.stores.memory import MemoryStore


@pytest.mark.timeout(1200)
def test_two_hundred_days_break_no_promise() -> None:
    results = [one for some in days(1, 200, min(2, os.cpu_count() or 1), busy=False) for one in some]
    broken = {one.seed: one.problems for one in results if one.problems}
    assert broken == {}, "make simulate SEED=… tells of one"
    assert sum(one.deaths for one in results) > 200, "hubs died"
    assert sum(one.calls for one in results) > 5000, "handlers ran"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["clock", "reload", "storm", "late"])
def test_twelve_days_of_more_trouble_break_no_promise(trouble: Trouble) -> None:
    results = [simulate(seed, busy=False, trouble=trouble) for seed in range(1, 13)]
    assert {one.seed: one.problems for one in results if one.problems} == {}
    assert sum(one.deaths for one in results) >= 12, "hubs died"
    assert sum(one.calls for one in results) > 300, "handlers ran"


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_comes_to_the_same_end_every_time(seed: int) -> None:
    first, again = simulate(seed), simulate(seed)
    assert first == again
    assert first.deliveries > 100
    assert simulate(seed + 1).digest != first.digest


class Unfenced(MemoryStore):
    """A store that lets anybody settle what runs."""

    def _settle(self, settlement: Settlement, now: Millis) -> bool:
        row = self.rows.get(settlement.delivery)
        if row is None or row.delivery.state is not State.RUNNING:
            return False
        fence = Fence(row.owner, row.delivery.claims)
        held = Settlement(
            delivery=settlement.delivery, fence=fence, decision=settlement.decision, attempt=settlement.attempt,
            answer=settlement.answer, then=settlement.then,
        )  # fmt: skip
        return super()._settle(held, now)


class Hasty(Worker):
    """A worker whose answer comes before its handler did anything."""

    async def run(self, invocation: Invocation, claims: list[tuple[str, int]]) -> Outcome:
        task = asyncio.get_running_loop().create_task(self._afterwards(claims))
        self.life.wire.late.add(task)
        return Returned(payload=b"null")

    async def _afterwards(self, claims: list[tuple[str, int]]) -> None:
        await asyncio.sleep(0.05)
        if not self.life.wire.dead:
            self.life.world.returns(claims)


class Forgetful(MemoryStore):
    """A store that gives nothing back when its hub has died."""

    async def reap(self) -> list[str]:
        return []


class Crowded(MemoryStore):
    """A store that lets all go at once that have an ordering key."""

    def _order(self, row: object) -> None:
        pass


def found(finding: str, **how: Any) -> bool:
    """Whether one of thirty days finds it: each does that has the occasion, which is one in two or three."""
    return any(finding in one for seed in range(1, 31) for one in simulate(seed, busy=False, **how).problems)


@pytest.mark.parametrize(
    ("weaker", "finding", "trouble"),
    [
        pytest.param({"store": Unfenced}, "was settled for", "late", id="leases unfenced"),
        pytest.param({"worker": Hasty}, "and did not run", "", id="settled before the handler ran"),
        pytest.param({"store": Forgetful}, "nobody runs it", "", id="nothing given back"),
        pytest.param({"store": Crowded}, "two run in the line", "", id="no order"),
    ],
)
def test_a_weaker_hub_is_found_out(weaker: dict[str, type], finding: str, trouble: Trouble) -> None:
    assert found(finding, trouble=trouble, **weaker)


@pytest.mark.parametrize(
    ("whole", "part", "instead", "finding"),
    [
        pytest.param(Dispatchers, "rouse", lambda self, lane: None, "is stuck", id="nobody wakes a dispatcher"),
        pytest.param(Pool, "_prepare", lambda self, bench, **how: None, "are to be warm", id="nothing is kept warm"),
    ],
)
def test_a_hub_without_a_part_is_found_out(
    whole: type, part: str, instead: Any, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, part, instead)
    assert found(finding)


def test_time_leaps_to_what_comes_next() -> None:
    async def sleepy() -> list[float]:
        moments = []
        for seconds in (0.5, 3600, 86_400):
            await anyio.sleep(seconds)
            moments.append(anyio.current_time())
        return moments

    assert virtual.run(sleepy) == pytest.approx([0.5, 3600.5, 90_000.5], abs=1e-3)


def test_what_waits_for_ever_is_told() -> None:
    async def waits() -> None:
        await anyio.Event().wait()

    with pytest.raises(virtual.Stuck):
        virtual.run(waits)
