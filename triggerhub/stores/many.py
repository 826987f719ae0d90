"""Write many rows with few statements.

SQLite's module gives the interpreter's lock away at every step, and on a busy hub each way back to it
is a wait. A statement of many rows is one step, however many they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

Row = Sequence[Any]

SIZES = (64, 32, 16, 8, 4, 2, 1)
"""Rows that one statement takes: few different texts, so that each is compiled once."""


def insert(db: sqlite3.Connection, into: str, values: str, rows: Sequence[Row], then: str = "") -> None:
    """Run ``INSERT INTO into VALUES values, values, … then``."""
    for part in _parts(rows):
        db.execute(_insert(into, values, then, len(part)), list(chain.from_iterable(part)))


def inserted(db: sqlite3.Connection, into: str, values: str, rows: Sequence[Row], then: str, more: Row) -> list[Any]:
    """Insert as :func:`insert` does; *then* takes *more* and returns rows, which are returned in any order."""
    return [
        row
        for part in _parts(rows)
        for row in db.execute(_insert(into, values, then, len(part)), [*chain.from_iterable(part), *more]).fetchall()
    ]


def update(db: sqlite3.Connection, table: str, key: str, columns: tuple[str, ...], rows: Sequence[Row]) -> int:
    """Set *columns* where *key* is; a row holds the columns' values and then the key's. Returns how many there were."""
    return sum(
        db.execute(_update(table, key, columns, len(part)), list(chain.from_iterable(part))).rowcount
        for part in _parts(rows)
    )


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


@cache
def _insert(into: str, values: str, then: str, count: int) -> str:
    return f"INSERT INTO {into} VALUES {', '.join([values] * count)} {then}"


@cache
def _update(table: str, key: str, columns: tuple[str, ...], count: int) -> str:
    if count == 1:
        return f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in columns)} WHERE {key} = ?"
    width = len(columns) + 1
    row = f"({', '.join('?' * width)})"
    changes = ", ".join(f"{column} = v.column{place}" for place, column in enumerate(columns, 1))
    return (
        f"UPDATE {table} SET {changes} FROM (VALUES {', '.join([row] * count)}) AS v "
        f"WHERE {table}.{key} = v.column{width}"
    )
