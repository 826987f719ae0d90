"""Keep a small file in the data folder for a configuration that is looked at while no hub runs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from triggerhub.durable import sync_names
from triggerhub.model import Json


def read(path: Path) -> Json:
    """Return what a file holds; None where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def write(path: Path, value: Json, *, sync: bool) -> None:
    """Put *value* in the place of what a file holds. Blocks. OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}")
    try:
        with draft.open("w") as file:
            json.dump(value, file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        draft.rename(path)
        if sync:
            sync_names(path.parent)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
