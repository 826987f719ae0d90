"""Keep the deliveries of an ordering key in line: one at a time, the oldest first.

Exactly one unfinished delivery of a line is not blocked: the one that goes next, or runs. The flag is
kept at every change, so that claiming never has to look behind a delivery.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

Line: TypeAlias = tuple[str, str, str]
"""Function, trigger and ordering key."""

_LINE = "function = ? AND trigger = ? AND ordering_key = ? AND state < 2"
HEAD = f"SELECT id, state FROM delivery INDEXED BY delivery_line WHERE {_LINE} AND blocked = 0"
FIRST_BLOCKED = f"SELECT id FROM delivery INDEXED BY delivery_line WHERE {_LINE} AND blocked = 1 ORDER BY id LIMIT 1"


def head(db: sqlite3.Connection, line: Line) -> str | None:
    """Return who goes next or runs; None is an empty line."""
    row = db.execute(HEAD, line).fetchone()
    return row[0] if row else None


def order(db: sqlite3.Connection, line: Line) -> None:
    """Let the oldest go next; while one runs, nobody."""
    standing = db.execute(HEAD, line).fetchone()
    if standing is not None and standing[1] == 1:
        return
    waiting = db.execute(FIRST_BLOCKED, line).fetchone()
    if waiting is None or (standing is not None and standing[0] < waiting[0]):
        return
    if standing is not None:
        db.execute("UPDATE delivery SET blocked = 1 WHERE id = ?", (standing[0],))
    db.execute("UPDATE delivery SET blocked = 0 WHERE id = ?", waiting)
