"""Move deliveries through their states: claim, settle and reap, each within an open transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from triggerhub import ids
from triggerhub.crash import crash_point
from triggerhub.model import Bury, Complete, Delivery, Leave, Millis, Retry, State
from triggerhub.policy.batching import look_again, ready
from triggerhub.store import NOTICED, Claimed, Fence, Grant, Intake, Lane, Settlement, Want
from triggerhub.stores import fault, line, many, rows
from triggerhub.stores.intake import accept, put_answers
from triggerhub.stores.rows import CANCELLED, DEAD, NAMES, QUEUED, RUNNING, STATES, SUCCEEDED
from triggerhub.stores.transaction import Transaction

_CLAIMABLE = "function = ? AND trigger = ? AND state = 0 AND blocked = 0"
DUE = f"{rows.BOTH} WHERE {_CLAIMABLE} AND d.due <= ? ORDER BY d.due, d.id LIMIT ?"
COUNT_DUE = (
    f"SELECT count(*), min(due) FROM (SELECT due FROM delivery WHERE {_CLAIMABLE} AND due <= ? ORDER BY due LIMIT ?)"
)
EARLIEST = f"SELECT due FROM delivery WHERE {_CLAIMABLE} ORDER BY due LIMIT 1"
HASTEN = (
    "UPDATE delivery SET due = due - ? WHERE function = ? AND trigger = ? AND state = 0 AND due > ? "
    "AND NOT (id >= ? AND created BETWEEN ? AND ?)"
)
_RUN = ("state", "attempts", "claims", "owner")
HELD = (
    "SELECT json_group_array(json_array(d.id, d.owner, d.claims, d.function, d.trigger, d.ordering_key, d.attempts, "
    "d.due, d.version, d.duration, d.error_type, d.error_message)) "
    "FROM json_each(?) j CROSS JOIN delivery d ON d.id = j.value WHERE d.state = 1"
)
"""All rows as one: see ``many``."""
_SETTLE = (
    "state", "due", "finished", "reason", "attempts", "version", "duration", "error_type", "error_message"
)  # fmt: skip


def claim(t: Transaction, wants: Sequence[Want], owner: int, now: Millis) -> list[Grant]:
    """Make due deliveries running."""
    t.flush()
    return [_claim(t, want, owner, now) for want in wants]


def _claim(t: Transaction, want: Want, owner: int, now: Millis) -> Grant:
    lane = (want.lane.function, want.lane.trigger)
    if want.size > 1 and not ready(*_due(t, lane, now, want.size), size=want.size, window=want.window, now=now):
        return Grant([], _next(t, want, lane, now))
    claimed: list[Claimed] = []
    damaged: list[Delivery] = []
    size = 0
    # One row at a time: their payloads together may be more than the memory holds.
    for row in t.db.execute(DUE, (*lane, now, want.limit)):
        delivery = rows.delivery(row)
        try:
            event = rows.event(row, t.blobs, checked=True)
        except rows.Damaged as error:
            delivery.reason = str(error)
            damaged.append(delivery)
            continue
        size += len(event.data)
        if want.bytes is not None and size > want.bytes and claimed:
            break
        delivery.state, delivery.attempts, delivery.claims = State.RUNNING, delivery.attempts + 1, delivery.claims + 1
        claimed.append(Claimed(delivery, event, Fence(owner, delivery.claims)))
    if claimed:
        running = [one.delivery for one in claimed]
        changes = [(RUNNING, one.attempts, one.claims, owner, one.id) for one in running]
        if many.update(t.db, "delivery", "id", _RUN, changes) != len(running):
            # It would be claimed again and again.
            raise fault.damaged("a delivery is found by one index and not by another")
        t.count(*lane, NAMES[QUEUED], -len(claimed))
        t.count(*lane, NAMES[RUNNING], len(claimed))
    for one in damaged:
        end(t, one, DEAD, now, one.reason or "")
    return Grant(claimed, _next(t, want, lane, now), damaged)


def _due(t: Transaction, lane: tuple[str, str], now: Millis, size: int) -> tuple[int, Millis | None]:
    due, oldest = t.db.execute(COUNT_DUE, (*lane, now, size)).fetchone()
    return due, oldest


def _next(t: Transaction, want: Want, lane: tuple[str, str], now: Millis) -> Millis | None:
    """Say when the lane may have something more."""
    row = t.db.execute(EARLIEST, lane).fetchone()
    if row is None:
        return None
    earliest: Millis = row[0]
    if earliest > now or want.size == 1:
        return earliest
    due, oldest = _due(t, lane, now, want.size)
    return look_again(due, oldest, size=want.size, window=want.window, now=now)


def settle(t: Transaction, settlements: Sequence[Settlement], now: Millis) -> list[bool]:
    """Carry out decisions where their fences hold."""
    t.flush()
    names = json.dumps([one.delivery for one in settlements])
    (found,) = t.db.execute(HELD, (names,)).fetchone()
    running: dict[str, Sequence[Any]] = {row[0]: row for row in json.loads(found)}
    held = [_holds(running, one) for one in settlements]
    kept = [(one, row) for one, row in zip(settlements, held, strict=True) if row is not None]
    many.update(t.db, "delivery", "id", _SETTLE, [_outcome(t, one, row, now) for one, row in kept])
    for place in {(row[3], row[4], row[5]) for _, row in kept if row[5] is not None}:
        line.order(t.db, place)
    follow(t, [one for one, _ in kept], now)
    return [row is not None for row in held]


def run(t: Transaction, one: Settlement, event: int, intake: Intake, now: Millis) -> None:
    """Write a delivery that was run and settled before it was stored, as accept, claim and settle leave it behind."""
    owed, about, fence = intake.owed[0], intake.event, one.fence
    due = max(now, about.due or now)
    ran = int(one.attempt is not None)
    t.count(owed.function, about.trigger, NAMES[RUNNING], 1)
    t.count("", "", "accepted", 1)
    held = (one.delivery, fence.owner, fence.claim, owed.function, about.trigger, None, ran, due, *(None,) * 4)
    *outcome, _ = _outcome(t, one, held, now)
    t.add_ended(
        one.delivery, event, about.trigger, owed.function, now, about.dedup_key, owed.idempotency_key,
        fence.owner, fence.claim, *outcome,
    )  # fmt: skip


def follow(t: Transaction, settled: Sequence[Settlement], now: Millis) -> None:
    """Write what decisions bring with them: attempts, answers, what destinations are owed."""
    for one in settled:
        if one.attempt:
            t.add_attempt(rows.attempt(one.delivery, one.fence.claim, one.attempt))
    if answers := [one.answer for one in settled if one.answer]:
        put_answers(t, answers)
    for one in settled:
        for intake in one.then:
            accept(t, intake, now)
    crash_point("inside-settle")


def _holds(running: dict[str, Sequence[Any]], one: Settlement) -> Sequence[Any] | None:
    """Return the row that *one* may settle, which then nobody else may."""
    row = running.get(one.delivery)
    if row is None or one.fence != Fence(row[1], row[2]):
        return None
    return running.pop(one.delivery)


def _outcome(t: Transaction, one: Settlement, row: Sequence[Any], now: Millis) -> tuple[Any, ...]:
    """Return the parameters of the update that carries out a decision."""
    _, _, _, function, trigger, _, attempts, due, version, duration, error_type, error_message = row
    finished: Millis | None = now
    if attempt := one.attempt:
        version, duration, error = attempt.version, attempt.duration_ms, attempt.error
        error_type, error_message = (error.type, error.message) if error else (None, None)
    match one.decision:
        case Complete(reason):
            state = SUCCEEDED
            if attempt is None:
                error_type = error_message = None
        case Bury(reason):
            state = DEAD
        case Leave(reason):
            state = CANCELLED
        case Retry(at, counted):
            state, reason, finished, due = QUEUED, None, None, at
            attempts -= 0 if counted else 1
    t.count(function, trigger, NAMES[RUNNING], -1)
    t.count(function, trigger, NAMES[state], 1)
    return (state, due, finished, reason, attempts, version, duration, error_type, error_message, one.delivery)


def reap(t: Transaction, owner: int) -> list[str]:
    """Give back what other owners left running."""
    t.flush()
    given_back = []
    for one in _left_running(t, owner):
        t.db.execute("UPDATE delivery SET state = 0, lost = lost + 1, attempts = attempts - 1 WHERE id = ?", (one.id,))
        moved(t, one, QUEUED)
        given_back.append(one.id)
    return given_back


def hasten(t: Transaction, by: Millis, now: Millis) -> int:
    """Make due earlier what is queued for after *now*."""
    t.flush()
    lanes = t.db.execute("SELECT function, trigger FROM tally WHERE entry = 'queued'").fetchall()
    since = (ids.first_at(now), now - NOTICED, now)
    return sum(t.db.execute(HASTEN, (by, *lane, now, *since)).rowcount for lane in lanes)


def _left_running(t: Transaction, owner: int) -> list[Delivery]:
    lanes = t.db.execute("SELECT function, trigger FROM tally WHERE entry = 'running'").fetchall()
    return [
        rows.delivery(row)
        for lane in lanes
        for row in t.db.execute(
            f"SELECT {rows.DELIVERY} FROM delivery d WHERE function = ? AND trigger = ? AND state = 1 AND owner <> ? "
            "ORDER BY id",
            (*lane, owner),
        ).fetchall()
    ]


def earliest(db: sqlite3.Connection, lanes: Sequence[Lane]) -> Millis | None:
    """Return when the first unblocked queued delivery of the lanes is or was due."""
    found = (db.execute(EARLIEST, (lane.function, lane.trigger)).fetchone() for lane in lanes)
    return min((row[0] for row in found if row), default=None)


def end(t: Transaction, one: Delivery, state: int, now: Millis, reason: str) -> None:
    """Finish a delivery that nobody settles."""
    t.db.execute(
        "UPDATE delivery SET state = ?, finished = ?, reason = ?, blocked = 0 WHERE id = ?",
        (state, now, reason, one.id),
    )
    moved(t, one, state)


def moved(t: Transaction, one: Delivery, state: int) -> None:
    """Count that *one* went to *state* just now, and let its line go on."""
    t.count(one.function, one.trigger, str(one.state), -1)
    t.count(one.function, one.trigger, NAMES[state], 1)
    one.state = STATES[state]
    if one.ordering_key is not None:
        line.order(t.db, (one.function, one.trigger, one.ordering_key))
