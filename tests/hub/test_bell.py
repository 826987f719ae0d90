"""A bell wakes the one who waits for it, and nobody is kept longer than he cares to wait."""

from __future__ import annotations

import asyncio

import pytest

from triggerhub.hub.bell import Bell


async def test_who_comes_while_it_rings_does_not_wait() -> None:
    bell = Bell()
    bell.set()
    await bell.wait()
    assert bell.is_set()


async def test_it_wakes_who_waits_and_rings_until_it_is_stilled() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(60))
    await asyncio.sleep(0)
    bell.set()
    bell.set()
    await waiting
    assert bell.is_set()
    bell.clear()
    assert not bell.is_set()


async def test_patience_ends_and_it_can_be_waited_for_again() -> None:
    bell = Bell()
    await bell.wait(0.001)
    assert not bell.is_set()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.set()
    await waiting


async def test_who_is_cancelled_leaves_the_bell_to_the_next() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bell.set()
    await bell.wait()
