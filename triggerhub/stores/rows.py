"""Turn rows of the database into the model's values."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

from triggerhub import ids
from triggerhub.model import Attempt, Delivery, Event, Fault, State
from triggerhub.stores.blobs import LARGE, Blobs

STATES = (State.QUEUED, State.RUNNING, State.SUCCEEDED, State.DEAD, State.CANCELLED)
NUMBERS = {state: number for number, state in enumerate(STATES)}
QUEUED, RUNNING, SUCCEEDED, DEAD, CANCELLED = range(5)

DELIVERY = (
    "d.id, d.trigger, d.function, d.state, d.attempts, d.created, d.due, d.finished, d.version, d.duration, "
    "d.dedup_key, d.ordering_key, d.idempotency_key, d.error_type, d.error_message, d.reason, d.claims, d.lost"
)
EVENT = "e.id, e.trigger, e.time, e.data, e.blob, e.crc, e.dedup_key, e.ordering_key, e.trace, e.due, e.hops"
DELIVERY_WIDTH = DELIVERY.count(",") + 1


class Damaged(Exception):
    """A payload is not the one that was stored."""


def delivery(row: Sequence[Any]) -> Delivery:
    """Read the columns of :data:`DELIVERY`."""
    return Delivery(
        id=row[0],
        event_id=ids.event_of(row[0]),
        trigger=row[1],
        function=row[2],
        state=STATES[row[3]],
        attempts=row[4],
        created=row[5],
        due=row[6],
        finished=row[7],
        version=row[8],
        duration_ms=row[9],
        dedup_key=row[10],
        ordering_key=row[11],
        idempotency_key=row[12],
        error=None if row[13] is None else Fault(type=row[13], message=row[14] or ""),
        reason=row[15],
        claims=row[16],
        lost=row[17],
    )


def event(row: Sequence[Any], blobs: Blobs) -> Event:
    """Read the columns of :data:`EVENT`; raises Damaged where the payload's checksum does not hold."""
    data = row[3] if row[4] is None else blobs.get(row[4])
    if zlib.crc32(data) != row[5]:
        raise Damaged(f"the payload of event {row[0]} is damaged on disk")
    return Event(
        id=row[0],
        trigger=row[1],
        time=row[2],
        data=data,
        dedup_key=row[6],
        ordering_key=row[7],
        trace=row[8],
        due=row[9],
        hops=row[10],
    )


def put_event(db: sqlite3.Connection, one: Event, blobs: Blobs) -> None:
    """Insert an event, its payload beside the table if it is large."""
    large = len(one.data) > LARGE
    db.execute(
        "INSERT INTO event (id, trigger, time, data, blob, crc, dedup_key, ordering_key, trace, due, hops) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.id,
            one.trigger,
            one.time,
            None if large else one.data,
            blobs.put(one.data) if large else None,
            zlib.crc32(one.data),
            one.dedup_key,
            one.ordering_key,
            one.trace,
            one.due,
            one.hops,
        ),
    )


def put_attempt(db: sqlite3.Connection, owner: str, one: Attempt) -> None:
    """Insert the record of an attempt of delivery *owner*."""
    db.execute(
        "INSERT INTO attempt (delivery, request, started, duration, version, outcome, error_type, error_message, "
        "payload, init, memory) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            owner,
            one.request_id,
            one.started,
            one.duration_ms,
            one.version,
            one.outcome,
            one.error.type if one.error else None,
            one.error.message if one.error else None,
            one.payload,
            one.init_ms,
            one.memory,
        ),
    )


def attempts(db: sqlite3.Connection, owner: str) -> list[Attempt]:
    """Read the attempts of a delivery, oldest first."""
    rows = db.execute(
        "SELECT request, started, duration, version, outcome, error_type, error_message, payload, init, memory "
        "FROM attempt WHERE delivery = ? ORDER BY seq",
        (owner,),
    )
    return [
        Attempt(
            request_id=row[0],
            started=row[1],
            duration_ms=row[2],
            version=row[3],
            outcome=row[4],
            error=None if row[5] is None else Fault(type=row[5], message=row[6] or ""),
            payload=row[7],
            init_ms=row[8],
            memory=row[9],
        )
        for row in rows
    ]
