"""Write to SQLite through one connection that commits in groups.

What arrives while a commit runs joins the next transaction: a lone command waits for nobody, and a
flood shares its sync. There is no timer. One group is one hop into the connection's thread.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiosqlite
import anyio

from triggerhub.crash import crash_point
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.settings import MB
from triggerhub.stores.reserve import Reserve

Result = TypeVar("Result")

CHECKPOINT_IDLE = 4 * MB
"""Move the write-ahead log into the database when nothing else is to do and it is larger than this …"""
CHECKPOINT_ANYWAY = 48 * MB
"""… and at this size whatever is to do: it keeps the file bounded."""


class Connection(aiosqlite.Connection):
    """A connection that runs a whole function in its thread."""

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call ``function(connection, *arguments)`` in the thread; one hop, however many statements."""
        result: Result = await self._execute(function, self._conn, *arguments)  # type: ignore[no-untyped-call]
        return result


@dataclass(slots=True)
class Transaction:
    """What a command may use: the open transaction, and the ledger it must keep."""

    db: sqlite3.Connection
    deltas: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def count(self, function: str, trigger: str, entry: str, number: int) -> None:
        """Add to a ledger entry, written once per group."""
        self.deltas[function, trigger, entry] += number

    def write_ledger(self) -> None:
        self.db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(*key, number) for key, number in self.deltas.items() if number],
        )


@dataclass(slots=True)
class _Command(Generic[Result]):
    apply: Callable[[Transaction], Result]
    intake: bool
    future: asyncio.Future[Result]

    def answer(self, result: Result | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Writer:
    """The one connection that writes and checkpoints."""

    def __init__(self, connection: Connection, path: Path, reserve: Reserve) -> None:
        self._connection = connection
        self._wal = path.with_name(path.name + "-wal")
        self._reserve = reserve
        self._waiting: list[_Command[Any]] = []
        self._arrived = asyncio.Event()
        self._broken: StoreBroken | None = None
        self._ending = False
        self.groups = 0
        """How many transactions were committed."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Writer]:
        """Serve commands; leaving commits what waits."""
        task = asyncio.get_running_loop().create_task(self._serve(), name="store:writer")
        try:
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                self._ending = True
                self._arrived.set()
                await asyncio.wait([task])

    async def do(self, apply: Callable[[Transaction], Result], *, intake: bool = False) -> Result:
        """Run a command in the next transaction and return after its commit.

        *intake* marks what a full disk refuses (StoreFull); the rest goes on out of the reserve.
        Cancelled: the command may have been carried out, never by half.
        """
        if self._broken is not None:
            raise self._broken
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Command(apply, intake, future))
        self._arrived.set()
        return await future

    async def _serve(self) -> None:
        while not self._ending:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit(group)
            await self._checkpoint()

    async def _commit(self, group: list[_Command[Any]]) -> None:
        with anyio.CancelScope(shield=True):
            try:
                results = await self._connection.run(self._group, group)
            except BaseException as error:  # the thread is gone: nobody may wait for ever
                results = [StoreBroken(f"the store's thread failed: {error!r}")] * len(group)
        for command, result in zip(group, results, strict=True):
            if isinstance(result, StoreBroken):
                self._broken = result
            command.answer(result)

    def _group(self, db: sqlite3.Connection, group: list[_Command[Any]]) -> list[Any]:
        if not self._reserve.held and any(command.intake for command in group) and not self._reserve.hold():
            return self._refuse_intake(db, group)
        try:
            return self._transaction(db, group)
        except Exception as error:
            fault = translate(error)
        if isinstance(fault, StoreBroken):
            return [fault] * len(group)
        if isinstance(fault, StoreFull):
            self._reserve.give_up()
            return self._refuse_intake(db, group)
        if len(group) == 1:
            return [fault]
        return [one for command in group for one in self._group(db, [command])]

    def _refuse_intake(self, db: sqlite3.Connection, group: list[_Command[Any]]) -> list[Any]:
        """Refuse new events and carry out everything else, one by one."""
        results: list[Any] = []
        for command in group:
            if command.intake:
                results.append(StoreFull("the disk is full", hint="Free some space; the hub goes on by itself."))
                continue
            try:
                results += self._transaction(db, [command])
            except Exception as error:
                results.append(translate(error))
        return results

    def _transaction(self, db: sqlite3.Connection, group: list[_Command[Any]]) -> list[Any]:
        db.execute("BEGIN IMMEDIATE")
        try:
            transaction = Transaction(db)
            results = [command.apply(transaction) for command in group]
            transaction.write_ledger()
            crash_point("inside-commit")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.groups += 1
        crash_point("after-commit")
        return results

    async def _checkpoint(self) -> None:
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size < CHECKPOINT_IDLE or self._broken is not None:
            return
        if self._waiting and size < CHECKPOINT_ANYWAY:
            return
        with anyio.CancelScope(shield=True):
            await self._connection.run(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())


def translate(error: Exception) -> Exception:
    """Tell a full disk and a broken store from a command's own fault."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return StoreFull("the disk is full", hint="Free some space; the hub goes on by itself.")
        return StoreBroken(f"the disk failed: {error}", hint="Look at the kernel's log; then start the hub again.")
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreFull("the disk is full", hint="Free some space; the hub goes on by itself.")
        if code in (
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PROTOCOL,
        ):
            return StoreBroken(
                f"the database failed: {error} ({getattr(error, 'sqlite_errorname', code)})",
                hint="Nothing is acknowledged any more. Look at the disk, then start the hub again.",
            )
    return error
