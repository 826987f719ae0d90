"""Know by name the functions that were made through the Lambda API, of which triggers and others may speak.

The hub writes their names beside their code, so that a configuration can be looked at while no hub runs. A name is
there before its function is, and goes after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from triggerhub.config import note
from triggerhub.settings import DEPLOYED_NAMES


def names(data: Path) -> frozenset[str]:
    """Return the names below a data folder, those of versions and aliases qualified. What cannot be read has none."""
    found = note.read(data / DEPLOYED_NAMES)
    return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list | dict) else frozenset()


def write(data: Path, wanted: Iterable[str], *, sync: bool) -> None:
    """Put *wanted* in the place of the names that stand there. Blocks. OSError."""
    note.write(data / DEPLOYED_NAMES, sorted(wanted), sync=sync)
