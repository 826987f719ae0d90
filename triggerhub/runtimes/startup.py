"""Tell from a function's variables and code how its interpreter has to be started.

Some variables are read by an interpreter, or by the loader of libraries, as it begins and never again: they do
nothing in a process that has begun already, and nothing in one that is told to overlook them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

_AS_IT_IS = frozenset((
    "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED",
))  # fmt: skip
"""What holds of every worker, and PYTHONPATH, which a worker reads itself: its own modules must not be found there."""
_OF_LIBRARIES = ("LD_", "MALLOC_", "GLIBC_TUNABLES")
_LIBRARY = re.compile(r"\.so(\.\d\w*)*$")
_HEAP = "--max-old-space-size"


def flags(names: Iterable[str]) -> list[str]:
    """Return how Python is told what to look at: where variables say something to it, at them."""
    # -B: the code is read-only, and a cache in it would change what the version is.
    return ["-s", "-B"] if any(_of_python(name) for name in names) else ["-I", "-B"]


def from_the_start(names: Iterable[str]) -> bool:
    """Whether variables have to be there before a Python process begins."""
    return any(_of_python(name) or name.startswith(_OF_LIBRARIES) for name in names)


@lru_cache(maxsize=1024)
def libraries(code: Path) -> bool:
    """Whether a version's code brings shared libraries where LD_LIBRARY_PATH leads. It is looked at once: it stays."""
    return any(_LIBRARY.search(name) for name in _names(code / "lib")) or any(
        name.startswith("lib") and _LIBRARY.search(name) for name in _names(code)
    )


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def heap(variables: Mapping[str, str], bytes_: int) -> list[str]:
    """Return how Node is told the size of its heap; not at all where NODE_OPTIONS tells it, which weighs less."""
    told = variables.get("NODE_OPTIONS", "").replace("_", "-")
    return [] if _HEAP in told else [f"{_HEAP}={bytes_ >> 20}"]


def _of_python(name: str) -> bool:
    return name.startswith("PYTHON") and name not in _AS_IT_IS
