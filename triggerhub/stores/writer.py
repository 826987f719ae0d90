"""Write to SQLite through one connection that commits in groups.

What arrives while a commit runs joins the next transaction, and so does what those ask at once who were
answered by it: a lone command waits for nobody, and a flood shares its sync. There is no timer. One group
is one hop into the connection's thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from triggerhub.crash import crash_point
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.stores.blobs import Blobs
from triggerhub.stores.connection import Connection
from triggerhub.stores.fault import full, translate
from triggerhub.stores.log import Log
from triggerhub.stores.presence import Presence
from triggerhub.stores.reserve import SIZE, Reserve
from triggerhub.stores.transaction import Transaction

Result = TypeVar("Result")

CHECKPOINT_IDLE = 2_000
"""Move the write-ahead log into the database when nothing else is to do and so many pages of it are not there yet …"""
CHECKPOINT_ANYWAY = 8_000
"""… and at so many whatever is to do: it bounds the file."""
CHECKPOINT_SCARCE = 500
"""… and at so few where the disk is nearly full, so that the reserve has room for what is still to be
moved; then the log is written over, and settling takes no more room."""
PAGE = 4096


Together = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
"""A command that is carried out for many at once: given what each asks, it returns an answer for each."""


@dataclass(slots=True)
class _Command(Generic[Result]):
    apply: Callable[[Transaction], Result] | None
    intake: bool
    future: asyncio.Future[Result]
    together: Together | None = None
    asked: Any = None

    def answer(self, result: Result | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class _Promise(asyncio.Future[Result]):
    """Is not cancelled with the task that waits for it."""

    def cancel(self, msg: object = None) -> bool:
        return False


class Writer:
    """The one connection that writes and checkpoints."""

    def __init__(self, connection: Connection, log: Log, blobs: Blobs, reserve: Reserve, presence: Presence) -> None:
        self._connection = connection
        self._log = log
        self._presence = presence
        self._blobs = blobs
        self._reserve = reserve
        self._waiting: list[_Command[Any]] = []
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._broken: StoreBroken | None = None
        self._ending = False
        self._unmoved = 0
        self.groups = 0
        """How many transactions were committed."""
        self.checkpoints = 0
        """How often the write-ahead log was moved into the database."""

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
        return await self._put(_Command(apply, intake, self._loop.create_future()))

    async def see_through(self, apply: Callable[[Transaction], Result], *, intake: bool = False) -> Result:
        """As ``do``, and return the answer also to who is cancelled meanwhile; he is cancelled at his next wait.

        A scope that shields would say the same, and costs more than all else here.
        """
        future: asyncio.Future[Result] = _Promise(loop=self._loop)
        try:
            return await self._put(_Command(apply, intake, future))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            assert task is not None, "who is cancelled is a task"
            task.uncancel()
            task.cancel(*error.args)
            return future.result()

    async def join(self, together: Together, asked: Any, *, intake: bool = False) -> Any:
        """As ``do``, with all that is asked of one command in a transaction carried out in one go.

        Where that fails each is carried out alone, so that one fails for none but itself.
        """
        return await self._put(_Command(None, intake, self._loop.create_future(), together, asked))

    async def _put(self, command: _Command[Result]) -> Result:
        if self._broken is not None:
            raise self._broken
        if self._ending:
            raise _closed()
        self._waiting.append(command)
        self._arrived.set()
        return await command.future

    def fail(self, fault: StoreBroken) -> None:
        """Answer nothing any more: a reader found the store broken."""
        self._broken = self._broken or fault

    async def _serve(self) -> None:
        while True:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit(group)
                if self._unmoved >= CHECKPOINT_ANYWAY or (self._unmoved >= CHECKPOINT_SCARCE and self._reserve.scarce):
                    await self._checkpoint()
                if self._waiting:
                    # A turn of the loop for those who were answered: what they ask next shares the next commit. Else
                    # a claim came just too late for the events that had waited with the claim before it.
                    await asyncio.sleep(0)
            if self._unmoved >= CHECKPOINT_IDLE:
                await self._checkpoint()
            if self._waiting:  # they came while the log was moved
                continue
            if self._ending:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def _commit(self, group: list[_Command[Any]]) -> None:
        try:
            results = await self._connection.run(self._group, group) if self._broken is None else [self._broken]
        except Exception as error:  # nobody may wait for ever, whatever happened to the thread
            results = [StoreBroken(f"the store's thread failed: {error!r}", hint="Start the hub again.")]
        except BaseException:  # the loop is being ended, and who cannot be cancelled must not keep it
            for command in (*group, *self._waiting):
                command.answer(_closed())
            raise
        self._broken = self._broken or next((one for one in results if isinstance(one, StoreBroken)), None)
        if self._broken is not None:
            results += [self._broken] * (len(group) - len(results))
        for command, result in zip(group, results, strict=True):
            command.answer(result)

    def _group(self, db: sqlite3.Connection, group: Sequence[_Command[Any]]) -> list[Any]:
        """Return a result or an exception for each command, up to the one that found the store broken."""
        if any(command.intake for command in group) and not self._room(db):
            return self._singly(db, group, refuse=True)
        try:
            return self._transaction(db, group)
        except Exception as error:
            fault = translate(error)
        if isinstance(fault, StoreFull):
            self._reserve.give_up()
            return self._singly(db, group, refuse=True)
        if len(group) == 1 or isinstance(fault, StoreBroken):
            return [fault]
        return self._singly(db, group, refuse=False)

    def _room(self, db: sqlite3.Connection) -> bool:
        """Whether there would be room to settle what is accepted now: in the reserve, or in free pages."""
        return self._reserve.hold() or _pragma(db, "freelist_count") * PAGE >= SIZE

    def _singly(self, db: sqlite3.Connection, group: Sequence[_Command[Any]], *, refuse: bool) -> list[Any]:
        """Give each command a transaction of its own; *refuse* new events for want of room."""
        results: list[Any] = []
        for command in group:
            if refuse and command.intake:
                results.append(full())
                continue
            try:
                results += self._transaction(db, [command])
            except Exception as error:
                results.append(translate(error))
                if isinstance(results[-1], StoreBroken):
                    break
        return results

    def _transaction(self, db: sqlite3.Connection, group: Sequence[_Command[Any]]) -> list[Any]:
        db.execute("BEGIN IMMEDIATE")
        transaction = Transaction(db, self._blobs)
        try:
            results = _applied(transaction, group)
            transaction.finish()
            crash_point("inside-commit")
            db.execute("COMMIT")
        except Exception as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not isinstance(translate(error), StoreBroken):  # then it may be found committed at the next opening
                transaction.clean()
            raise
        self._presence.look()
        self.groups += 1
        self._unmoved = self._log.unmoved()
        crash_point("after-commit")
        transaction.clean()
        return results

    async def _checkpoint(self) -> None:
        try:
            self._unmoved = await self._connection.run(_move_log, self._reserve.room())
        except StoreFull:
            return  # the log keeps what could not be moved; the next turn tries again
        except Exception as error:
            # Never tried again: after a failed sync the kernel may call pages clean that were not written.
            fault = translate(error)
            self._broken = fault if isinstance(fault, StoreBroken) else StoreBroken(f"a checkpoint failed: {error!r}")
            return
        self.checkpoints += 1


def _applied(transaction: Transaction, group: Sequence[_Command[Any]]) -> list[Any]:
    """Carry out commands, those that go together at the place of the first of them."""
    answers: dict[int, Any] = {}
    for place, command in enumerate(group):
        if place in answers:
            continue
        if command.apply is not None:
            answers[place] = command.apply(transaction)
        elif command.together is not None:
            places = [at for at, one in enumerate(group) if one.together == command.together]
            found = command.together(transaction, [group[at].asked for at in places])
            answers.update(zip(places, found, strict=True))
    return [answers[place] for place in range(len(group))]


def _closed() -> StoreBroken:
    return StoreBroken("the store is closed", hint="The hub is ending; start it again.")


def _move_log(db: sqlite3.Connection, room: int) -> int:
    """Move the log into the database and return how many pages a reader held back.

    StoreFull where the database cannot grow as it must: half a move would use up the room of the reserve
    and free nothing.
    """
    path = db.execute("PRAGMA database_list").fetchone()[2]
    if _pragma(db, "page_count") * PAGE - Path(path).stat().st_size > room:
        raise full()
    _, pages, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages - moved)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
