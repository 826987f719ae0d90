"""Write what became of events that were never queued: their sources kept them until they were handled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from triggerhub import ids
from triggerhub.crash import crash_point
from triggerhub.model import Delivery, Millis, State
from triggerhub.store import Appended, Created, Fence, Intake, Record, Repeated, Settlement
from triggerhub.stores import intake, many, queue, rows
from triggerhub.stores.coordination import put_checkpoints
from triggerhub.stores.rows import NAMES, QUEUED, RUNNING
from triggerhub.stores.transaction import Transaction

_RUN = ("state", "attempts", "claims", "owner")


@dataclass(frozen=True, slots=True)
class Asked:
    """What one caller wants to be written."""

    records: Sequence[Record]
    now: Millis
    checkpoints: Mapping[tuple[str, str], str | None]


def record(t: Transaction, asked: Sequence[Asked], owner: int) -> list[list[Appended]]:
    """Write what many callers want, with few statements; each gets its own answers."""
    simple = [
        (about, one.now)
        for one in asked
        for record in one.records
        if len((about := record.intake).owed) == 1 and about.event.ordering_key is None
    ]
    fresh = intake.taken(t, simple)
    answers = [_record(t, one.records, owner, one.now, fresh) for one in asked]
    for one in asked:
        put_checkpoints(t, one.checkpoints)
    crash_point("inside-record")
    return answers


def _record(t: Transaction, records: Sequence[Record], owner: int, now: Millis, fresh: set[str]) -> list[Appended]:
    """Write each as if it had been accepted, run and settled within the open transaction.

    One that is *fresh*, which most are, goes into the store as it ended; one that was left goes the queue's own way.
    """
    answers: list[Appended] = []
    written: set[str] = set()
    running: list[tuple[int, int, int, int, str]] = []
    settlements: list[Settlement] = []
    ended: list[Settlement] = []
    for one in records:
        if one.intake.event.id in fresh:
            settlement = _settlement(one, ids.delivery_id(one.intake.event.id, 1), Fence(owner, 1))
            queue.run(t, settlement, intake.put_event(t, one.intake.event), one.intake, now)
            ended.append(settlement)
            written.add(settlement.delivery)
            answers.append(Created(event=one.intake.event.id, deliveries=(settlement.delivery,)))
            continue
        answer, before = _taken(t, one.intake, now)
        answers.append(answer)
        if not answer.deliveries or (before is not None and before.state is not State.CANCELLED):
            continue
        name, ran = answer.deliveries[0], one.attempt is not None
        if name in written:
            continue
        written.add(name)
        if isinstance(answer, Repeated):
            answers[-1] = replace(answer, resumed=True)
        attempts, claims = (before.attempts, before.claims + 1) if before else (0, 1)
        trigger, function = one.intake.event.trigger, one.intake.owed[0].function
        t.count(function, trigger, str(before.state) if before else NAMES[QUEUED], -1)
        t.count(function, trigger, NAMES[RUNNING], 1)
        running.append((RUNNING, attempts + ran, claims, owner, name))
        settlements.append(_settlement(one, name, Fence(owner, claims)))
    queue.follow(t, ended, now)
    if settlements:
        t.flush()
        many.update(t.db, "delivery", "id", _RUN, running)
        queue.settle(t, settlements, now)
    return answers


def _settlement(one: Record, delivery: str, fence: Fence) -> Settlement:
    return Settlement(
        delivery=delivery, fence=fence, decision=one.decision, attempt=one.attempt, answer=one.answer, then=one.then
    )


def _taken(t: Transaction, one: Intake, now: Millis) -> tuple[Appended, Delivery | None]:
    """Accept an event; return also the delivery as it stood, where its key is known and it is still kept.

    One that was left by another function is that function's: its trigger's has changed since.
    """
    answer = intake.accept(t, one, now)
    if isinstance(answer, Created) or not answer.deliveries:
        return answer, None
    t.flush()
    row = t.db.execute(f"SELECT {rows.DELIVERY} FROM delivery d WHERE d.id = ?", answer.deliveries[:1]).fetchone()
    before = None if row is None else rows.delivery(row)
    if before is not None and (before.state is not State.CANCELLED or before.function == one.owed[0].function):
        return answer, before
    t.db.execute("DELETE FROM key WHERE trigger = ? AND key = ?", (one.event.trigger, one.event.dedup_key))
    return intake.accept(t, one, now), None
