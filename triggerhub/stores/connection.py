"""Connect to the database: one connection that writes, others that can only read."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import aiosqlite
import anyio
import anyio.to_thread

from triggerhub.errors import ConfigError
from triggerhub.stores.fault import translate

Result = TypeVar("Result")
BUSY = 5000
"""Milliseconds to wait for a program that locks the database from outside."""
LOG_LIMIT = 64 * 1024 * 1024
CACHE = 16 * 1024
"""Kilobytes of pages that the writer keeps."""


class Connection(aiosqlite.Connection):
    """A connection that runs a whole function in its thread."""

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call ``function(connection, *arguments)`` in the thread: one hop, however many statements.

        Raises StoreFull and StoreBroken. Cancelled: the function still runs to its end.
        """
        try:
            result: Result = await self._execute(function, self._conn, *arguments)  # type: ignore[no-untyped-call]
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            fault = translate(error)
            if fault is error:
                raise
            raise fault from error
        return result

    async def ended(self) -> None:
        """Wait for the thread of a connection that failed: it still speaks to the loop as it ends."""
        await anyio.to_thread.run_sync(self._thread.join)

    async def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """As ``run``, with everything that the function reads seen at one moment."""
        return await self.run(_snapshot, function, *arguments)


def _snapshot(db: sqlite3.Connection, function: Callable[..., Result], *arguments: Any) -> Result:
    db.execute("BEGIN")
    try:
        return function(db, *arguments)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def writer(path: Path, durability: Literal["full", "normal"]) -> AbstractAsyncContextManager[Connection]:
    """Connect for writing, the file made if it is missing."""
    return _connected(
        path,
        "rwc",
        f"busy_timeout = {BUSY}",
        "journal_mode = WAL",
        f"synchronous = {durability}",
        # The writer moves the log itself, off the path of a commit.
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {LOG_LIMIT}",
        f"cache_size = -{CACHE}",
        # A statement's own journal would otherwise be a file on a disk that may be full.
        "temp_store = MEMORY",
    )


def reader(path: Path) -> AbstractAsyncContextManager[Connection]:
    """Connect to read; writing through it is an error."""
    return _connected(path, "ro", f"busy_timeout = {BUSY}", "query_only = ON")


@asynccontextmanager
async def _connected(path: Path, mode: str, *pragmas: str) -> AsyncGenerator[Connection]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)

    connection = Connection(connect, 64)
    with anyio.CancelScope(shield=True):
        try:
            await connection
        except sqlite3.Error as error:
            await connection.ended()
            raise translate(error) from error
    try:
        await connection.run(_set, pragmas)
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


def _set(db: sqlite3.Connection, pragmas: tuple[str, ...]) -> None:
    for pragma in pragmas:
        answer = db.execute(f"PRAGMA {pragma}").fetchone()
        if pragma.startswith("journal_mode") and answer != ("wal",):
            raise ConfigError(
                f"the database cannot keep a write-ahead log here (journal_mode stays {answer[0]})",
                hint="Put the data folder on a local disk with [hub] data.",
            )
