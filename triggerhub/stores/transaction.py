"""Gather what the commands of one group write, so that it reaches SQLite in few statements."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from triggerhub.stores import line, many
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.line import Line

_EVENT = ("event (seq, time, data, blob, crc, trace, due, hops)", "(?, ?, ?, ?, ?, ?, ?, ?)")
_COLUMNS = (
    "id, event, trigger, function, state, blocked, attempts, created, due, dedup_key, ordering_key, "
    "idempotency_key, since, owner, claims, lost"
)
_DELIVERY = (f"delivery ({_COLUMNS})", "(?, ?, ?, ?, 0, ?, 0, ?, ?, ?, ?, ?, ?, 0, 0, 0)")
_WHOLE = (
    "id, event, trigger, function, created, dedup_key, idempotency_key, owner, claims, state, due, finished, reason, "
    "attempts, version, duration, error_type, error_message, blocked, lost"
)
_ENDED = (
    f"delivery ({_WHOLE})",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
)
_ATTEMPT = ("attempt", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
_TALLY = ("tally", "(?, ?, ?, ?)")
_ADD = "ON CONFLICT DO UPDATE SET number = number + excluded.number"


@dataclass(slots=True)
class Transaction:
    """The open transaction of a group, with the rows not yet inserted and the ledger that it owes."""

    db: sqlite3.Connection
    blobs: Blobs
    heads: dict[Line, str] = field(default_factory=dict)
    """Lines that were looked at since the last flush, and who goes next in each."""
    late: list[Line] = field(default_factory=list)
    """Lines that got somebody older than who goes next."""
    orphans: set[str] = field(default_factory=set)
    """Payload files that may be left without an event: by this transaction, or by its failure."""
    _deltas: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _events: list[tuple[Any, ...]] = field(default_factory=list)
    _deliveries: list[tuple[Any, ...]] = field(default_factory=list)
    _ended: list[tuple[Any, ...]] = field(default_factory=list)
    _attempts: list[tuple[Any, ...]] = field(default_factory=list)
    _last: int | None = None

    def count(self, function: str, trigger: str, entry: str, number: int) -> None:
        """Add to a ledger entry; written once per group."""
        self._deltas[function, trigger, entry] += number

    def put_blob(self, data: bytes) -> str:
        """Keep a payload as a file and return its name."""
        name = self.blobs.put(data)
        self.orphans.add(name)
        return name

    def add_event(self, *columns: Any) -> int:
        """Insert an event (its columns after ``seq``) at the next flush; returns its ``seq``."""
        if self._last is None:
            (self._last,) = self.db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
        self._last += 1
        self._events.append((self._last, *columns))
        return self._last

    def add_delivery(self, *columns: Any) -> None:
        """Insert a queued delivery at the next flush."""
        self._deliveries.append(columns)

    def add_ended(self, *columns: Any) -> None:
        """Insert a delivery that was run before it was ever queued, and has no place in line, at the next flush."""
        self._ended.append(columns)

    def add_attempt(self, row: tuple[Any, ...]) -> None:
        """Insert an attempt at the next flush."""
        self._attempts.append(row)

    def flush(self) -> None:
        """Make all rows visible to statements; every command but an append begins with it."""
        if self._events:
            many.insert(self.db, *_EVENT, self._events)
            many.insert(self.db, *_DELIVERY, self._deliveries)
            many.insert(self.db, *_ENDED, self._ended)
            self._events, self._deliveries, self._ended = [], [], []
        if self._attempts:
            many.insert(self.db, *_ATTEMPT, self._attempts)
            self._attempts = []
        for one in self.late:
            line.order(self.db, one)
        self.late.clear()
        self.heads.clear()

    def finish(self) -> None:
        """Write what is left: after this the transaction can commit."""
        self.flush()
        many.insert(self.db, *_TALLY, [(*key, number) for key, number in self._deltas.items() if number], _ADD)
        self.blobs.sync()

    def clean(self) -> None:
        """Remove the payload files that the commit or the rollback left without an event.

        Never raises: the word is given by now. What stays is swept at the next opening.
        """
        with suppress(sqlite3.Error):
            for name in self.orphans:
                if not used(self.db, name):
                    self.blobs.remove(name)


def used(db: sqlite3.Connection, blob: str) -> bool:
    """Whether an event has this payload file."""
    return db.execute("SELECT 1 FROM event WHERE blob = ? LIMIT 1", (blob,)).fetchone() is not None
