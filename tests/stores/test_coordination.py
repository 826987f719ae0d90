"""Leases have one holder; checkpoints are what was last written."""

from __future__ import annotations

import asyncio

from tests.stores.rig import NOW, Hand, Home
from triggerhub.store import Lease


async def test_a_lease_has_one_holder_until_it_runs_out(hand: Hand) -> None:
    store = hand.store
    assert await store.lease("n", "a", 100, now=NOW) == Lease(name="n", holder="a", until=NOW + 100)
    assert await store.lease("n", "b", 100, now=NOW + 99) is None
    assert await store.lease("n", "b", 100, now=NOW + 100) == Lease(name="n", holder="b", until=NOW + 200)
    assert await store.lease("n", "a", 100, now=NOW + 150) is None


async def test_its_holder_extends_a_lease(hand: Hand) -> None:
    store = hand.store
    await store.lease("n", "a", 100, now=NOW)
    assert await store.lease("n", "a", 100, now=NOW + 50) == Lease(name="n", holder="a", until=NOW + 150)
    assert await store.lease("n", "b", 100, now=NOW + 149) is None


async def test_leases_are_named(hand: Hand) -> None:
    assert await hand.store.lease("n", "a", 100, now=NOW) is not None
    assert await hand.store.lease("m", "b", 100, now=NOW) is not None


async def test_only_its_holder_lets_go_of_a_lease(hand: Hand) -> None:
    store = hand.store
    await store.lease("n", "a", 100, now=NOW)
    await store.unlease("n", "b")
    assert await store.lease("n", "b", 100, now=NOW) is None
    await store.unlease("n", "a")
    await store.unlease("n", "a")
    assert await store.lease("n", "b", 100, now=NOW) is not None


async def test_of_many_at_once_one_gets_the_lease(hand: Hand) -> None:
    asked = await asyncio.gather(*(hand.store.lease("n", f"h{number}", 100, now=NOW) for number in range(20)))
    assert len([one for one in asked if one]) == 1


async def test_a_lease_outlives_its_hub(home: Home) -> None:
    async with home.open() as hand:
        await hand.store.lease("n", "a", 100, now=NOW)
    async with home.open() as hand:
        assert await hand.store.lease("n", "b", 100, now=NOW + 50) is None


async def test_checkpoints_are_kept_by_scope_and_found_by_prefix(hand: Hand) -> None:
    store = hand.store
    await store.set_checkpoints("s", {"a/1": "1", "a/2": "2", "b/1": "3", "a%": "4", "ä": "5", "a\0b": "6"})
    await store.set_checkpoints("r", {"a/1": "other"})
    assert await store.checkpoints("s", "a/") == {"a/1": "1", "a/2": "2"}
    assert await store.checkpoints("s", "a%") == {"a%": "4"}
    assert await store.checkpoints("s", "ä") == {"ä": "5"}
    assert await store.checkpoints("s", "a\0") == {"a\0b": "6"}
    assert await store.checkpoints("s", "A") == {}
    assert len(await store.checkpoints("s")) == 6
    assert await store.checkpoints("nobody") == {}


async def test_checkpoints_are_replaced_and_removed(hand: Hand) -> None:
    store = hand.store
    await store.set_checkpoints("s", {"a": "1", "b": "1"})
    await store.set_checkpoints("s", {"a": "2", "b": None, "never": None})
    await store.set_checkpoints("s", {})
    assert await store.checkpoints("s") == {"a": "2"}


async def test_checkpoints_outlive_their_hub(home: Home) -> None:
    async with home.open() as hand:
        await hand.store.set_checkpoints("s", {"a": "1"})
    async with home.open() as hand:
        assert await hand.store.checkpoints("s") == {"a": "1"}
