"""Keep events and deliveries in one SQLite file: the store of a hub on one machine."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

import anyio

from triggerhub import ids
from triggerhub.model import Delivery, Event, Millis, State
from triggerhub.store import (
    Answered,
    Appended,
    Detail,
    Grant,
    Intake,
    Lane,
    Lease,
    Query,
    Settlement,
    Stats,
    Want,
)
from triggerhub.stores import housekeeping, queue, rows
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.lock import locked
from triggerhub.stores.migrate import migrate
from triggerhub.stores.reserve import Reserve
from triggerhub.stores.writer import Connection, Transaction, Writer, translate

Result = TypeVar("Result")
LEDGER = ("accepted", "discarded", "pruned")


@asynccontextmanager
async def open_store(data: Path, *, durability: Literal["full", "normal"] = "full") -> AsyncGenerator[SQLiteStore]:
    """Open ``hub.db`` in *data*, made if it is missing; leaving commits and closes.

    Raises HubLocked while another hub has the folder, ConfigError for a database of a newer version.
    """
    path = data / "hub.db"
    with locked(data):
        reserve = Reserve(data)
        reserve.hold()
        blobs = Blobs(data / "blobs", sync=durability == "full")
        async with _connected(path, _prepare(durability)) as connection:
            await connection.run(migrate, path)
            owner = await connection.run(_opening)
            async with (
                _connected(path, _prepare_reader, mode="ro") as reader,
                Writer(connection, path, reserve).open() as writer,
            ):
                yield SQLiteStore(writer, reader, blobs, path, owner)


@asynccontextmanager
async def _connected(
    path: Path, prepare: Callable[[sqlite3.Connection], None], mode: str = "rwc"
) -> AsyncGenerator[Connection]:
    def connect() -> sqlite3.Connection:
        uri = f"file:{path.as_posix().replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode={mode}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=256)

    connection = Connection(connect, 64)
    with anyio.CancelScope(shield=True):
        await connection
    try:
        await connection.run(prepare)
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


def _prepare(durability: str) -> Callable[[sqlite3.Connection], None]:
    def prepare(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {durability}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA journal_size_limit = 67108864")
        db.execute("PRAGMA cache_size = -16384")

    return prepare


def _prepare_reader(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA query_only = ON")


def _opening(db: sqlite3.Connection) -> int:
    db.execute("INSERT INTO opening (pid) VALUES (?)", (os.getpid(),))
    (owner,) = db.execute("SELECT max(owner) FROM opening").fetchone()
    db.execute("DELETE FROM opening WHERE owner < ?", (owner - 100,))
    return int(owner)


class SQLiteStore:
    """A ``store.Store`` in one file, one writer, one reader."""

    def __init__(self, writer: Writer, reader: Connection, blobs: Blobs, path: Path, owner: int) -> None:
        self.owner = owner
        self.writer = writer
        self._reader = reader
        self._blobs = blobs
        self._path = path

    # intake and dispatch

    async def append(
        self, intakes: Sequence[Intake], *, now: Millis, checkpoints: Mapping[tuple[str, str], str | None] | None = None
    ) -> list[Appended]:
        return await self.writer.do(
            lambda t: queue.append(t, self._blobs, intakes, now, checkpoints or {}), intake=bool(intakes)
        )

    async def claim(self, wants: Sequence[Want], *, now: Millis) -> list[Grant]:
        return await self.writer.do(lambda t: queue.claim(t, self._blobs, wants, self.owner, now))

    async def settle(self, settlements: Sequence[Settlement], *, now: Millis) -> list[bool]:
        return await self.writer.do(lambda t: queue.settle(t, self._blobs, settlements, now))

    async def reap(self, *, now: Millis) -> list[str]:
        return await self.writer.do(lambda t: queue.reap(t, self.owner, now))

    async def answer(self, keys: Sequence[tuple[str, str]], *, now: Millis) -> list[bytes | None]:
        def read(db: sqlite3.Connection) -> list[bytes | None]:
            found = [
                db.execute(
                    "SELECT payload FROM answer WHERE function = ? AND key = ? AND expires > ?", (*key, now)
                ).fetchone()
                for key in keys
            ]
            return [row[0] if row else None for row in found]

        return await self._read(read)

    async def keep_answer(self, answer: Answered) -> None:
        await self.writer.do(lambda t: queue.put_answer(t, answer))

    # coordination

    async def lease(self, name: str, holder: str, ttl: Millis, *, now: Millis) -> Lease | None:
        def take(t: Transaction) -> Lease | None:
            taken = t.db.execute(
                "INSERT INTO lease VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, "
                "until = excluded.until WHERE holder = excluded.holder OR until <= ? RETURNING until",
                (name, holder, now + ttl, now),
            ).fetchall()
            return Lease(name=name, holder=holder, until=taken[0][0]) if taken else None

        return await self.writer.do(take)

    async def unlease(self, name: str, holder: str) -> None:
        def drop(t: Transaction) -> None:
            t.db.execute("DELETE FROM lease WHERE name = ? AND holder = ?", (name, holder))

        await self.writer.do(drop)

    async def checkpoints(self, scope: str, prefix: str = "") -> dict[str, str]:
        def read(db: sqlite3.Connection) -> dict[str, str]:
            return dict(
                db.execute(
                    "SELECT key, value FROM checkpoint WHERE scope = ? AND key >= ? AND substr(key, 1, ?) = ?",
                    (scope, prefix, len(prefix), prefix),
                ).fetchall()
            )

        return await self._read(read)

    async def set_checkpoints(self, scope: str, values: Mapping[str, str | None]) -> None:
        scoped = {(scope, key): value for key, value in values.items()}
        await self.writer.do(lambda t: queue.put_checkpoints(t, scoped))

    # people

    async def page(self, query: Query) -> list[Delivery]:
        return await self._read(lambda db: housekeeping.page(db, query))

    async def get(self, delivery: str) -> Detail | None:
        def read(db: sqlite3.Connection) -> Detail | None:
            row = db.execute(
                f"SELECT {rows.DELIVERY}, {rows.EVENT} FROM delivery d JOIN event e ON e.id = ? WHERE d.id = ?",
                (ids.event_of(delivery), delivery),
            ).fetchone()
            if row is None:
                return None
            event = rows.event(row[rows.DELIVERY_WIDTH :], self._blobs)
            return Detail(delivery=rows.delivery(row), event=event, attempts=rows.attempts(db, delivery))

        return await self._read(read)

    async def event(self, event: str) -> tuple[Event, list[Delivery]] | None:
        def read(db: sqlite3.Connection) -> tuple[Event, list[Delivery]] | None:
            row = db.execute(f"SELECT {rows.EVENT} FROM event e WHERE e.id = ?", (event,)).fetchone()
            if row is None:
                return None
            owed = db.execute(
                f"SELECT {rows.DELIVERY} FROM delivery d WHERE d.id > ? AND d.id <= ? ORDER BY d.id",
                (event, ids.delivery_id(event, ids.MAX_FAN_OUT)),
            )
            return rows.event(row, self._blobs), [rows.delivery(one) for one in owed]

        return await self._read(read)

    async def redrive(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        return await self.writer.do(lambda t: queue.redrive(t, deliveries, now))

    async def cancel(self, deliveries: Sequence[str], *, now: Millis, reason: str) -> list[str]:
        return await self.writer.do(lambda t: queue.cancel(t, deliveries, now, reason))

    async def discard(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        gone, blobs = await self.writer.do(lambda t: housekeeping.discard(t, deliveries))
        await self._forget(blobs)
        return gone

    async def stats(self) -> Stats:
        def read(db: sqlite3.Connection) -> Stats:
            ledger = dict.fromkeys(LEDGER, 0)
            lanes: dict[Lane, dict[State, int]] = defaultdict(dict)
            for function, trigger, entry, number in db.execute("SELECT function, trigger, entry, number FROM tally"):
                if entry in ledger:
                    ledger[entry] += number
                else:
                    lanes[Lane(trigger, function)][State(entry)] = number
            return Stats(**ledger, by_lane=lanes)

        return await self._read(read)

    async def audit(self) -> list[str]:
        return await self._read(housekeeping.audit)

    async def prune(
        self, *, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int = 1000
    ) -> int:
        count, blobs = await self.writer.do(lambda t: housekeeping.prune(t, finished_before, dead_before, now, limit))
        await self._forget(blobs)
        return count

    async def size(self) -> int:
        def read(db: sqlite3.Connection) -> int:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            (free,) = db.execute("PRAGMA freelist_count").fetchone()
            (width,) = db.execute("PRAGMA page_size").fetchone()
            return int((pages - free) * width) + self._blobs.size()

        return await self._read(read)

    # within

    async def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return await self._reader.run(read)
        except (sqlite3.Error, OSError) as error:
            raise translate(error) from error

    async def _forget(self, blobs: Sequence[str]) -> None:
        """Remove payload files after the commit that left nobody using them."""
        if blobs:
            await self.writer.do(lambda t: housekeeping.forget(t, self._blobs, blobs))
