"""Keep events and deliveries in one SQLite file: the store of a hub on one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio

from triggerhub.errors import Conflict, StoreBroken, StoreFull
from triggerhub.model import FINISHED, Delivery, Event, Millis, State
from triggerhub.policy.grouping import Group
from triggerhub.store import (
    Answered,
    Appended,
    Detail,
    Grant,
    Intake,
    Lane,
    Lease,
    Query,
    Record,
    Settlement,
    Stats,
    Want,
)
from triggerhub.stores import backup, coordination, folder, handled, housekeeping, intake, queue, reading, searching
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.connection import Connection, reader, writer
from triggerhub.stores.fault import locked_from_outside, translate
from triggerhub.stores.lock import locked
from triggerhub.stores.log import Log
from triggerhub.stores.lookup import Lookup
from triggerhub.stores.migrate import migrate
from triggerhub.stores.presence import Presence
from triggerhub.stores.reserve import Reserve
from triggerhub.stores.transaction import Transaction, used
from triggerhub.stores.writer import Writer

Result = TypeVar("Result")

_ROOM = "The data folder's disk needs room for a second database while a backup is written."


@asynccontextmanager
async def open_store(data: Path, *, durability: Literal["full", "normal"] = "full") -> AsyncGenerator[SQLiteStore]:
    """Open ``hub.db`` in *data*, made if it is missing; leaving commits and closes.

    Raises HubLocked while another hub has the folder, ConfigError for a database of a newer version,
    StoreBroken for a file that is no database.
    """
    with locked(data):
        backup.refuse_unfinished(data)
        backup.tidy(data)
        reserve = Reserve(data)
        reserve.hold()
        async with AsyncExitStack() as stack:
            try:
                store = await _open(stack, data, durability, reserve)
            except StoreFull:
                if not reserve.held:
                    raise
                # Out of the reserve: what is queued must go on.
                reserve.give_up()
                await stack.aclose()
                store = await _open(stack, data, durability, reserve)
            yield store


async def _open(
    stack: AsyncExitStack, data: Path, durability: Literal["full", "normal"], reserve: Reserve
) -> SQLiteStore:
    path = data / "hub.db"
    try:
        blobs = Blobs(data / "blobs", sync=durability == "full")
    except OSError as error:
        raise translate(error) from error
    stack.callback(blobs.close)
    log = Log(path)
    stack.callback(log.close)
    connection = await stack.enter_async_context(writer(path, durability))
    await connection.run(_empty_log)
    await connection.run(migrate, path)
    owner = await connection.run(_opening)
    await connection.run(lambda _: log.open())
    # SQLite does not look at whether this succeeds.
    await connection.run(lambda _: folder.sync(data))
    await connection.read(lambda db: blobs.sweep(lambda name: used(db, name)))
    quick = await stack.enter_async_context(reader(path))
    slow = await stack.enter_async_context(reader(path))
    writing = await stack.enter_async_context(Writer(connection, log, blobs, reserve, Presence(path)).open())
    return SQLiteStore(path, writing, quick, slow, blobs, owner)


def _empty_log(db: sqlite3.Connection) -> None:
    """Begin with an empty write-ahead log: what is in it is written anew, into the database.

    Its last sync may have failed. What is read from it then is what should have been written, and no later
    sync would write it: the next power cut would take it, and all that comes after it in the log.
    """
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise locked_from_outside()


def _opening(db: sqlite3.Connection) -> int:
    owner = db.execute("INSERT INTO opening (pid) VALUES (?)", (os.getpid(),)).lastrowid or 0
    db.execute("DELETE FROM opening WHERE owner < ?", (owner - 100,))
    return owner


class SQLiteStore:
    """A ``store.Store`` in one file: one writer, one reader for the hub, one for people's long questions."""

    def __init__(
        self, path: Path, writer: Writer, quick: Connection, slow: Connection, blobs: Blobs, owner: int
    ) -> None:
        self.owner = owner
        self._path = path
        self._copying = False
        self.writer = writer
        self._quick = quick
        self._slow = slow
        self._blobs = blobs
        self._lookup = Lookup(lambda asked: self._read(self._quick, reading.known, asked, whole=False))

    async def _read(
        self, connection: Connection, function: Callable[..., Result], *arguments: Any, whole: bool = True
    ) -> Result:
        """Read off the loop; not *whole* for a function of one statement, which sees one moment by itself."""
        try:
            return await (connection.read if whole else connection.run)(function, *arguments)
        except StoreBroken as fault:
            self.writer.fail(fault)
            raise

    # intake and dispatch

    async def append(
        self, intakes: Sequence[Intake], *, now: Millis, checkpoints: Mapping[tuple[str, str], str | None] | None = None
    ) -> list[Appended]:
        return await self.writer.see_through(
            lambda t: intake.append(t, intakes, now, checkpoints or {}), intake=bool(intakes)
        )

    async def claim(self, wants: Sequence[Want], *, now: Millis) -> list[Grant]:
        return await self.writer.see_through(lambda t: queue.claim(t, wants, self.owner, now))

    async def settle(self, settlements: Sequence[Settlement], *, now: Millis) -> list[bool]:
        return await self.writer.do(lambda t: queue.settle(t, settlements, now))

    async def record(
        self,
        records: Sequence[Record],
        *,
        now: Millis,
        checkpoints: Mapping[tuple[str, str], str | None] | None = None,
    ) -> list[Appended]:
        asked = handled.Asked(records, now, checkpoints or {})
        answers: list[Appended] = await self.writer.join(self._record, asked, intake=bool(records))
        return answers

    def _record(self, t: Transaction, asked: Sequence[handled.Asked]) -> list[list[Appended]]:
        return handled.record(t, asked, self.owner)

    async def known(self, trigger: str, keys: Sequence[str], *, now: Millis) -> dict[str, Delivery]:
        return await self._lookup.ask(trigger, keys, now)

    async def reap(self) -> list[str]:
        return await self.writer.do(lambda t: queue.reap(t, self.owner))

    async def answer(self, keys: Sequence[tuple[str, str]], *, now: Millis) -> list[bytes | None]:
        return await self._read(self._quick, reading.answers, keys, now)

    async def keep_answer(self, answer: Answered) -> None:
        await self.writer.do(lambda t: intake.put_answers(t, [answer]))

    # coordination

    async def lease(self, name: str, holder: str, ttl: Millis, *, now: Millis) -> Lease | None:
        return await self.writer.do(lambda t: coordination.lease(t, name, holder, ttl, now))

    async def unlease(self, name: str, holder: str) -> None:
        await self.writer.do(lambda t: coordination.unlease(t, name, holder))

    async def checkpoints(self, scope: str, prefix: str = "") -> dict[str, str]:
        return await self._read(self._quick, reading.checkpoints, scope, prefix)

    async def set_checkpoints(self, scope: str, values: Mapping[str, str | None]) -> None:
        scoped = {(scope, key): value for key, value in values.items()}
        await self.writer.do(lambda t: coordination.put_checkpoints(t, scoped))

    # people

    async def page(self, query: Query) -> list[Delivery]:
        if query.error is not None or query.key is not None:
            return await self._read(self._slow, searching.page, query)
        return await self._read(self._slow, reading.page, query)

    async def get(self, delivery: str) -> Detail | None:
        return await self._read(self._quick, reading.get, delivery, self._blobs)

    async def event(self, event: str) -> tuple[Event, list[Delivery]] | None:
        return await self._read(self._quick, reading.event, event, self._blobs)

    async def hasten(self, by: Millis, *, now: Millis) -> int:
        return await self.writer.do(lambda t: queue.hasten(t, by, now))

    async def redrive(
        self, deliveries: Sequence[str], *, now: Millis, states: Container[State] = FINISHED
    ) -> list[str]:
        return await self.writer.do(lambda t: housekeeping.redrive(t, deliveries, states, now))

    async def retry(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        return await self.writer.do(lambda t: housekeeping.retry(t, deliveries, now))

    async def cancel(self, deliveries: Sequence[str], *, now: Millis, reason: str) -> list[str]:
        return await self.writer.do(lambda t: housekeeping.cancel(t, deliveries, now, reason))

    async def discard(self, deliveries: Sequence[str], *, now: Millis) -> list[str]:
        return await self.writer.do(lambda t: housekeeping.discard(t, deliveries))

    async def graves(self, limit: int = 10_000) -> list[Group]:
        return await self._read(self._slow, searching.graves, limit)

    async def earliest(self, lanes: Sequence[Lane]) -> Millis | None:
        return await self._read(self._quick, queue.earliest, lanes)

    async def stats(self) -> Stats:
        return await self._read(self._quick, reading.stats)

    async def audit(self) -> list[str]:
        try:
            # What is damaged need not even be countable.
            damage = await anyio.to_thread.run_sync(reading.examine, self._path)
            return damage or await self._read(self._slow, reading.audit)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise translate(error) from error

    async def prune(
        self, *, finished_before: Millis, dead_before: Mapping[str, Millis], now: Millis, limit: int = 1000
    ) -> int:
        # What expired goes in small transactions of its own, so that no commit waits long behind it.
        while await self.writer.do(lambda t: housekeeping.sweep(t, now)):
            pass
        found = await self._read(self._slow, housekeeping.old, finished_before, dead_before, now, limit)
        while found:
            try:
                return await self.writer.do(partial(housekeeping.prune, candidates=found))
            except StoreFull:
                # Removing much takes room in the log; a full disk has it for a few at a time.
                if len(found) == 1:
                    raise
                found = found[: len(found) // 2]
        return 0

    @asynccontextmanager
    async def backup(self) -> AsyncGenerator[Iterator[bytes]]:
        if self._copying:
            raise backup.busy()
        self._copying = True
        draft = self._path.with_name("backup.draft")
        try:
            with anyio.CancelScope(shield=True):
                await self.writer.do(lambda t: t.blobs.hold())
            try:
                await anyio.to_thread.run_sync(backup.copy, self._path, draft)
            except (sqlite3.Error, OSError) as error:
                # A copy that has no room says nothing of the store itself.
                raise Conflict(f"no copy of the database could be made: {error}", hint=_ROOM) from error
            yield backup.archive(draft, self._blobs.folder)
        finally:
            self._copying = False
            with suppress(OSError):
                draft.unlink()
            with anyio.CancelScope(shield=True):
                await self.writer.do(lambda t: t.orphans.update(t.blobs.release()))

    async def size(self) -> int:
        return await self._read(self._quick, reading.size) + self._blobs.size

    async def held(self) -> int:
        return await self._read(self._slow, reading.held, self._blobs)
