"""Deliveries are found by the text of their error and by their keys; the dead are counted by cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.rig import NOW, Hand, attempt
from triggerhub.model import Bury, Complete, Fault, Retry, State
from triggerhub.stores.sqlite import open_store


async def fail(hand: Hand, message: str, *, function: str = "f", retry: bool = False) -> str:
    one = await hand.put(function)
    (claimed,) = await hand.take(1)
    decision = Retry(NOW + 100) if retry else Bury("no")
    await hand.settle(claimed, decision, attempt=attempt(error=Fault(type="E", message=message)))
    return one


async def test_errors_are_found_by_a_part_of_their_text(hand: Hand) -> None:
    first = await fail(hand, "order 1 Timed out")
    await fail(hand, "no such order")
    waiting = await fail(hand, "order 2 timed out", retry=True)
    fine = await hand.put("f")
    (claimed,) = await hand.take(1)
    await hand.settle(claimed, Complete(), attempt=attempt())
    assert await hand.listed(error="TIMED out") == [waiting, first]
    assert await hand.listed(error="e: order 1") == [first]
    assert await hand.listed(error="timed out", state=State.DEAD) == [first]
    assert await hand.listed(error="timed out", before=waiting) == [first]
    assert await hand.listed(error="timed out", limit=1) == [waiting]
    assert await hand.listed(error="timed", function="g") == []
    assert fine not in await hand.listed(error="e")
    assert await hand.listed(error="timed", typed=True) == []
    assert len(await hand.listed(error="e", typed=True)) == 3
    assert await hand.listed(error="", state=State.QUEUED, later=NOW) == [waiting]
    assert await hand.listed(error="", state=State.QUEUED, later=NOW + 100) == []


async def test_deliveries_are_found_by_their_keys(hand: Hand) -> None:
    one = await hand.put("f", key="k1", keep=100)
    other = await hand.put("f", order="o1")
    await hand.put("f", key="k10", keep=100)
    assert await hand.listed(key="k1") == [one]
    assert await hand.listed(key="o1") == [other]
    assert await hand.listed(key="k1", state=State.DEAD) == []
    assert await hand.listed(key="k") == []


async def test_the_dead_are_counted_by_cause(hand: Hand) -> None:
    await fail(hand, "order 1 timed out")
    newest = await fail(hand, "order 2 timed out")
    await fail(hand, "other")
    groups = {one.fingerprint: one for one in await hand.store.graves()}
    assert {mark: one.count for mark, one in groups.items()} == {"E: order # timed out": 2, "E: other": 1}
    assert (groups["E: order # timed out"].newest, groups["E: other"].function) == (newest, "f")
    await hand.store.redrive([newest], now=NOW)
    assert sum(one.count for one in await hand.store.graves()) == 2


async def test_of_very_many_dead_the_newest_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        old, new = await fail(hand, "boom"), await fail(hand, "boom")
        monkeypatch.setattr("triggerhub.stores.searching.LOOKED_AT", 1)
        assert await hand.listed(error="boom") == [new]
        monkeypatch.undo()
        assert await hand.listed(error="boom") == [new, old]
