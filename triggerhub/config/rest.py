"""Read a file that somebody may just be saving."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

REST = 0.15
"""Seconds that a file must not have changed for."""
EMPTIED = 1.0
"""The same for one without a byte: many programs empty a file first and then write it."""
TRIES = 6
"""How often a file that keeps changing is looked at before it is read as it is."""


def settled(
    path: Path,
    read: Callable[[], Result],
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Return what *read* makes of the file at *path* once that has come to rest, and did not change meanwhile.

    Half a configuration is often a valid one: an empty file is a project without triggers. Blocks for seconds at most.
    """
    for _ in range(TRIES):
        seen = _stamp(path)
        if seen is not None:
            age = now() - seen[0] / 1e9
            left = (REST if seen[1] else EMPTIED) - age
            # A stamp in the future tells nothing: the clock was set back.
            if left > 0 and age >= 0:
                sleep(left)
                continue
        found = read()
        if _stamp(path) == seen:
            return found
    return read()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return when the file was changed, its size and which file it is; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
