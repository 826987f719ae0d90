"""Functions made of a few lines of code, run by real processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from triggerhub.model import Invocation, Outcome
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.settings import Function

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@dataclass
class Lines:
    """An Output that remembers."""

    all: list[tuple[str | None, str, str]] = field(default_factory=list)

    def write(self, function: Function, request_id: str | None, stream: str, text: str) -> None:
        self.all.append((request_id, stream, text))

    def of(self, request_id: str | None) -> list[str]:
        return [text for request, _, text in self.all if request == request_id]


@dataclass
class Bench:
    """One folder of code, and what runs it."""

    root: Path
    launcher: Launcher
    level: str = "isolated"
    lines: Lines = field(default_factory=Lines)

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def task(self) -> str:
        """Where the handler finds its code."""
        return str(self.code) if self.level == "trusted" else "/var/task"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def runtime(self, **options: Any) -> ProcessRuntime:
        return ProcessRuntime(self.lines, self.scratch, **{"launcher": self.launcher, **options})

    def file(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.code / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
        path.chmod(mode)
        return path

    def python(self, text: str, *, handler: str = "app.", **settings: Any) -> Function:
        self.file("app.py", text)
        return self.function("python", handler=handler, **settings)

    def node(self, text: str, *, name: str = "app.mjs", handler: str = "app.", **settings: Any) -> Function:
        self.file(name, text)
        return self.function("node", handler=handler, **settings)

    def program(self, text: str, *arguments: str, **settings: Any) -> Function:
        path = self.file("run", text, 0o755)
        return self.function("executable", command=(str(path), *arguments), **settings)

    def function(self, runtime: Any, **settings: Any) -> Function:
        return Function(
            **{
                "name": "f",
                "runtime": runtime,
                "code": self.code,
                "level": self.level,
                "version": "0123456789ab",
                **settings,
            }
        )

    @asynccontextmanager
    async def worker(self, function: Function):
        async with self.runtime().start(function) as worker:
            yield worker

    async def call(self, function: Function, event: Any = None, **extra: Any) -> Outcome:
        """Start a worker, invoke it once, end it."""
        async with self.worker(function) as worker:
            return await worker.invoke(invocation(event, function=function, **extra))


def invocation(
    event: Any = None, *, request_id: str = "r1", function: Function | None = None, **extra: Any
) -> Invocation:
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    timeout = function.timeout if function else 30_000
    settings = {"deadline": time.time_ns() // 1_000_000 + timeout, "arn": ARN, **extra}
    return Invocation(request_id=request_id, function="f", payload=payload, **settings)


def living(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], Any], what: str, within: float = 20.0) -> Any:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {within} s: {what}")


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """One for all tests: what it forgets between two sandboxes is what it must forget between two functions."""
    launcher = Launcher()
    launcher.open()
    yield launcher
    launcher.close()


@pytest.fixture
def bench(tmp_path: Path, launcher: Launcher) -> Bench:
    (tmp_path / "code").mkdir()
    return Bench(tmp_path, launcher)


@pytest.fixture
def trusting(bench: Bench) -> Bench:
    """A bench whose functions run as plain processes."""
    bench.level = "trusted"
    return bench


@pytest.fixture
def open_files() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))
