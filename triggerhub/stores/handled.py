"""Write what became of events that were never queued: their sources kept them until they were handled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triggerhub.crash import crash_point
from triggerhub.model import Delivery, Millis, State
from triggerhub.store import Appended, Created, Fence, Intake, Record, Settlement
from triggerhub.stores import many, queue, rows
from triggerhub.stores.coordination import put_checkpoints
from triggerhub.stores.intake import accept
from triggerhub.stores.rows import NAMES, QUEUED, RUNNING
from triggerhub.stores.transaction import Transaction

_RUN = ("state", "attempts", "claims", "owner")


def record(
    t: Transaction,
    records: Sequence[Record],
    owner: int,
    now: Millis,
    checkpoints: Mapping[tuple[str, str], str | None],
) -> list[Appended]:
    """Let each run and settle within the open transaction, so that the queue's own rules make its row."""
    answers: list[Appended] = []
    running: list[tuple[int, int, int, int, str]] = []
    settlements: list[Settlement] = []
    for one in records:
        answer, before = _taken(t, one.intake, now)
        answers.append(answer)
        if not answer.deliveries or (before is not None and before.state is not State.CANCELLED):
            continue
        name, ran = answer.deliveries[0], one.attempt is not None
        attempts, claims = (before.attempts, before.claims + 1) if before else (0, 1)
        trigger, function = one.intake.event.trigger, one.intake.owed[0].function
        t.count(function, trigger, str(before.state) if before else NAMES[QUEUED], -1)
        t.count(function, trigger, NAMES[RUNNING], 1)
        running.append((RUNNING, attempts + ran, claims, owner, name))
        settlements.append(
            Settlement(
                delivery=name,
                fence=Fence(owner, claims),
                decision=one.decision,
                attempt=one.attempt,
                answer=one.answer,
                then=one.then,
            )
        )
    t.flush()
    many.update(t.db, "delivery", "id", _RUN, running)
    queue.settle(t, settlements, now)
    put_checkpoints(t, checkpoints)
    crash_point("inside-record")
    return answers


def _taken(t: Transaction, intake: Intake, now: Millis) -> tuple[Appended, Delivery | None]:
    """Accept an event; return also the delivery as it stood, where its key is known and it is still kept."""
    answer = accept(t, intake, now)
    if isinstance(answer, Created) or not answer.deliveries:
        return answer, None
    t.flush()
    row = t.db.execute(f"SELECT {rows.DELIVERY} FROM delivery d WHERE d.id = ?", answer.deliveries[:1]).fetchone()
    if row is not None:
        return answer, rows.delivery(row)
    t.db.execute("DELETE FROM key WHERE trigger = ? AND key = ?", (intake.event.trigger, intake.event.dedup_key))
    return accept(t, intake, now), None
