"""Turn rows of the database into the model's values."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

from triggerhub import ids
from triggerhub.model import Attempt, Delivery, Event, Fault, State
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.fault import damaged

STATES = (State.QUEUED, State.RUNNING, State.SUCCEEDED, State.DEAD, State.CANCELLED)
NAMES = tuple(str(state) for state in STATES)
QUEUED, RUNNING, SUCCEEDED, DEAD, CANCELLED = range(5)

DELIVERY = (
    "d.id, d.trigger, d.function, d.state, d.attempts, d.created, d.due, d.finished, d.version, d.duration, "
    "d.dedup_key, d.ordering_key, d.idempotency_key, d.error_type, d.error_message, d.reason, d.claims, d.lost, "
    "d.since"
)
EVENT = "e.time, e.data, e.blob, e.crc, e.trace, e.due, e.hops"
BOTH = f"SELECT {DELIVERY}, {EVENT} FROM delivery d JOIN event e ON e.seq = d.event"


def state(value: object) -> State:
    """Return the state of a row's number. Raises StoreBroken for one that nobody wrote."""
    if not isinstance(value, int) or not 0 <= value < len(STATES):
        raise damaged(f"a delivery's state is {value!r}")
    return STATES[value]


def entry(value: str) -> State:
    """Return the state whose deliveries a ledger counts under this word. Raises StoreBroken for another word."""
    if value not in NAMES:
        raise damaged(f"a ledger's entry is {value!r}")
    return STATES[NAMES.index(value)]


class Damaged(Exception):
    """A payload is not the one that was stored."""


def delivery(row: Sequence[Any]) -> Delivery:
    """Read the columns of :data:`DELIVERY`."""
    return Delivery(
        id=row[0],
        event_id=ids.event_of(row[0]),
        trigger=row[1],
        function=row[2],
        state=state(row[3]),
        attempts=row[4],
        created=row[5],
        due=row[6],
        finished=row[7],
        version=row[8],
        duration_ms=row[9],
        dedup_key=row[10],
        ordering_key=row[11],
        idempotency_key=row[12],
        error=None if row[13] is None else Fault(type=row[13], message=row[14]),
        reason=row[15],
        claims=row[16],
        lost=row[17],
        since=row[18],
    )


def event(row: Sequence[Any], blobs: Blobs, *, checked: bool) -> Event:
    """Read the event out of a row of :data:`BOTH`.

    Raises Damaged where it is *checked* and the payload's checksum does not hold; unchecked it is for
    people, who may see what is left.
    """
    time, data, blob, crc, trace, due, hops = row[19:]
    if blob is not None:
        data = blobs.get(blob)
    identifier = ids.event_of(row[0])
    if checked and zlib.crc32(data) != crc:
        raise Damaged(f"the payload of event {identifier} is damaged on disk: its checksum does not hold")
    return Event(
        id=identifier,
        trigger=row[1],
        time=time,
        data=data,
        dedup_key=row[10],
        ordering_key=row[11],
        trace=trace,
        due=due,
        hops=hops,
    )


def attempt(owner: str, claim: int, one: Attempt) -> tuple[Any, ...]:
    """Return the row of an attempt of delivery *owner*."""
    error = one.error
    return (
        owner,
        claim,
        one.request_id,
        one.started,
        one.duration_ms,
        one.version,
        one.outcome,
        error.type if error else None,
        error.message if error else None,
        one.payload,
        one.init_ms,
        one.memory,
        one.level,
    )


def attempts(db: sqlite3.Connection, owner: str) -> list[Attempt]:
    """Read the attempts of a delivery, oldest first."""
    rows = db.execute(
        "SELECT request, started, duration, version, outcome, error_type, error_message, payload, init, memory, level "
        "FROM attempt WHERE delivery = ? ORDER BY claim",
        (owner,),
    )
    return [
        Attempt(
            request_id=row[0],
            started=row[1],
            duration_ms=row[2],
            version=row[3],
            outcome=row[4],
            error=None if row[5] is None else Fault(type=row[5], message=row[6]),
            payload=row[7],
            init_ms=row[8],
            memory=row[9],
            level=row[10],
        )
        for row in rows
    ]
