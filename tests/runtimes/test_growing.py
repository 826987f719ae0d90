"""The launcher has what handlers import most once they are called, and not before."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from triggerhub.model import Returned
from triggerhub.runtimes import memory
from triggerhub.runtimes.launch import Launcher
from triggerhub.settings import MB

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


def resident(launcher: Launcher) -> int:
    """Return the bytes of the launcher's own memory, whoever shares it."""
    assert launcher.pid is not None
    return memory.resident([launcher.pid])[0]


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
    small = resident(alone.launcher)
    assert await loaded(alone) == ["json"], "a look at the host is no call"
    await grown(alone)
    assert resident(alone.launcher) > small + MB


async def test_another_one_grows_by_itself(alone: Bench) -> None:
    await loaded(alone)
    alone.launcher.close()
    alone.launcher.open()
    await grown(alone)


OWN = """
    import importlib
    def owns(name):
        try:
            return hasattr(importlib.import_module(name), "OWN")
        except AttributeError:
            return False  # one that is built in, and misses what it needs of one that is not its own
    def handler(event, context):
        return [name for name in event if owns(name)]
"""
NAMES = sorted(sys.stdlib_module_names - {"__main__"})


@pytest.mark.parametrize("reuse", ["fresh", "fork"])
async def test_which_module_is_found_does_not_depend_on_it(alone: Bench, reuse: str) -> None:
    for name in NAMES:
        alone.file(f"{name}.py", "OWN = True")
    function = alone.python(OWN, reuse=reuse)
    outcome = await alone.call(function, NAMES)
    assert isinstance(outcome, Returned), outcome
    found = set(json.loads(outcome.payload))
    assert found >= {"queue", "zoneinfo", "random", "logging", "asyncio", "secrets"}
    assert not found & {"json", "os", "sys", "threading", "types"}
    await _grow(alone)
    again = await alone.call(function, NAMES)
    assert isinstance(again, Returned), again
    assert set(json.loads(again.payload)) == found


async def test_what_makes_forks_slow_is_imported_for_those_who_use_it(alone: Bench) -> None:
    function = alone.python(
        "import sys\ndef handler(event, context): return 'threading' in sys.modules\n", reuse="fork"
    )
    outcome = await alone.call(function)
    assert isinstance(outcome, Returned), outcome
    assert outcome.payload == b"false"


async def test_python_s_own_modules_find_each_other(alone: Bench) -> None:
    for name in ("queue", "random", "selectors"):
        alone.file(f"{name}.py", "OWN = True")
    function = alone.python("""
        import asyncio, concurrent.futures, queue, random, selectors, tempfile
        async def handler(event, context):
            with concurrent.futures.ThreadPoolExecutor(1) as pool, tempfile.TemporaryDirectory():
                await asyncio.wrap_future(pool.submit(int))
            return [queue.OWN, random.OWN, selectors.OWN]
    """)
    for _ in range(2):
        outcome = await alone.call(function)
        assert isinstance(outcome, Returned), outcome
        assert json.loads(outcome.payload) == [True, True, True]
        await _grow(alone)


async def test_what_brings_no_code_hides_no_module(alone: Bench) -> None:
    alone.file("email/greeting.txt", "Hello")
    alone.file("opt/python/zoneinfo.py", "OWN = True")
    alone.file(
        "queue.py",
        """
        import concurrent.futures.thread, email.utils, queue, zoneinfo
        def handler(event, context):
            same = queue is concurrent.futures.thread.queue
            return [same, hasattr(email.utils, "parseaddr"), zoneinfo.OWN]
    """,
    )
    function = alone.function("python", handler="queue.handler", opt=alone.code / "opt")
    for _ in range(2):
        outcome = await alone.call(function)
        assert isinstance(outcome, Returned), outcome
        assert json.loads(outcome.payload) == [True, True, True]
        await _grow(alone)


async def _grow(bench: Bench) -> None:
    for path in bench.code.glob("*.py"):
        path.rename(path.with_suffix(".away"))
    await grown(bench)
    bench.file("app.py", "")
    for path in bench.code.glob("*.away"):
        path.rename(path.with_suffix(".py"))
