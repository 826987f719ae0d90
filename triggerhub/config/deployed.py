"""Know by name the functions that were made through the Lambda API, of which triggers and others may speak.

The hub writes their names beside their code, so that a configuration can be looked at while no hub runs. A name is
there before its function is, and goes after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from triggerhub.settings import DEPLOYED_NAMES


def names(data: Path) -> frozenset[str]:
    """Return the names below a data folder, those of versions and aliases qualified. What cannot be read has none."""
    try:
        found = json.loads((data / DEPLOYED_NAMES).read_bytes())
        return frozenset(one for one in found if isinstance(one, str))
    except (OSError, ValueError, TypeError, RecursionError):
        return frozenset()


def write(data: Path, wanted: Iterable[str], *, sync: bool) -> None:
    """Put *wanted* in the place of the names that stand there. Blocks. OSError."""
    path = data / DEPLOYED_NAMES
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}")
    try:
        with draft.open("w") as file:
            json.dump(sorted(wanted), file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        draft.rename(path)
        if sync:
            _sync(path.parent)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
