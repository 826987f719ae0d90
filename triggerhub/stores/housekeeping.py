"""List, count, prune and audit: what people and the hub's own housekeeping ask of the database."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from triggerhub import ids
from triggerhub.model import Delivery, Millis, State
from triggerhub.store import Query
from triggerhub.stores import queue, rows
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.writer import Transaction


def page(db: sqlite3.Connection, query: Query) -> list[Delivery]:
    """Return deliveries, newest first, by keyset."""
    if query.function is None and query.trigger is None:
        return [rows.delivery(row) for row in _newest(db, query, "")]
    lanes = db.execute(
        "SELECT DISTINCT function, trigger FROM tally WHERE function <> '' AND (? IS NULL OR function = ?) "
        "AND (? IS NULL OR trigger = ?)",
        (query.function, query.function, query.trigger, query.trigger),
    ).fetchall()
    found = [_newest(db, query, "d.function = ? AND d.trigger = ?", lane) for lane in lanes]
    merged = heapq.merge(*found, key=lambda row: row[0], reverse=True)
    return [rows.delivery(row) for row in islice(merged, query.limit)]


def _newest(db: sqlite3.Connection, query: Query, lane: str, arguments: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    wheres, values = ["d.id < ?"], [query.before or "g"]
    if query.since is not None:
        wheres.append("d.id >= ?")
        values.append(ids.first_at(query.since))
    if query.state is not None:
        wheres.append(f"d.state = {rows.NUMBERS[query.state]}")
    if lane:
        wheres.append(lane)
        values += arguments
    return db.execute(
        f"SELECT {rows.DELIVERY} FROM delivery d WHERE {' AND '.join(wheres)} ORDER BY d.id DESC LIMIT ?",
        (*values, query.limit),
    ).fetchall()


def audit(db: sqlite3.Connection) -> list[str]:
    """Count every row and compare with the ledgers."""
    ledger = {
        (function, trigger, entry): number
        for function, trigger, entry, number in db.execute("SELECT function, trigger, entry, number FROM tally")
        if function
    }
    counted = {
        (function, trigger, str(rows.STATES[state])): number
        for function, trigger, state, number in db.execute(
            "SELECT function, trigger, state, count(*) FROM delivery GROUP BY function, trigger, state"
        )
    }
    return [
        f"{key[1]} → {key[0]}: {counted.get(key, 0)} {key[2]} deliveries, the ledger says {ledger.get(key, 0)}"
        for key in sorted(ledger.keys() | counted.keys())
        if counted.get(key, 0) != ledger.get(key, 0)
    ]


def discard(t: Transaction, deliveries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Remove dead deliveries; return their ids, and payload files that may have lost their last user."""
    dead = [one for one in queue.find(t, deliveries) if one.state is State.DEAD]
    return [one.id for one in dead], _remove(t, dead, "discarded")


def prune(
    t: Transaction, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int
) -> tuple[int, list[str]]:
    """Remove old finished deliveries and whatever expired; see ``store.Store.prune``."""
    columns = rows.DELIVERY
    found = t.db.execute(
        f"SELECT {columns} FROM delivery d WHERE d.state IN (2, 4) AND d.finished < ? ORDER BY d.finished LIMIT ?",
        (finished_before, limit),
    ).fetchall()
    dead = [row[0] for row in t.db.execute("SELECT DISTINCT function FROM tally WHERE entry = 'dead' AND number > 0")]
    for function in dead:
        if (room := limit - len(found)) > 0:
            before = dead_before.get(function, finished_before)
            found += t.db.execute(
                f"SELECT {columns} FROM delivery d WHERE d.state = 3 AND d.function = ? AND d.finished < ? LIMIT ?",
                (function, before, room),
            ).fetchall()
    blobs = _remove(t, [rows.delivery(row) for row in found], "pruned")
    for table in ("key", "answer"):
        t.db.execute(f"DELETE FROM {table} WHERE expires <= ?", (now,))
    t.db.execute("DELETE FROM lease WHERE until <= ?", (now,))
    return len(found), blobs


def _remove(t: Transaction, deliveries: Sequence[Delivery], entry: str) -> list[str]:
    blobs: list[str] = []
    for one in deliveries:
        t.db.execute("DELETE FROM attempt WHERE delivery = ?", (one.id,))
        t.db.execute("DELETE FROM delivery WHERE id = ?", (one.id,))
        t.count(one.function, one.trigger, one.state, -1)
        gone = t.db.execute(
            "DELETE FROM event WHERE id = ? AND NOT EXISTS (SELECT 1 FROM delivery WHERE id > ? AND id <= ?) "
            "RETURNING blob",
            (one.event_id, one.event_id, ids.delivery_id(one.event_id, ids.MAX_FAN_OUT)),
        ).fetchall()
        blobs += [row[0] for row in gone if row[0]]
    t.count("", "", entry, len(deliveries))
    return blobs


def forget(t: Transaction, blobs: Blobs, names: Sequence[str]) -> None:
    """Remove payload files that no event uses; within the writer, so that no append can come between."""
    for name in set(names):
        if t.db.execute("SELECT 1 FROM event WHERE blob = ? LIMIT 1", (name,)).fetchone() is None:
            blobs.remove(name)
