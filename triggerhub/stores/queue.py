"""Move deliveries through their states: the commands of the hot path, each within an open transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triggerhub import ids
from triggerhub.model import Bury, Complete, Delivery, Event, Millis, Retry, State
from triggerhub.policy.batching import look_again, ready
from triggerhub.store import Answered, Appended, Claimed, Created, Fence, Grant, Intake, Repeated, Settlement, Want
from triggerhub.stores import rows
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.lost import LOST_LIMIT, LOST_REASON
from triggerhub.stores.rows import CANCELLED, DEAD, QUEUED, STATES, SUCCEEDED
from triggerhub.stores.writer import Transaction

CLAIMABLE = "function = ? AND trigger = ? AND state = 0 AND blocked = 0"


def append(
    t: Transaction,
    blobs: Blobs,
    intakes: Sequence[Intake],
    now: Millis,
    checkpoints: Mapping[tuple[str, str], str | None],
) -> list[Appended]:
    """Accept events and write checkpoints."""
    answers = [_append(t, blobs, intake, now) for intake in intakes]
    put_checkpoints(t, checkpoints)
    return answers


def _append(t: Transaction, blobs: Blobs, intake: Intake, now: Millis) -> Appended:
    event, owed = intake.event, intake.owed
    if event.dedup_key is not None and (known := _known(t, event, len(owed), now, intake.keep)):
        return known
    rows.put_event(t.db, event, blobs)
    made = tuple(ids.delivery_id(event.id, number) for number in range(1, len(owed) + 1))
    due = max(now, event.due or now)
    for delivery, one in zip(made, owed, strict=True):
        t.db.execute(
            "INSERT INTO delivery (id, trigger, function, state, blocked, attempts, created, due, dedup_key, "
            "ordering_key, idempotency_key) VALUES (?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?)",
            (delivery, event.trigger, one.function, now, due, event.dedup_key, event.ordering_key, one.idempotency_key),
        )
        t.count(one.function, event.trigger, State.QUEUED, 1)
        if event.ordering_key is not None:
            line_up(t, one.function, event.trigger, event.ordering_key)
    t.count("", "", "accepted", len(made))
    return Created(event=event.id, deliveries=made)


def _known(t: Transaction, event: Event, owed: int, now: Millis, keep: Millis) -> Repeated | None:
    """Take the event's dedup key, or return who has it within its horizon."""
    taken = t.db.execute(
        "INSERT INTO key VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET event = excluded.event, "
        "owed = excluded.owed, expires = excluded.expires WHERE expires <= ? RETURNING 1",
        (event.trigger, event.dedup_key, event.id, owed, now + keep, now),
    ).fetchall()
    if taken:
        return None
    first, count = t.db.execute(
        "SELECT event, owed FROM key WHERE trigger = ? AND key = ?", (event.trigger, event.dedup_key)
    ).fetchone()
    return Repeated(event=first, deliveries=tuple(ids.delivery_id(first, n) for n in range(1, count + 1)))


def line_up(t: Transaction, function: str, trigger: str, key: str) -> None:
    """Let the oldest of an ordering key's unfinished deliveries be claimed, and no other; none while one runs."""
    line = (function, trigger, key)
    where = "function = ? AND trigger = ? AND ordering_key = ? AND state < 2"
    t.db.execute(f"UPDATE delivery SET blocked = 1 WHERE {where} AND state = 0 AND blocked = 0", line)
    t.db.execute(
        f"UPDATE delivery SET blocked = 0 WHERE id = (SELECT id FROM delivery WHERE {where} ORDER BY id LIMIT 1) "
        f"AND state = 0 AND NOT EXISTS (SELECT 1 FROM delivery WHERE {where} AND state = 1)",
        (*line, *line),
    )


def claim(t: Transaction, blobs: Blobs, wants: Sequence[Want], owner: int, now: Millis) -> list[Grant]:
    """Make due deliveries running."""
    return [_claim(t, blobs, want, owner, now) for want in wants]


