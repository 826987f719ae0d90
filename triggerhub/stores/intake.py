"""Accept events: their dedup keys, their rows, their places in line."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from triggerhub import ids
from triggerhub.model import Event, Millis, State
from triggerhub.store import Answered, Appended, Created, Intake, Repeated
from triggerhub.stores import line, many
from triggerhub.stores.blobs import LARGE
from triggerhub.stores.coordination import put_checkpoints
from triggerhub.stores.transaction import Transaction

_QUEUED = str(State.QUEUED)
_KEY = ("key", "(?, ?, ?, ?, ?)")
_UNLESS_KNOWN = (
    "ON CONFLICT DO UPDATE SET event = excluded.event, owed = excluded.owed, expires = excluded.expires "
    "WHERE expires <= ? RETURNING event"
)


def append(
    t: Transaction, intakes: Sequence[Intake], now: Millis, checkpoints: Mapping[tuple[str, str], str | None]
) -> list[Appended]:
    """Accept events and write checkpoints."""
    answers = [accept(t, intake, now) for intake in intakes]
    put_checkpoints(t, checkpoints)
    return answers


def accept(t: Transaction, intake: Intake, now: Millis) -> Appended:
    """Accept one event, or say who has its dedup key. ValueError where it is owed to too many."""
    event, owed = intake.event, intake.owed
    if len(owed) > ids.MAX_FAN_OUT:
        raise ValueError(f"event {event.id} is owed to {len(owed)} functions; expected at most {ids.MAX_FAN_OUT}")
    if event.dedup_key is not None and (known := _known(t, event, len(owed), now, intake.keep)):
        return known
    made = tuple(ids.delivery_id(event.id, number) for number in range(1, len(owed) + 1))
    if not made:
        return Created(event=event.id, deliveries=())
    row = put_event(t, event)
    due = max(now, event.due or now)
    trigger, ordering = event.trigger, event.ordering_key
    for delivery, one in zip(made, owed, strict=True):
        blocked = 0 if ordering is None else _stand(t, (one.function, trigger, ordering), delivery)
        t.add_delivery(
            delivery, row, trigger, one.function, blocked, now, due, event.dedup_key, ordering, one.idempotency_key,
            None if event.due is None else due,
        )  # fmt: skip
        t.count(one.function, trigger, _QUEUED, 1)
    t.count("", "", "accepted", len(made))
    return Created(event=event.id, deliveries=made)


def _known(t: Transaction, event: Event, owed: int, now: Millis, keep: Millis) -> Repeated | None:
    """Take the event's dedup key, or return who has it within its horizon."""
    key = (event.trigger, event.dedup_key, event.id, owed, now + keep)
    if many.inserted(t.db, *_KEY, [key], _UNLESS_KNOWN, (now,)):
        return None
    first, count = t.db.execute(
        "SELECT event, owed FROM key WHERE trigger = ? AND key = ?", (event.trigger, event.dedup_key)
    ).fetchone()
    return Repeated(event=first, deliveries=tuple(ids.delivery_id(first, n) for n in range(1, count + 1)))


def taken(t: Transaction, intakes: Sequence[tuple[Intake, Millis]]) -> set[str]:
    """Take the dedup keys of many events at once; return the events whose key was free, or who have none.

    Beside each is when it came; a key that ended between the first and the last of them is still known to all.
    """
    keys = [
        (event.trigger, event.dedup_key, event.id, len(one.owed), now + one.keep)
        for one, now in intakes
        if (event := one.event).dedup_key is not None
    ]
    earliest = min((now for _, now in intakes), default=0)
    free = {one.event.id for one, _ in intakes if one.event.dedup_key is None}
    return free.union(row[0] for row in many.inserted(t.db, *_KEY, keys, _UNLESS_KNOWN, (earliest,)))


def put_event(t: Transaction, event: Event) -> int:
    """Write an event at the next flush; returns the number that its deliveries name it by."""
    data: bytes | None = event.data
    blob, crc = None, zlib.crc32(event.data)
    if len(event.data) > LARGE:
        data, blob = None, t.put_blob(event.data)
    return t.add_event(event.time, data, blob, crc, event.trace, event.due, event.hops)


def _stand(t: Transaction, place: line.Line, delivery: str) -> int:
    """Return the blocked flag of a new delivery in its line."""
    first = t.heads.get(place) or line.head(t.db, place)
    if first is None:
        t.heads[place] = delivery
        return 0
    t.heads[place] = first
    if delivery < first:
        # What a settle appends was named before it committed; somebody younger may stand there by now.
        t.late.append(place)
    return 1


def put_answers(t: Transaction, answers: Sequence[Answered]) -> None:
    """Keep functions' answers for their idempotency keys."""
    t.db.executemany(
        "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
        [(one.function, one.key, one.payload, one.until) for one in answers],
    )
