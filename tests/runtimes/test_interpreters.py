"""Handlers run under any Python from 3.8 on, and any Node from 18 on, that the host has."""

from __future__ import annotations

import json
import os
import sys

import pytest

from triggerhub.config.interpreters import find, parse
from triggerhub.errors import ConfigError, StartFailed
from triggerhub.settings import Interpreter

from .conftest import Bench, invocation

HANDLER = """
import asyncio, logging, os, sys, queue
logging.getLogger().warning("logged")
async def handler(event, context):
    await asyncio.sleep(0)
    return [list(sys.version_info[:2]), os.environ["AWS_EXECUTION_ENV"], context.memory_limit_in_mb, event]
"""


def installed() -> list[Interpreter]:
    found = {}
    for name in ["/usr/bin/python3", *(f"python3.{minor}" for minor in range(8, 16))]:
        try:
            interpreter = find(parse(name), os.environ)
        except ConfigError:  # it is not there
            continue
        assert interpreter is not None
        found[interpreter.program] = interpreter
    return list(found.values())


@pytest.mark.parametrize("interpreter", installed(), ids=lambda one: f"{one.name}-{one.program}")
async def test_python(bench: Bench, interpreter: Interpreter) -> None:
    function = bench.python(HANDLER, interpreter=interpreter)
    outcome = await bench.call(function, {"a": "ü"})
    expected = [list(interpreter.version[:2]), f"AWS_Lambda_{interpreter.name}", "256", {"a": "ü"}]
    assert json.loads(outcome.payload) == expected
    assert [line.split("\t")[0] for line in bench.lines.of(None)] == ["[WARNING]"]


@pytest.mark.parametrize("interpreter", installed(), ids=lambda one: f"{one.name}-{one.program}")
async def test_python_forks(bench: Bench, interpreter: Interpreter) -> None:
    text = """
        import os, sys
        from snapshot_restore_py import register_after_restore
        seen = []
        register_after_restore(seen.append, "restored")
        def handler(event, context):
            if event == "die":
                os._exit(3)
            seen.append(event)
            return [list(sys.version_info[:2]), seen]
    """
    function = bench.python(text, interpreter=interpreter, reuse="fork")
    async with bench.worker(function) as worker:
        outcomes = [await worker.invoke(invocation(event, request_id=event)) for event in ("a", "die", "b")]
        assert worker.alive
    version = list(interpreter.version[:2])
    assert [json.loads(one.payload) for one in outcomes[::2]] == [[version, ["restored", one]] for one in "ab"]
    assert outcomes[1].fault.message.endswith("exit status 3")


def test_this_host_has_at_least_its_own() -> None:
    assert sys.executable in [one.program for one in installed()]


async def test_one_that_is_not_there_fails_the_start(bench: Bench) -> None:
    function = bench.python(HANDLER, interpreter=Interpreter(runtime="python", program="", name="python3.99"))
    with pytest.raises(StartFailed, match=r"python3\.99 is not installed on this host") as caught:
        await bench.call(function)
    assert caught.value.type == "Runtime.InvalidEntrypoint"
