"""Be an ordinary user, where the suite runs as root: the same program again, without any privilege."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
UID = 61_777
"""Nobody's: not in the list of users, and below what the launcher gives to functions."""
DROPPED = ("--clear-groups", "--inh-caps=-all", "--bounding-set=-all")


def interpreter() -> str | None:
    """Return a Python that an ordinary user can execute and that has what this one imports; None without one."""
    found = Path(sys.executable).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in (found, *found.parents)):
        return sys.executable
    # A Python in somebody's home folder: the system's own, of the same version, reads the same packages.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin:/bin")
    reachable = all(folder.stat().st_mode & 0o001 for folder in ROOT.parents)
    return other if reachable and "site-packages" in packages() else None


def packages() -> str:
    return next((path for path in sys.path if path.endswith("site-packages")), "")


def why_not() -> str:
    """Return why the suite cannot be run again as an ordinary user; empty if it can."""
    if os.geteuid() != 0:
        return "it runs as an ordinary user as it is"
    if shutil.which("setpriv") is None:
        return "setpriv is missing: apt install util-linux"
    if interpreter() is None:
        return f"no Python that other users can execute has this project's packages ({sys.executable} is private)"
    return ""


def command(home: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return how to run Python with *arguments* as an ordinary user, and in which environment."""
    python = sys.executable if os.geteuid() else interpreter()
    assert python is not None
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": f"{ROOT}:{packages()}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if os.geteuid():
        return [python, *arguments], environment
    os.chown(home, UID, UID)
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", *DROPPED, python, *arguments], environment


def run(
    home: Path, arguments: Sequence[str], *, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments* as an ordinary user whose home is *home*."""
    words, environ = command(home, *arguments)
    return subprocess.run(
        words,
        cwd=ROOT,
        env={**environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
