"""Many callers share a read, and none of them its troubles."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio
import pytest

from triggerhub.model import Delivery, State
from triggerhub.stores.lookup import Asked, Found, Lookup


def delivery(key: str) -> Delivery:
    return Delivery(
        id=key, event_id=key, trigger="t", function="f", state=State.SUCCEEDED, attempts=1, created=0, due=0
    )


class Reader:
    """Knows every key, answers when it is let, and fails when told to."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.let = anyio.Event()
        self.failing = 0

    async def __call__(self, asked: Sequence[Asked]) -> list[Found]:
        self.reads.append([key for _, keys, _ in asked for key in keys])
        await self.let.wait()
        if self.failing:
            self.failing -= 1
            raise OSError("told to")
        return [{key: delivery(key) for key in keys} for _, keys, _ in asked]


async def test_what_arrives_while_a_read_runs_joins_the_next() -> None:
    reader = Reader()
    lookup = Lookup(reader)
    found: dict[str, Found] = {}

    async def ask(key: str) -> None:
        found[key] = await lookup.ask("t", [key], 0)

    async with anyio.create_task_group() as tasks:
        for key in "abcd":
            tasks.start_soon(ask, key)
            await anyio.wait_all_tasks_blocked()
        reader.let.set()
    assert reader.reads == [["a"], ["b", "c", "d"]]
    assert {key: list(one) for key, one in found.items()} == {key: [key] for key in "abcd"}


@pytest.mark.parametrize("trouble", ["failed", "cancelled"])
async def test_a_reader_that_gets_nowhere_leaves_the_others_to_read_themselves(trouble: str) -> None:
    reader = Reader()
    lookup = Lookup(reader)
    found: dict[str, Found] = {}
    scopes: dict[str, anyio.CancelScope] = {}

    async def ask(key: str) -> None:
        with anyio.CancelScope() as scopes[key]:
            with suppress(OSError):
                found[key] = await lookup.ask("t", [key], 0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "first")
        await anyio.wait_all_tasks_blocked()
        for key in "abc":
            tasks.start_soon(ask, key)
        await anyio.wait_all_tasks_blocked()
        scopes["b"].cancel()  # waits for its turn
        if trouble == "failed":
            reader.failing = 1
        else:
            scopes["first"].cancel()
            await anyio.wait_all_tasks_blocked()
        reader.let.set()
    assert set(found) == {"a", "c"}
    assert reader.reads == [["first"], ["a", "c"]]


async def test_a_lone_caller_reads_at_once() -> None:
    reader = Reader()
    reader.let.set()
    lookup = Lookup(reader)
    assert list(await lookup.ask("t", ["a", "b"], 0)) == ["a", "b"]
    assert reader.reads == [["a", "b"]]
