"""Write down who changed what, as JSON lines in a file per day that outlives the history of deliveries."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from triggerhub.model import Json, Millis
from triggerhub.settings import DAY, MB
from triggerhub.telemetry.archive import Archive

KEEP: Millis = 400 * DAY
KEEP_SIZE = 64 * MB


class Changes:
    """The log of changes. Its methods touch the disk: call them in a thread, as many as you like."""

    def __init__(self, folder: Path) -> None:
        self._archive = Archive(folder, keep=KEEP, keep_size=KEEP_SIZE)
        self._lock = threading.Lock()

    def add(self, entry: Mapping[str, Json]) -> None:
        """Add a line: ``time``, ``text``, and what else is known of it. Raises OSError."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._archive.append([(entry["time"], line)])

    def newest(self, limit: int) -> list[Mapping[str, Json]]:
        """Return the newest lines, newest first."""
        with self._lock:
            return list(islice(self._archive.backwards(), limit))

    def retain(self, now: Millis) -> None:
        """Remove what is too old."""
        with self._lock, suppress(OSError):
            self._archive.retain(now)
