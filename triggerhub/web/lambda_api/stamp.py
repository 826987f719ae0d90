"""Stamp what is changed with a moment and a revision."""

from __future__ import annotations

import time
import uuid


def now() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def revision() -> str:
    """Return a new RevisionId."""
    return str(uuid.uuid4())
