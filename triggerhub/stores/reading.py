"""Read the database for people and for the hub: list, show, count, audit; nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, takewhile
from pathlib import Path
from typing import Any

from anyio import from_thread

from triggerhub import ids
from triggerhub.model import Delivery, Event, Millis, State
from triggerhub.settings import HOUR, MB
from triggerhub.store import Detail, Lane, Query, Stats
from triggerhub.stores import rows
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.rows import DEAD, NAMES, QUEUED, RUNNING

LEDGER = ("accepted", "discarded", "pruned")
_SINCE = "id < ? AND id >= ? AND created >= ? ORDER BY id DESC LIMIT ?"
NEWEST = f"SELECT {rows.DELIVERY} FROM delivery d WHERE {_SINCE}"
NEWEST_OF = f"SELECT {rows.DELIVERY} FROM delivery d WHERE function = ? AND trigger = ? AND state = ? AND {_SINCE}"
NEWEST_ID = (
    "SELECT id FROM delivery WHERE function = ? AND trigger = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT 1"
)
KNOWN = (
    f"SELECT {rows.DELIVERY}, j.key, k.key FROM json_each(?) j CROSS JOIN key k ON k.trigger = j.value ->> 0 "
    "AND k.key = j.value ->> 1 AND k.expires > j.value ->> 2 "
    "CROSS JOIN delivery d ON d.id = substr(k.event, 1, length(k.event) - 2) || '01'"
)
"""The first delivery of each event: see ``ids.delivery_id``."""
HELD = (
    "SELECT count(*), coalesce(sum(length(data)), 0), json_group_array(DISTINCT blob) FILTER (WHERE blob IS NOT NULL) "
    "FROM event WHERE seq IN (SELECT d.event FROM (SELECT DISTINCT function, trigger FROM tally) l "
    "CROSS JOIN delivery d ON d.function = l.function AND d.trigger = l.trigger "
    f"AND d.state IN ({QUEUED}, {RUNNING}, {DEAD}))"
)
"""The events that no pruning by age takes, and their payloads within the database and beside it."""
LASTING = (
    "SELECT (SELECT coalesce(sum(length(payload)), 0) FROM answer)"
    " + (SELECT coalesce(sum(length(value)), 0) FROM checkpoint)"
)
_ROW = 256
"""What an event takes beside its payload, about."""
EXAMINED = 1024 * MB
"""A larger database is not searched for damage while the hub runs."""
_STEPS = 100_000
"""Of SQLite's machine between two looks at whether to go on."""
_FINDINGS = 10
_LENGTH = len(ids.first_at(0))


def page(db: sqlite3.Connection, query: Query) -> list[Delivery]:
    """Return deliveries, newest first, by keyset: from the ranges of the lanes and states that are asked for."""
    since = query.since or 0
    # An event may wait for room on the disk between its id and its acceptance: the bound has some slack.
    bounds = (query.before or ids.LAST, ids.first_at(max(since - HOUR, 0)), since, query.limit)
    if query.function is None and query.trigger is None and query.state is None:
        return [rows.delivery(row) for row in db.execute(NEWEST, bounds)]
    ranges = db.execute(
        "SELECT function, trigger, entry FROM tally WHERE function <> '' "
        "AND (?1 IS NULL OR function = ?1) AND (?2 IS NULL OR trigger = ?2) AND (?3 IS NULL OR entry = ?3)",
        (query.function, query.trigger, query.state),
    ).fetchall()
    places = [(function, trigger, NAMES.index(entry)) for function, trigger, entry in ranges]
    return [rows.delivery(row) for row in islice(_merged(db, places, bounds), query.limit)]


def _merged(
    db: sqlite3.Connection, places: Sequence[tuple[str, str, int]], bounds: tuple[Any, ...]
) -> Iterator[tuple[Any, ...]]:
    """Merge the rows of lanes' states, newest first: a run of one range at a time, since runs are long.

    A range is opened when the newest id in it is reached; most pages are over before that.
    """
    opened: dict[int, sqlite3.Cursor] = {}
    heads: list[tuple[str, int, tuple[Any, ...] | None]] = [
        (newest[0], number, None)
        for number, place in enumerate(places)
        if (newest := db.execute(NEWEST_ID, (*place, bounds[0])).fetchone())
    ]
    heads.sort()
    while heads:
        _, number, row = heads.pop()
        below = heads[-1][0] if heads else ""
        if row is None:
            # They run side by side: without a text of its own for each, all but one are compiled anew every time.
            opened[number] = db.execute(f"{NEWEST_OF} -- {number}", (*places[number], *bounds))
            row = opened[number].fetchone()
        while row is not None and row[0] > below:
            yield row
            row = opened[number].fetchone()
        if row is not None:
            insort(heads, (row[0], number, row))


