"""Search the database by the texts of errors and by keys, and count the dead by their error; nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from triggerhub import ids
from triggerhub.model import Delivery, State
from triggerhub.policy.grouping import Grave, Group, group
from triggerhub.policy.searching import lowered, tells
from triggerhub.settings import HOUR
from triggerhub.store import LOOKED_AT, Query
from triggerhub.stores import rows
from triggerhub.stores.rows import NAMES

_BOUNDS = "id < :before AND id >= :from"
_TEXT = "instr(lower(iif(:typed, error_type, error_type || ': ' || error_message)), :error)"
_OF = "(:function IS NULL OR function = :function) AND (:trigger IS NULL OR trigger = :trigger)"
DEAD_BY_ERROR = (
    f"SELECT id FROM delivery INDEXED BY delivery_dead WHERE state = 3 AND error_type IS NOT NULL AND {_BOUNDS} "
    f"AND {_OF} AND {_TEXT} ORDER BY id DESC LIMIT :limit"
)
"""Reads that index alone, from its beginning to its end."""
LANE_BY_ERROR = (
    "SELECT id FROM (SELECT id, error_type, error_message FROM delivery "
    "WHERE function = ? AND trigger = ? AND state = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?) "
    "WHERE error_type IS NOT NULL AND instr(lower(iif(?, error_type, error_type || ': ' || error_message)), ?) LIMIT ?"
)
LATER = (
    "SELECT id FROM (SELECT id, error_type FROM delivery INDEXED BY delivery_claimable "
    "WHERE function = ? AND trigger = ? AND state = 0 AND blocked = 0 AND due > ? "
    f"ORDER BY due LIMIT {LOOKED_AT}) WHERE error_type IS NOT NULL LIMIT ?"
)
"""Reads what is not due yet alone, however many wait that are."""
BY_KEY = (
    "SELECT id FROM (SELECT id, function, trigger, state, dedup_key, ordering_key FROM delivery "
    f"WHERE {_BOUNDS} ORDER BY id DESC LIMIT {LOOKED_AT}) WHERE (dedup_key = :key OR ordering_key = :key) LIMIT :limit"
)
REMEMBERED = "SELECT event, owed FROM key WHERE trigger = ? AND key = ?"
GRAVES = (
    "SELECT function, error_type, error_message, count(*), min(finished), max(finished), max(id) "
    "FROM delivery INDEXED BY delivery_dead WHERE state = 3 GROUP BY function, error_type, error_message LIMIT ?"
)
FETCHED = f"SELECT {rows.DELIVERY} FROM json_each(?) j CROSS JOIN delivery d ON d.id = j.value ORDER BY d.id DESC"


def page(db: sqlite3.Connection, query: Query) -> list[Delivery]:
    """Return the deliveries that a search by error or key finds, newest first."""
    names = {
        "function": query.function,
        "trigger": query.trigger,
        "before": query.before or ids.LAST,
        "from": ids.first_at(max((query.since or 0) - HOUR, 0)),
        "error": lowered(query.error or ""),
        "typed": query.typed,
        "key": query.key,
        "limit": query.limit,
    }
    found = set(_by_key(db, names) if query.key is not None else _by_error(db, query, names))
    fetched = db.execute(FETCHED, (json.dumps(sorted(found, reverse=True)),))
    kept = [row for row in map(rows.delivery, fetched) if fits(row, query)]
    return kept[: query.limit]


def _by_error(db: sqlite3.Connection, query: Query, names: dict[str, Any]) -> Iterator[str]:
    lanes = db.execute(
        "SELECT function, trigger, entry, number FROM tally WHERE function <> '' AND number > 0 "
        f"AND entry IN ('queued', 'running', 'dead', 'cancelled') AND {_OF} AND (:entry IS NULL OR entry = :entry)",
        {**names, "entry": query.state},
    ).fetchall()
    if query.later is not None:
        for function, trigger, _, _ in lanes:
            for row in db.execute(LATER, (function, trigger, query.later, query.limit)):
                yield row[0]
        return
    dead = sum(lane[3] for lane in lanes if lane[2] == State.DEAD)
    if 0 < dead <= LOOKED_AT:
        for row in db.execute(DEAD_BY_ERROR, names):
            yield row[0]
        lanes = [lane for lane in lanes if lane[2] != State.DEAD]
    for function, trigger, entry, _ in lanes:
        bounds = (names["before"], names["from"], LOOKED_AT // len(lanes), query.typed, names["error"], query.limit)
        for row in db.execute(LANE_BY_ERROR, (function, trigger, NAMES.index(entry), *bounds)):
            yield row[0]


def _by_key(db: sqlite3.Connection, names: dict[str, Any]) -> Iterator[str]:
    for (trigger,) in db.execute("SELECT DISTINCT trigger FROM tally WHERE trigger <> ''").fetchall():
        for event, owed in db.execute(REMEMBERED, (trigger, names["key"])):
            yield from (ids.delivery_id(event, number) for number in range(1, owed + 1))
    for row in db.execute(BY_KEY, names):
        yield row[0]


def fits(row: Delivery, query: Query) -> bool:
    """Whether a delivery is one that *query* asks for."""
    return (
        query.state in (None, row.state)
        and query.function in (None, row.function)
        and query.trigger in (None, row.trigger)
        and row.created >= (query.since or 0)
        and (query.later is None or row.waits(query.later))
        and (query.before is None or row.id < query.before)
        and (query.key is None or query.key in (row.dedup_key, row.ordering_key))
        and (query.error is None or (row.error is not None and tells(row.error, query.error, typed=query.typed)))
    )


def graves(db: sqlite3.Connection, limit: int) -> list[Group]:
    """Count the dead letters by function and fingerprint of error, from the index alone."""
    return group(
        Grave(function=row[0], type=row[1], message=row[2], count=row[3], first=row[4], last=row[5], newest=row[6])
        for row in db.execute(GRAVES, (limit,))
    )
