"""Change what people and the hub's own housekeeping ask for: cancel, redrive, retry, discard, prune."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Container, Mapping, Sequence
from itertools import accumulate

from triggerhub import ids
from triggerhub.model import Delivery, Millis, State
from triggerhub.settings import MB
from triggerhub.stores import queue, rows
from triggerhub.stores.rows import CANCELLED, DEAD, NAMES, QUEUED, SUCCEEDED
from triggerhub.stores.transaction import Transaction

SWEEP = 2000
"""How many expired keys, or answers, one transaction removes."""
LOAD = 16 * MB
"""Of payloads and answers, what one transaction removes: their pages are overwritten, and go through the log."""
_FIRST = ids.first_at(0)
OLD = (
    "SELECT id, coalesce((SELECT length(data) FROM event WHERE seq = d.event), 0)"
    " + coalesce((SELECT sum(length(payload)) FROM attempt WHERE delivery = d.id), 0) "
    "FROM delivery d WHERE function = ? AND trigger = ? AND state = ? AND id >= ? AND id < ? "
    "AND finished < ? ORDER BY id LIMIT ?"
)


def find(t: Transaction, deliveries: Sequence[str]) -> list[Delivery]:
    """Read deliveries in the order asked for, each once."""
    t.flush()
    found = t.db.execute(
        f"SELECT {rows.DELIVERY} FROM json_each(?) j CROSS JOIN delivery d ON d.id = j.value",
        (json.dumps(list(deliveries)),),
    )
    known = {row[0]: rows.delivery(row) for row in found}
    return [known[one] for one in dict.fromkeys(deliveries) if one in known]


def cancel(t: Transaction, deliveries: Sequence[str], now: Millis, reason: str) -> list[str]:
    """End what is not finished."""
    found = [one for one in find(t, deliveries) if not one.state.finished]
    for one in found:
        queue.end(t, one, CANCELLED, now, reason)
    return [one.id for one in found]


def redrive(t: Transaction, deliveries: Sequence[str], states: Container[State], now: Millis) -> list[str]:
    """Queue what stands in one of these finished states again, in its old place in line."""
    found = [one for one in find(t, deliveries) if one.state in states]
    for one in found:
        t.db.execute(
            "UPDATE delivery SET state = 0, blocked = ?, attempts = 0, lost = 0, due = ?, since = ?, "
            "finished = NULL, reason = NULL, error_type = NULL, error_message = NULL WHERE id = ?",
            (one.ordering_key is not None, now, now, one.id),
        )
        queue.moved(t, one, QUEUED)
    return [one.id for one in found]


def retry(t: Transaction, deliveries: Sequence[str], now: Millis) -> list[str]:
    """Make due now what waits for its next attempt; who is behind another in line stays there."""
    found = [one.id for one in find(t, deliveries) if one.retrying(now)]
    t.db.executemany("UPDATE delivery SET due = ? WHERE id = ?", [(now, one) for one in found])
    return found


def discard(t: Transaction, deliveries: Sequence[str]) -> list[str]:
    """Remove dead deliveries."""
    dead = [one for one in find(t, deliveries) if one.state is State.DEAD]
    _remove(t, dead, "discarded")
    return [one.id for one in dead]


def old(
    db: sqlite3.Connection, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int
) -> list[tuple[str, Millis]]:
    """Return what may be pruned, and the moment that each must have ended before.

    For a reader, so that nothing waits behind the search through what was redriven long after it was made.
    """
    found: list[tuple[str, Millis]] = []
    load = 0
    for state in (SUCCEEDED, CANCELLED, DEAD):
        lanes = db.execute("SELECT function, trigger FROM tally WHERE entry = ?", (NAMES[state],))
        for function, trigger in lanes.fetchall():
            before = dead_before.get(function, finished_before) if state == DEAD else finished_before
            # A delivery is made before it is finished: the bound on ids keeps young history out of the search.
            # Those that lie ahead tell no time: the clock was wrong when they, or some before them, were made.
            for first, end in ((_FIRST, ids.first_at(max(before, 0))), (ids.first_at(now), ids.LAST)):
                bounds = (function, trigger, state, first, end, before, limit - len(found))
                for delivery, size in db.execute(OLD, bounds):
                    found.append((delivery, before))
                    load += size
                    if load >= LOAD:
                        return found
    return found


def prune(t: Transaction, candidates: Sequence[tuple[str, Millis]]) -> int:
    """Remove what :func:`old` found and nobody redrove since."""
    before = dict(candidates)
    gone = [one for one in find(t, list(before)) if one.finished is not None and one.finished < before[one.id]]
    _remove(t, gone, "pruned")
    return len(gone)


def sweep(t: Transaction, now: Millis) -> bool:
    """Remove expired leases, and expired keys and answers up to a number; whether there may be more."""
    t.db.execute("DELETE FROM lease WHERE until <= ?", (now,))
    keys = t.db.execute(
        "DELETE FROM key WHERE (trigger, key) IN "
        "(SELECT trigger, key FROM key WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (now, SWEEP),
    )
    return _sweep_answers(t, now) or keys.rowcount == SWEEP


def _sweep_answers(t: Transaction, now: Millis) -> bool:
    found = t.db.execute(
        "SELECT function, key, length(payload) FROM answer WHERE expires <= ? ORDER BY expires LIMIT ?", (now, SWEEP)
    ).fetchall()
    before = accumulate((size for *_, size in found), initial=0)
    gone = [(function, key) for (function, key, _), load in zip(found, before, strict=False) if load < LOAD]
    t.db.executemany("DELETE FROM answer WHERE function = ? AND key = ?", gone)
    return len(gone) < len(found) or len(found) == SWEEP


def _remove(t: Transaction, deliveries: Sequence[Delivery], entry: str) -> None:
    names = json.dumps([one.id for one in deliveries])
    of = "(SELECT event FROM json_each(?) j CROSS JOIN delivery d ON d.id = j.value)"
    events = t.db.execute(f"SELECT seq, blob FROM event WHERE seq IN {of}", (names,)).fetchall()
    t.db.execute("DELETE FROM attempt WHERE delivery IN (SELECT value FROM json_each(?))", (names,))
    t.db.execute("DELETE FROM delivery WHERE id IN (SELECT value FROM json_each(?))", (names,))
    left = {
        row[0]
        for event in {one.event_id for one in deliveries}
        for row in t.db.execute(
            "SELECT event FROM delivery WHERE id > ? AND id <= ? LIMIT 1",
            (event, ids.delivery_id(event, ids.MAX_FAN_OUT)),
        )
    }
    gone = [(seq, blob) for seq, blob in events if seq not in left]
    t.db.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq, _ in gone])
    t.orphans.update(blob for _, blob in gone if blob is not None)
    for one in deliveries:
        t.count(one.function, one.trigger, str(one.state), -1)
    t.count("", "", entry, len(deliveries))
