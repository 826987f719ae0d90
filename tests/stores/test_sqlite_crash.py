"""Killed at any moment, a store has lost nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.stores.rig import Hand, accounts
from triggerhub.model import State
from triggerhub.store import Query
from triggerhub.stores.sqlite import open_store

ROOT = Path(__file__).parents[2]


def run_until_killed(data: Path, *, lines: int | None, environment: dict[str, str] | None = None) -> list[list[str]]:
    """Run the worker until it has said so much, or dies by itself; return what it said."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/stores/worker.py"), str(data)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    said = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                said.append(line.split())
            if lines is not None and len(said) == lines:
                process.kill()
        assert process.wait() == -9
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    return said


class Ledger:
    """What the worker was told, over all its lives."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.succeeded: set[str] = set()

    def add(self, said: list[list[str]]) -> None:
        for verb, *names in said:
            if verb != "open":
                getattr(self, verb).update(names)

    async def compare(self, data: Path) -> None:
        async with open_store(data) as store:
            rows = {row.id: row for row in await store.page(Query(limit=1_000_000))}
            assert self.accepted <= rows.keys()
            assert self.succeeded <= {name for name, row in rows.items() if row.state is State.SUCCEEDED}
            await accounts(store)
            # Whole payloads, no stray files, and every queued one can still run.
            large = 0
            for name in rows:
                detail = await store.get(name)
                assert detail is not None
                number = detail.event.data.split()[0]
                assert detail.event.data.split() == [number] * len(detail.event.data.split())
                large += len(detail.event.data) > 65_536
            assert len(list((data / "blobs").iterdir())) == large
            hand = Hand(store, now=2**42)
            await store.reap()
            left = {name for name, row in rows.items() if row.state is not State.SUCCEEDED}
            while taken := await hand.take():
                for one in taken:
                    assert await hand.settle(one)
                    left.remove(one.delivery.id)
            assert left == set()


async def test_killed_again_and_again_it_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger()
    for _ in range(6):
        ledger.add(run_until_killed(tmp_path / "var", lines=random.randint(2, 400)))
    assert len(ledger.accepted) > 20
    await ledger.compare(tmp_path / "var")


@pytest.mark.parametrize("point", ["inside-commit", "after-commit", "inside-settle"])
async def test_killed_at_a_named_point_it_loses_nothing(tmp_path: Path, point: str) -> None:
    ledger = Ledger()
    for after in (1, 7, 40):
        crash = {"TRIGGERHUB_CRASH_AT": point, "TRIGGERHUB_CRASH_AFTER": str(after)}
        ledger.add(run_until_killed(tmp_path / "var", lines=None, environment=crash))
    assert len(ledger.accepted) > 20
    await ledger.compare(tmp_path / "var")
