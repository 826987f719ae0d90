"""A process that has no descriptor left can start nothing; it must lose none by trying."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.runtimes.conftest import ARN, Bench
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Invocation, Returned
from triggerhub.settings import Function

CALL = Invocation(request_id="r-1", function="f", payload=b"1", deadline=0, arn=ARN)
ENOUGH = 16


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Leave the process only so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + ENOUGH, before[1]))
    taken = []
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


@pytest.mark.parametrize("kind", ["program", "python"])
async def test_a_start_without_descriptors_leaks_none(bench: Bench, kind: str) -> None:
    if kind == "program":
        function = bench.program("#!/bin/sh\necho 1\n")
    else:
        function = bench.python("def handler(event, context): return event")
    outcomes = []
    async with bench.worker(function) as worker:
        assert isinstance(await worker.invoke(CALL), Returned)
    for left in range(ENOUGH):
        before = opened()
        with descriptors(left):
            outcomes.append(await attempt(bench, function))
        assert opened() == before, f"with {left} descriptors left: {outcomes[-1]}"
    assert isinstance(outcomes[0], Crashed | OSError)
    assert isinstance(outcomes[-1], Returned)


async def attempt(bench: Bench, function: Function) -> object:
    try:
        async with bench.worker(function) as worker:
            return await worker.invoke(CALL)
    except (OSError, StartFailed) as error:
        return error.with_traceback(None)
