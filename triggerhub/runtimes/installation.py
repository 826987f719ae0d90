"""Say what of the host an interpreter needs: the folder that it is installed in, and nothing of a person's.

Such a folder is taken from where a program lies, and ``X/bin`` may lie in anything: in a home, in the project. All of
it is shown where it is an installation and nothing else; of any other the parts that are the interpreter's.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from triggerhub.policy.sandbox import view

_LANDMARKS = ("pyvenv.cfg", "lib/py*3*/os.py", "include/node/node.h", "lib/node_modules/npm", "bin/npm-cli.js")
"""What only the folder of an installation has."""
_PARTS = (
    "pyvenv.cfg", "lib/py*3*", "lib64/py*3*", "lib/*.so", "lib/*.so.*", "lib64/*.so", "lib64/*.so.*",
    "lib/node_modules",
)  # fmt: skip
"""What an interpreter reads beside its program."""


def private(places: Iterable[Path | str] = ()) -> tuple[str, ...]:
    """Return what is no part of any interpreter: *places*, this user's home, and what programs keep there."""
    homes = [home] if (home := os.environ.get("HOME")) else []
    with suppress(KeyError):
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    named = [*places, *homes, *(f"{home}/.local/share" for home in homes)]
    return tuple(dict.fromkeys(real for place in named if (real := os.path.realpath(place)) != "/"))


def _everywhere(path: str, apart: Sequence[str] = ()) -> bool:
    """Whether every sandbox shows it anyway; what is *apart* is hidden there, and with it whatever lies in it."""
    if any(view.within(path, one) for one in apart):
        return False
    return path == "/" or any(view.within(path, folder) for folder in view.SYSTEM)


def program(path: str) -> str:
    """Return by which path an interpreter is started: where it really is, unless where it lies tells it more."""
    folder, real = Path(path).parent, os.path.realpath(path)
    virtual = any((place / "pyvenv.cfg").is_file() for place in (folder, folder.parent))
    return path if virtual or (_everywhere(path) and _everywhere(real)) else real


OWN = program(sys.executable)
"""The hub's own interpreter."""


def python(apart: Sequence[str]) -> list[str]:
    """Return what the hub's own interpreter needs: a virtual environment, and what it was made from.

    *apart* is what :func:`private` returns.
    """
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    return of_program(OWN, apart, prefixes)


def of_program(path: str, apart: Sequence[str], prefixes: Sequence[str] = ()) -> list[str]:
    """Return what an interpreter at *path* needs: itself, its *prefixes*, and those of what it is a link to."""
    real = os.path.realpath(path)
    places = [*prefixes, *(str(Path(one).parent.parent) for one in (path, real))]
    places += [os.path.realpath(place) for place in places]
    needed = [part for place in dict.fromkeys(places) if not _everywhere(place, apart) for part in _shown(place, apart)]
    files = [one for one in (path, real) if not _everywhere(one, apart)]
    return list(dict.fromkeys([*needed, *(one for one in files if not any(view.within(one, each) for each in needed))]))


def _shown(prefix: str, apart: Sequence[str]) -> list[str]:
    folder, real = Path(prefix), os.path.realpath(prefix)
    if real == "/":
        return []
    if not any(view.within(one, real) for one in apart) and any(_found(folder, one) for one in _LANDMARKS):
        return [prefix]
    # The programs of a virtual environment find it by where they lie.
    parts = (*_PARTS, "bin") if (folder / "pyvenv.cfg").is_file() else _PARTS
    return sorted(str(found) for part in parts for found in folder.glob(part))


def _found(folder: Path, pattern: str) -> bool:
    return next(folder.glob(pattern), None) is not None
