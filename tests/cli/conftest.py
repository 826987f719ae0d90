"""One hub for the tests of the commands, and two ways to run a command on it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.e2e.daemon import Daemon, daemon
from tests.e2e.toml import HUB, queue
from triggerhub import cli

HASTY = HUB + 'drain = "1s"\n'
"""A hub that waits for nobody who is held when it ends."""
TOML = (
    HASTY
    + """
[functions.broken]
retry = { attempts = 1 }

[functions.doomed]
retry = { attempts = 1 }

[functions.nasty]
retry = { attempts = 1 }

[functions.ending]
timeout = "1s"
memory = "128MB"
retry = { attempts = 1 }

[functions.failing]
retry = { attempts = 1 }

[functions.held]
concurrency = 1

[triggers.hook]
type = "webhook"
path = "/hook"
auth = "none"
functions = ["echo", "shell"]

[triggers.yearly]
type = "cron"
schedule = "0 0 1 1 *"
function = "echo"

[triggers.off]
type = "cron"
schedule = "* * * * *"
enabled = false
function = "echo"
"""
    + queue("keyed", "echo", 'key = "$.body.id"', 'filter = { body = { kind = ["order"] } }')
    + queue("fail", "broken")
    + queue("doom", "doomed")
    + queue("patient", "broken", 'retry = { attempts = 2, initial = "1h", max = "1h", jitter = false }')
)
ECHO = """
def handler(event, context):
    print("got it")
    return event
"""
BROKEN = """
def handler(event, context):
    print("before the fall")
    raise ValueError("broken on purpose")
"""
HELD = """
import time

def handler(event, context):
    time.sleep(60)
"""
ENDING = """
import os, time

def handler(event, context):
    if event == "late":
        time.sleep(60)
    elif event == "exit":
        os._exit(3)
    return len(bytearray(os.urandom(1000) * 300_000))
"""
FAILING = """#!/bin/sh
echo out of words >&2
exit 4
"""
NASTY = r"""
def handler(event, context):
    print("\x1b]0;owned\x07\x1b[31mred \u202egnp <b>bold</b>")
    raise ValueError("\x1b[2Jgone \u2066x <script>")
"""
SHELL = """#!/bin/sh
cat
"""
HANDLERS = {
    "echo.py": ECHO,
    "broken.py": BROKEN,
    "doomed.py": BROKEN,
    "ending.py": ENDING,
    "failing": FAILING,
    "held.py": HELD,
    "nasty.py": NASTY,
    "shell": SHELL,
}
NASTY_TEXT = "\x1b]0;owned\x07\x1b[31mred \u202egnp <b>bold</b>"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A hub that all tests of the commands share: each looks at its own deliveries only."""
    with daemon(tmp_path_factory.mktemp("commands"), TOML, HANDLERS) as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in this process, as ``main`` does; what it says how to log is forgotten."""
    configure, kept = structlog.configure, structlog.get_config()
    monkeypatch.setattr(
        structlog, "configure", lambda **given: configure(**given | {"cache_logger_on_first_use": False})
    )

    def command(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)

    yield command
    configure(**kept)


@pytest.fixture
def on(hub: Daemon, run: Run) -> Run:
    """Run a command on the shared hub."""
    return lambda *arguments, **options: run("-C", str(hub.project), *arguments, **options)


@pytest.fixture
def queued(on: Run) -> Callable[..., str]:
    """Make one delivery, by default a finished one; return its id."""

    def make(function: str = "echo", data: str = "{}", *, wait: bool = True) -> str:
        (delivery,) = on("invoke", function, "--async", "-d", data, "--json").json["deliveries"]
        if wait:
            assert on("deliveries", "wait", delivery, "--timeout", "30s").code in (0, 1)
        return delivery

    return make


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder that is no project."""
    return tmp_path
