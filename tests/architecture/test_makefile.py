"""`make run` on a bare machine names the one thing that is missing, in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.documents import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The suite may be run by make, which would take this for a part of itself.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def python(folder: Path, body: str) -> str:
    """Write an interpreter that is as this one, but for what *body* does before."""
    path = folder / "python3"
    path.write_text(f'#!/bin/sh\n{body}\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        pytest.param("exit 127", "triggerhub needs Python 3.11 or newer, which {python} is not", id="none"),
        pytest.param(
            'case "$2" in *ensurepip*) exit 1;; esac', "{python} has no venv module; install the package", id="bare"
        ),
    ],
)
@pytest.mark.parametrize("target", ["run", "test"])
def test_what_is_missing_is_named(tmp_path: Path, body: str, missing: str, target: str) -> None:
    found = python(tmp_path, body)
    done = make(target, f"PYTHON={found}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert missing.format(python=found) in line
    assert "Debian, Ubuntu: apt install python3" in line
    assert not (tmp_path / "venv").exists()


def test_a_virtual_environment_that_was_interrupted_is_made_again(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    done = make("--dry-run", "run", f"PYTHON={sys.executable}", f"VENV={venv}")
    assert f"{sys.executable} -m venv {venv}" in done.stdout


def test_help_lists_every_target() -> None:
    done = make()
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?m)^  make ([a-z]+) +\S", done.stdout)) == targets
    assert {"help", "run", "test", "check", "coverage", "chaos", "bench", "wheel", "clean"} <= targets
