"""Run what others offer for the same work: each in an environment of its own, made from PyPI when it is missing.

A peer that this machine cannot install is skipped with a word, and nothing is claimed about it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import ROOT, answers
from tests.e2e.daemon import free_port, until

WORKERS = 2
"""Peers get as many workers where they take a number, and their defaults otherwise."""
TASKS = 5_000

FRAMEWORK = """
import functions_framework

@functions_framework.http
def echo(request):
    request.get_json()
    return {"ok": True}
"""
HUEY_TASKS = """
import sys
from huey import SqliteHuey

huey = SqliteHuey(filename=sys.argv[-1] if sys.argv[-1].endswith(".db") else "huey.db", fsync=True)

@huey.task()
def echo(body):
    return {"ok": True}
"""
HUEY_RUN = """
import sys, time
from tasks import echo, huey

body = "x" * 1000
began = time.monotonic()
for _ in range(int(sys.argv[1])):
    echo(body)
print("enqueued", time.monotonic() - began, flush=True)
"""


class Skipped(Exception):
    """The peer cannot be had here; says why."""


def environment(name: str, *packages: str) -> Path:
    """Return the interpreter of an environment with *packages*, made at the first call. Raises Skipped."""
    folder = ROOT / f".venv-{name}"
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if done.exists() and done.read_text() == repr(packages):
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=120)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        raise Skipped(f"{', '.join(packages)} cannot be installed here: {error}") from error
    done.write_text(repr(packages))
    return python


def version(python: Path, package: str) -> str:
    """Return the installed version of a package."""
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@contextmanager
def functions_framework(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve a function by Google's Functions Framework; yields its name and URL. Raises Skipped."""
    python = environment("functions-framework", "functions-framework")
    folder.mkdir()
    (folder / "main.py").write_text(FRAMEWORK)
    port = free_port()
    process = subprocess.Popen(
        [python.with_name("functions-framework"), "--target", "echo", "--source", "main.py", "--port", str(port)],
        cwd=folder,
        env={**os.environ, "WORKERS": str(WORKERS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(port) or process.poll() is not None, "functions-framework answers")
        if process.poll() is not None:
            raise Skipped("functions-framework ended at once")
        yield f"functions-framework {version(python, 'functions-framework')}", f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


class Huey:
    """huey on SQLite with a sync per commit: tasks enqueued one after the other, then run by its consumer."""

    def __init__(self) -> None:
        """Raises Skipped."""
        self._python = environment("huey", "huey")
        self.name = f"huey {version(self._python, 'huey')} (SQLite, fsync)"

    def measure(self, folder: Path) -> float:
        """Return tasks a second, from the first one enqueued until the last one has run."""
        folder.mkdir()
        (folder / "tasks.py").write_text(HUEY_TASKS)
        (folder / "load.py").write_text(HUEY_RUN)
        began = time.monotonic()
        subprocess.run([self._python, "load.py", str(TASKS)], cwd=folder, check=True, capture_output=True, timeout=300)
        consumer = subprocess.Popen(
            [self._python, "-m", "huey.bin.huey_consumer", "tasks.huey", "-w", str(WORKERS), "-q"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: self._left(folder) == 0, "huey has run its tasks", 300)
            return TASKS / (time.monotonic() - began)
        finally:
            consumer.kill()
            consumer.wait(30)

    @staticmethod
    def _left(folder: Path) -> int:
        db = sqlite3.connect(f"file:{folder / 'huey.db'}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT count(*) FROM task").fetchone()[0])
        finally:
            db.close()