def _claim(t: Transaction, blobs: Blobs, want: Want, owner: int, now: Millis) -> Grant:
    lane = (want.lane.function, want.lane.trigger)
    if want.size > 1 or want.window:
        due, oldest = _due(t, lane, now, want.size)
        if not ready(due, oldest, size=want.size, window=want.window, now=now):
            moment = look_again(due, oldest, size=want.size, window=want.window, now=now)
            return Grant([], _earliest(t, lane) if moment is None else moment)
    found = t.db.execute(
        f"SELECT {rows.DELIVERY}, {rows.EVENT} FROM delivery d JOIN event e ON e.id = substr(d.id, 1, 34) || '00' "
        "WHERE d.function = ? AND d.trigger = ? AND d.state = 0 AND d.blocked = 0 AND d.due <= ? "
        "ORDER BY d.due, d.id LIMIT ?",
        (*lane, now, want.limit),
    ).fetchall()
    claimed: list[Claimed] = []
    for row in found:
        delivery = rows.delivery(row)
        try:
            event = rows.event(row[rows.DELIVERY_WIDTH :], blobs)
        except rows.Damaged as error:
            _end(t, delivery, DEAD, now, str(error))
            continue
        delivery.state, delivery.attempts, delivery.claims = State.RUNNING, delivery.attempts + 1, delivery.claims + 1
        claimed.append(Claimed(delivery, event, Fence(owner, delivery.claims)))
    t.db.executemany(
        "UPDATE delivery SET state = 1, attempts = attempts + 1, claims = claims + 1, owner = ? WHERE id = ?",
        [(owner, one.delivery.id) for one in claimed],
    )
    if claimed:
        t.count(*lane, State.QUEUED, -len(claimed))
        t.count(*lane, State.RUNNING, len(claimed))
    return Grant(claimed, _after(t, want, lane, now))


def _due(t: Transaction, lane: tuple[str, str], now: Millis, size: int) -> tuple[int, Millis | None]:
    due, oldest = t.db.execute(
        f"SELECT count(*), min(due) FROM (SELECT due FROM delivery WHERE {CLAIMABLE} AND due <= ? "
        "ORDER BY due, id LIMIT ?)",
        (*lane, now, size),
    ).fetchone()
    return due, oldest


def _earliest(t: Transaction, lane: tuple[str, str]) -> Millis | None:
    row = t.db.execute(f"SELECT due FROM delivery WHERE {CLAIMABLE} ORDER BY due, id LIMIT 1", lane).fetchone()
    return row[0] if row else None


def _after(t: Transaction, want: Want, lane: tuple[str, str], now: Millis) -> Millis | None:
    """Say when the lane may have something more."""
    earliest = _earliest(t, lane)
    if earliest is None or earliest > now or (want.size == 1 and not want.window):
        return earliest
    due, oldest = _due(t, lane, now, want.size)
    return look_again(due, oldest, size=want.size, window=want.window, now=now)


def settle(t: Transaction, blobs: Blobs, settlements: Sequence[Settlement], now: Millis) -> list[bool]:
    """Carry out decisions where their fences hold."""
    return [_settle(t, blobs, one, now) for one in settlements]


def _settle(t: Transaction, blobs: Blobs, one: Settlement, now: Millis) -> bool:
    state, uncounted = SUCCEEDED, 0
    due: Millis | None = None
    finished: Millis | None = now
    reason: str | None = None
    match one.decision:
        case Complete(why):
            reason = why
        case Bury(why):
            state, reason = DEAD, why
        case Retry(at, counted):
            state, due, finished, uncounted = QUEUED, at, None, 0 if counted else 1
    attempt = one.attempt
    error = attempt.error if attempt else None
    held = t.db.execute(
        "UPDATE delivery SET state = ?, due = coalesce(?, due), finished = ?, reason = ?, attempts = attempts - ?, "
        "version = coalesce(?, version), duration = coalesce(?, duration), error_type = ?, error_message = ? "
        "WHERE id = ? AND state = 1 AND owner = ? AND claims = ? RETURNING function, trigger, ordering_key",
        (
            state,
            due,
            finished,
            reason,
            uncounted,
            attempt.version if attempt else None,
            attempt.duration_ms if attempt else None,
            error.type if error else None,
            error.message if error else None,
            one.delivery,
            one.fence.owner,
            one.fence.claim,
        ),
    ).fetchall()
    if not held:
        return False
    function, trigger, ordering_key = held[0]
    t.count(function, trigger, State.RUNNING, -1)
    t.count(function, trigger, STATES[state], 1)
    if attempt:
        rows.put_attempt(t.db, one.delivery, attempt)
    if ordering_key is not None:
        line_up(t, function, trigger, ordering_key)
    if one.answer:
        put_answer(t, one.answer)
    for intake in one.then:
        _append(t, blobs, intake, now)
    return True