def get(db: sqlite3.Connection, delivery: str, blobs: Blobs) -> Detail | None:
    """Return all that is kept of a delivery."""
    row = db.execute(f"{rows.BOTH} WHERE d.id = ?", (delivery,)).fetchone()
    if row is None:
        return None
    event = rows.event(row, blobs, checked=False)
    return Detail(delivery=rows.delivery(row), event=event, attempts=rows.attempts(db, delivery))


def event(db: sqlite3.Connection, event: str, blobs: Blobs) -> tuple[Event, list[Delivery]] | None:
    """Return an event and its deliveries that are still kept: the range of keys right after its id."""
    if len(event) != _LENGTH or event != ids.event_of(event):
        return None  # whatever it is, the range after it could be the whole table
    owed = db.execute(
        f"{rows.BOTH} WHERE d.id > ? AND d.id <= ? ORDER BY d.id", (event, ids.delivery_id(event, ids.MAX_FAN_OUT))
    ).fetchall()
    if not owed:
        return None
    return rows.event(owed[0], blobs, checked=False), [rows.delivery(row) for row in owed]


def answers(db: sqlite3.Connection, keys: Sequence[tuple[str, str]], now: Millis) -> list[bytes | None]:
    """Return stored answers that have not expired."""
    ask = "SELECT payload FROM answer WHERE function = ? AND key = ? AND expires > ?"
    found = [db.execute(ask, (*key, now)).fetchone() for key in keys]
    return [row[0] if row else None for row in found]


def known(db: sqlite3.Connection, asked: Sequence[tuple[str, Sequence[str], Millis]]) -> list[dict[str, Delivery]]:
    """Return by trigger, dedup keys and moment the first delivery of each event that has one of the keys then."""
    keys = [(trigger, key, now) for trigger, keys, now in asked for key in keys]
    ends = list(accumulate(len(keys) for _, keys, _ in asked))
    found: list[dict[str, Delivery]] = [{} for _ in asked]
    for *columns, place, key in db.execute(KNOWN, (json.dumps(keys),)).fetchall():
        found[bisect_right(ends, place)][key] = rows.delivery(columns)
    return found


def checkpoints(db: sqlite3.Connection, scope: str, prefix: str) -> dict[str, str]:
    """Return the checkpoints of a scope under keys with *prefix*: those lie together, from the prefix on."""
    found = db.execute("SELECT key, value FROM checkpoint WHERE scope = ? AND key >= ? ORDER BY key", (scope, prefix))
    return dict(takewhile(lambda row: row[0].startswith(prefix), found))


def stats(db: sqlite3.Connection) -> Stats:
    """Return the ledgers."""
    ledger = dict.fromkeys(LEDGER, 0)
    lanes: dict[Lane, dict[State, int]] = defaultdict(dict)
    for function, trigger, entry, number in db.execute("SELECT function, trigger, entry, number FROM tally"):
        if entry in ledger:
            ledger[entry] += number
        else:
            lanes[Lane(trigger, function)][rows.entry(entry)] = number
    return Stats(**ledger, by_lane=dict(lanes))


def audit(db: sqlite3.Connection) -> list[str]:
    """Count every row and compare with the ledgers."""
    told = stats(db)
    counted: dict[Lane, dict[State, int]] = defaultdict(dict)
    for function, trigger, state, number in db.execute(
        "SELECT function, trigger, state, count(*) FROM delivery GROUP BY function, trigger, state"
    ):
        counted[Lane(trigger, function)][rows.state(state)] = number
    differences = [
        f"{lane.trigger} → {lane.function}: {there} {state} deliveries, the ledger says {said}"
        for lane in sorted({*told.by_lane, *counted}, key=lambda lane: (lane.trigger, lane.function))
        for state in State
        if (there := counted.get(lane, {}).get(state, 0)) != (said := told.by_lane.get(lane, {}).get(state, 0))
    ]
    if told.drift:
        differences.append(
            f"{told.accepted} deliveries were accepted; the ledger accounts for {told.accepted - told.drift}"
        )
    return differences


def examine(path: Path) -> list[str]:
    """Let SQLite look at every page and index of the database at *path*; return what it finds.

    Runs in a worker thread, on a connection of its own; ends early where whoever waits for it is cancelled. A
    database over EXAMINED is not looked at: meanwhile its log could not be moved. sqlite3.Error.
    """
    if path.stat().st_size > EXAMINED:
        return []
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        db.set_progress_handler(from_thread.check_cancelled, _STEPS)
        found = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({_FINDINGS})")]
    finally:
        db.close()
    return [] if found == ["ok"] else [f"the database is damaged: {one}" for one in found]


def size(db: sqlite3.Connection) -> int:
    """Return the bytes of the pages in use; free pages are used again, so they would not fall by pruning."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (width,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * width)


def held(db: sqlite3.Connection, blobs: Blobs) -> int:
    """Return about how many bytes are neither history nor free."""
    events, inline, files = db.execute(HELD).fetchone()
    (lasting,) = db.execute(LASTING).fetchone()
    return int(events * _ROW + inline + lasting) + sum(map(blobs.length, json.loads(files)))
