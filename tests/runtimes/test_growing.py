"""The launcher has what handlers import most once they are called, and not before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from triggerhub.model import Returned
from triggerhub.runtimes import memory
from triggerhub.runtimes.launch import Launcher

from .conftest import Bench

LOADED = """
    import sys
    loaded = set(sys.modules)
    def handler(event, context):
        return sorted(loaded & {"asyncio", "http.client", "json", "launcher"})
"""


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose launcher is nobody else's."""
    (tmp_path / "code").mkdir()
    launcher = Launcher()
    async with launcher.held(start=True):
        yield Bench(tmp_path, launcher)


async def loaded(bench: Bench) -> list[str]:
    outcome = await bench.call(bench.python(LOADED))
    assert isinstance(outcome, Returned), outcome
    found: list[str] = json.loads(outcome.payload)
    return found


async def grown(bench: Bench) -> None:
    with anyio.fail_after(60):
        while await loaded(bench) != ["asyncio", "http.client", "json"]:
            await anyio.sleep(0.1)


async def test_it_grows_once_a_function_is_called(alone: Bench) -> None:
    await alone.runtime().levels.findings()
    assert alone.launcher.pid is not None
    small = memory.held([alone.launcher.pid])
    assert await loaded(alone) == ["json"], "a look at the host is no call"
    await grown(alone)
    assert memory.held([alone.launcher.pid]) > small


async def test_another_one_grows_by_itself(alone: Bench) -> None:
    await loaded(alone)
    alone.launcher.close()
    alone.launcher.open()
    await grown(alone)