def reap(t: Transaction, owner: int, now: Millis) -> list[str]:
    """Give back what other owners left running."""
    found = t.db.execute(
        f"SELECT {rows.DELIVERY} FROM delivery d WHERE d.state = 1 AND d.owner <> ?", (owner,)
    ).fetchall()
    given_back = []
    for row in found:
        one = rows.delivery(row)
        if one.lost + 1 >= LOST_LIMIT:
            t.db.execute("UPDATE delivery SET lost = lost + 1, attempts = attempts - 1 WHERE id = ?", (one.id,))
            _end(t, one, DEAD, now, LOST_REASON)
            continue
        t.db.execute("UPDATE delivery SET state = 0, lost = lost + 1, attempts = attempts - 1 WHERE id = ?", (one.id,))
        t.count(one.function, one.trigger, State.RUNNING, -1)
        t.count(one.function, one.trigger, State.QUEUED, 1)
        if one.ordering_key is not None:
            line_up(t, one.function, one.trigger, one.ordering_key)
        given_back.append(one.id)
    return given_back


def _end(t: Transaction, one: Delivery, state: int, now: Millis, reason: str) -> None:
    t.db.execute(
        "UPDATE delivery SET state = ?, finished = ?, reason = ?, blocked = 0 WHERE id = ?",
        (state, now, reason, one.id),
    )
    t.count(one.function, one.trigger, one.state, -1)
    t.count(one.function, one.trigger, STATES[state], 1)
    if one.ordering_key is not None:
        line_up(t, one.function, one.trigger, one.ordering_key)


def cancel(t: Transaction, deliveries: Sequence[str], now: Millis, reason: str) -> list[str]:
    """End what is not finished."""
    found = [one for one in find(t, deliveries) if not one.state.finished]
    for one in found:
        _end(t, one, CANCELLED, now, reason)
    return [one.id for one in found]


def redrive(t: Transaction, deliveries: Sequence[str], now: Millis) -> list[str]:
    """Queue what is finished again."""
    found = [one for one in find(t, deliveries) if one.state.finished]
    for one in found:
        t.db.execute(
            "UPDATE delivery SET state = 0, attempts = 0, due = ?, finished = NULL, reason = NULL, error_type = NULL, "
            "error_message = NULL WHERE id = ?",
            (now, one.id),
        )
        t.count(one.function, one.trigger, one.state, -1)
        t.count(one.function, one.trigger, State.QUEUED, 1)
        if one.ordering_key is not None:
            line_up(t, one.function, one.trigger, one.ordering_key)
    return [one.id for one in found]


def find(t: Transaction, deliveries: Sequence[str]) -> list[Delivery]:
    """Read deliveries, in the order asked for, each once."""
    found = []
    for one in dict.fromkeys(deliveries):
        row = t.db.execute(f"SELECT {rows.DELIVERY} FROM delivery d WHERE d.id = ?", (one,)).fetchone()
        if row:
            found.append(rows.delivery(row))
    return found


def put_answer(t: Transaction, answer: Answered) -> None:
    """Keep a function's answer for its idempotency key."""
    t.db.execute(
        "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
        (answer.function, answer.key, answer.payload, answer.until),
    )


def put_checkpoints(t: Transaction, values: Mapping[tuple[str, str], str | None]) -> None:
    """Write or remove checkpoints."""
    if not values:
        return
    t.db.executemany(
        "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)",
        [(*key, value) for key, value in values.items() if value is not None],
    )
    t.db.executemany(
        "DELETE FROM checkpoint WHERE scope = ? AND key = ?", [key for key, value in values.items() if value is None]
    )
