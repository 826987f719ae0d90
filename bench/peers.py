"""Bring what others offer for the same work, each in an environment of its own, made when it is missing.

A peer that this machine cannot install is skipped with a word, and nothing is claimed about it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import ROOT
from tests.e2e.daemon import until

WORKERS = 2
"""Peers get as many workers where they take a number, and their defaults otherwise."""


class Skipped(Exception):
    """The peer cannot be had here; says why."""


def environment(name: str, *packages: str) -> Path:
    """Return the interpreter of an environment with *packages*, made at the first call. Raises Skipped."""
    folder = ROOT / f".venv-{name}"
    python = folder / "bin" / "python"
    with _made(folder, packages) as missing:
        if missing:
            _run([sys.executable, "-m", "venv", folder])
            _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    return python


def modules(name: str, *packages: str) -> Path:
    """Return a folder whose ``node_modules`` has *packages*, made at the first call. Raises Skipped."""
    folder = ROOT / f".venv-{name}"
    with _made(folder, packages) as missing:
        if missing:
            folder.mkdir(exist_ok=True)
            _run([program("npm"), "install", "--prefix", folder, "--silent", "--no-audit", "--no-fund", *packages])
    return folder


@contextmanager
def _made(folder: Path, packages: Sequence[str]) -> Iterator[bool]:
    done = folder / ".installed"
    missing = not done.exists() or done.read_text() != repr(packages)
    try:
        yield missing
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise Skipped(f"{', '.join(packages)} cannot be installed here: {said[0] if said else error}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise Skipped(f"{', '.join(packages)} cannot be installed here: {error}") from error
    if missing:
        done.write_text(repr(packages))


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=600)


def program(name: str, *, package: str | None = None) -> str:
    """Return the path of a program of this host's. Raises Skipped."""
    found = shutil.which(name) or next(
        (str(one) for one in sorted(Path("/usr/lib").glob(f"postgresql/*/bin/{name}"))), None
    )
    if found is None:
        raise Skipped(f"{name} is not installed here (Debian, Ubuntu: apt install {package or name})")
    return found


def version(python: Path, package: str) -> str:
    """Return the installed version of a Python package."""
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@contextmanager
def running(
    command: Sequence[str | Path],
    answers: Callable[[], Any],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and enter once it *answers*; leaving ends it with all that it started. Raises Skipped."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        user=user,
    )
    try:
        until(lambda: answers() or process.poll() is not None, f"{Path(command[0]).name} answers")
        if process.poll() is not None:
            raise Skipped(f"{Path(command[0]).name} ended at once")
        yield process
    finally:
        for one in (15, 9):
            try:
                os.killpg(process.pid, one)
            except ProcessLookupError:
                break
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                continue
