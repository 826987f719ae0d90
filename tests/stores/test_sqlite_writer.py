"""One writer that commits in groups, and what it does when the disk is full, fails or lies."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stores.rig import NOW, Hand, accounts, attempt, intake
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.model import Complete, Fault, State
from triggerhub.store import Answered, Query, Record
from triggerhub.stores import fault, writer
from triggerhub.stores.connection import Connection
from triggerhub.stores.sqlite import SQLiteStore, open_store
from triggerhub.stores.transaction import Transaction


@pytest_asyncio.fixture
async def store(data: Path) -> AsyncGenerator[SQLiteStore]:
    async with open_store(data) as store:
        yield store


def pragma(store: SQLiteStore, name: str, connection: str = "writer") -> object:
    of: dict[str, Connection] = {"writer": store.writer._connection, "quick": store._quick, "slow": store._slow}
    return of[connection].run(lambda db: db.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def instead(path: Path, device: str) -> Iterator[None]:
    """Let every descriptor that is open on *path* lead to *device*: the disk fails beneath SQLite.

    /dev/full has no room (ENOSPC); /dev/null takes what is written and cannot sync it (EINVAL).
    """
    there = [int(one) for one in os.listdir("/proc/self/fd") if _leads_to(one, path)]
    assert there, path
    saved = [(one, os.dup(one)) for one in there]
    other = os.open(device, os.O_RDWR)
    for one in there:
        os.dup2(other, one)
    try:
        yield
    finally:
        os.close(other)
        for one, copy in saved:
            os.dup2(copy, one)
            os.close(copy)


def _leads_to(descriptor: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    except OSError:
        return False


# group commit


async def test_what_is_asked_as_soon_as_an_answer_is_there_shares_the_commit_of_what_waits(store: SQLiteStore) -> None:
    begun, held = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        begun.set()
        held.wait(60)

    async def one() -> None:
        await store.writer.do(hold)
        await store.set_checkpoints("one", {"a": "b"})

    before = store.writer.groups
    first = asyncio.create_task(one())
    await asyncio.to_thread(begun.wait, 60)
    second = asyncio.create_task(store.set_checkpoints("another", {"a": "b"}))
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(first, second)
    assert store.writer.groups - before == 2


async def test_what_arrives_together_is_committed_together(store: SQLiteStore) -> None:
    before = store.writer.groups
    answers = await asyncio.gather(*(store.append([intake()], now=NOW) for _ in range(200)))
    assert len(answers) == 200
    assert store.writer.groups - before <= 2
    assert len(await store.page(Query(limit=1000))) == 200


async def test_a_lone_command_is_a_transaction_of_its_own(store: SQLiteStore) -> None:
    before = store.writer.groups
    for _ in range(3):
        await store.append([intake()], now=NOW)
    assert store.writer.groups - before == 3


async def test_one_bad_command_costs_the_others_of_its_group_nothing(store: SQLiteStore) -> None:
    good = [intake() for _ in range(5)]
    again = good[2]
    answers = await asyncio.gather(*(store.append([one], now=NOW) for one in [*good, again]), return_exceptions=True)
    assert [type(one) for one in answers[:5]] == [list] * 5
    assert isinstance(answers[5], sqlite3.IntegrityError)
    assert len(await store.page(Query())) == 5
    await accounts(store)


async def test_one_bad_record_costs_the_others_that_are_written_with_it_nothing(store: SQLiteStore) -> None:
    bad = attempt("raised", error=Fault(type="E", message="\ud800"))
    asked = [
        store.record([Record(intake=intake(key=f"k{number}", keep=100), decision=Complete(), attempt=one)], now=NOW)
        for number, one in enumerate([attempt(), bad, attempt()])
    ]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(one, list) for one in results] == [True, False, True]
    assert set(await store.known("t", ["k0", "k1", "k2"], now=NOW)) == {"k0", "k2"}
    await accounts(store)


async def test_many_callers_find_their_own(store: SQLiteStore) -> None:
    records = [Record(intake=intake(key=f"k{number}", keep=100), decision=Complete()) for number in range(6)]
    await store.record(records, now=NOW)
    asked = [("t", ["k0", "k9"]), ("t", []), ("u", ["k1"]), ("t", ["k5", "k2"]), ("t", ["k5"])]
    found = await asyncio.gather(*(store.known(trigger, keys, now=NOW) for trigger, keys in asked))
    assert [set(one) for one in found] == [{"k0"}, set(), set(), {"k2", "k5"}, {"k5"}]
    assert await store.known("t", ["k0"], now=NOW + 101) == {}


async def test_different_verbs_in_one_group_see_each_other_in_order(store: SQLiteStore) -> None:
    hand = Hand(store)
    given = intake(order="k")
    appended, taken, cancelled = await asyncio.gather(
        hand.accept(given), hand.take(), store.cancel([f"{given.event.id[:-2]}01"], now=NOW, reason="no")
    )
    assert [one.delivery.id for one in taken] == list(appended[0].deliveries) == cancelled
    assert not await hand.settle(taken[0])


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
async def test_durability_is_sqlites_synchronous(data: Path, durability: str, level: int) -> None:
    async with open_store(data, durability=durability) as store:
        assert await pragma(store, "synchronous") == level
        assert await pragma(store, "journal_mode") == "wal"
        assert await pragma(store, "wal_autocheckpoint") == 0


@pytest.mark.parametrize("connection", ["quick", "slow"])
async def test_readers_cannot_write(store: SQLiteStore, connection: str) -> None:
    reader = {"quick": store._quick, "slow": store._slow}[connection]
    with pytest.raises((sqlite3.OperationalError, StoreBroken), match="readonly"):
        await reader.run(lambda db: db.execute("DELETE FROM delivery"))


async def test_a_reader_sees_one_moment(store: SQLiteStore) -> None:
    await store.append([intake()], now=NOW)
    looked, go_on = threading.Event(), threading.Event()

    def count_twice(db: sqlite3.Connection) -> tuple[int, int]:
        (first,) = db.execute("SELECT count(*) FROM delivery").fetchone()
        looked.set()
        assert go_on.wait(10)
        return first, db.execute("SELECT count(*) FROM delivery").fetchone()[0]

    counting = asyncio.create_task(store._slow.read(count_twice))
    assert await asyncio.to_thread(looked.wait, 10)
    await store.append([intake()], now=NOW)
    go_on.set()
    assert await counting == (1, 1)


# the write-ahead log


async def test_the_log_is_moved_when_nothing_else_is_to_do(
    store: SQLiteStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 50)
    for _ in range(20):
        await store.append([intake() for _ in range(10)], now=NOW)
    await store.set_checkpoints("s", {})
    assert store.writer.checkpoints >= 2
    assert (data / "hub.db").stat().st_size > 50_000


async def test_a_log_under_load_stays_within_bounds(
    store: SQLiteStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 10**9)
    monkeypatch.setattr(writer, "CHECKPOINT_ANYWAY", 500)
    largest = 0

    async def send() -> None:
        nonlocal largest
        for _ in range(30):
            await store.append([intake(data=b"x" * 4000) for _ in range(10)], now=NOW)
            largest = max(largest, (data / "hub.db-wal").stat().st_size)

    await asyncio.gather(*(send() for _ in range(4)))
    assert store.writer.checkpoints >= 3
    assert largest < 8_000_000, "1,200 payloads of 4 KB alone would be 5 MB, and their rows as much again"


async def put_payload(hand: Hand, data: bytes) -> None:
    await asyncio.gather(*(hand.accept(intake(data=data[:50_000])) for _ in range(5)))


async def put_answer(hand: Hand, data: bytes) -> None:
    await hand.store.keep_answer(Answered(function="f", key="k", payload=data, until=NOW + 1000))


async def put_attempt(hand: Hand, data: bytes) -> None:
    await hand.put()
    (claimed,) = await hand.take()
    await hand.settle(claimed, attempt=attempt(payload=data))


async def put_checkpoint(hand: Hand, data: bytes) -> None:
    await hand.store.set_checkpoints("s", {"k": data.decode()})


async def put_and_remove(hand: Hand, data: bytes) -> None:
    await hand.store.set_checkpoints("s", {"k": data.decode()})
    await hand.store.set_checkpoints("s", {"k": None})


@pytest.mark.parametrize("write", [put_payload, put_answer, put_attempt, put_checkpoint, put_and_remove])
async def test_the_log_is_moved_by_its_size_whatever_is_written(
    store: SQLiteStore, data: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Hand, bytes], Awaitable[None]]
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 200)
    hand = Hand(store)
    for number in range(20):
        await write(hand, b"%d" % (number % 10) * 250_000)
    assert (data / "hub.db-wal").stat().st_size < 2_500_000, "5 MB were written, and 200 pages are 0.8"


async def test_closing_leaves_nothing_in_the_log(data: Path) -> None:
    async with open_store(data) as store:
        await store.append([intake() for _ in range(100)], now=NOW)
    assert not (data / "hub.db-wal").exists()


async def test_what_comes_while_the_log_is_moved_at_the_end_is_still_committed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> int:
        moving.set()
        assert go_on.wait(10)
        return 0

    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 1)
    monkeypatch.setattr(writer, "_move_log", slowly)
    async with asyncio.timeout(10), open_store(data) as store:
        await store.append([intake()], now=NOW)
        assert await asyncio.to_thread(moving.wait, 10)
        late = asyncio.create_task(store.append([intake()], now=NOW))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    async with asyncio.timeout(10):
        assert len(await late) == 1
    async with open_store(data) as store:
        assert len(await store.page(Query())) == 2


async def test_a_closed_store_says_so(data: Path) -> None:
    async with open_store(data) as store:
        pass
    with pytest.raises(StoreBroken, match="closed"):
        await store.append([intake()], now=NOW)


# a disk that fails


async def test_a_failed_sync_ends_every_acknowledgement(data: Path) -> None:
    async with open_store(data) as store:
        hand = Hand(store)
        kept = await hand.put()
        (claimed,) = await hand.take()
        with instead(data / "hub.db-wal", "/dev/null"):
            answers = await asyncio.gather(
                *(store.append([intake()], now=NOW) for _ in range(3)), hand.settle(claimed), return_exceptions=True
            )
        assert [type(one) for one in answers] == [StoreBroken] * 4
        assert "SQLITE_IOERR_FSYNC" in str(answers[0])
        # The disk is well again; what it forgot nobody knows. Nothing is tried again.
        groups = store.writer.groups
        for verb in (hand.accept(intake()), hand.take(), hand.settle(claimed), store.set_checkpoints("s", {"a": "b"})):
            with pytest.raises(StoreBroken, match="SQLITE_IOERR_FSYNC"):
                await verb
        assert store.writer.groups == groups
    async with open_store(data) as store:
        assert kept in [one.id for one in await store.page(Query())]
        await accounts(store)


async def test_the_payload_of_a_commit_that_nobody_knows_the_end_of_is_kept(data: Path) -> None:
    async with open_store(data) as store:
        hand = Hand(store)
        await hand.put()
        with instead(data / "hub.db-wal", "/dev/null"), pytest.raises(StoreBroken):
            await hand.accept(intake(data=b"x" * 100_000))
        # The next opening may find the event; what it does not find is swept then.
        assert len(list((data / "blobs").iterdir())) == 1
    async with open_store(data) as store:
        assert list((data / "blobs").iterdir()) == []


async def test_a_store_that_breaks_while_a_group_is_committed_stays_broken(store: SQLiteStore) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(_: Transaction) -> str:
        running.set()
        assert go_on.wait(10)
        return "done"

    writing = asyncio.create_task(store.writer.do(slow))
    assert await asyncio.to_thread(running.wait, 10)
    store.writer.fail(StoreBroken("a reader found it torn"))
    go_on.set()
    assert await writing == "done"
    with pytest.raises(StoreBroken, match="a reader found it torn"):
        await store.append([intake()], now=NOW)


async def test_a_failed_sync_of_a_checkpoint_ends_them_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(data) as store:
        await store.append([intake()], now=NOW)
        monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 1)
        with instead(data / "hub.db", "/dev/null"):
            await store.set_checkpoints("s", {"a": "b"})
            async with asyncio.timeout(10):
                while store.writer._broken is None:
                    await asyncio.sleep(0.01)
        with pytest.raises(StoreBroken):
            await store.append([intake()], now=NOW)
    async with open_store(data) as store:
        assert await store.checkpoints("s") == {"a": "b"}


async def test_an_unforeseen_failure_of_the_thread_leaves_nobody_waiting(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(store.writer._connection, "run", lost)
    answers = await asyncio.gather(*(store.append([intake()], now=NOW) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in answers] == [StoreBroken] * 3


async def test_a_reader_that_finds_damage_stops_the_writer(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.append([intake()], now=NOW)

    def torn(*_: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error

    monkeypatch.setattr("triggerhub.stores.reading.page", torn)
    with pytest.raises(StoreBroken, match="SQLITE_CORRUPT"):
        await store.page(Query())
    with pytest.raises(StoreBroken, match="SQLITE_CORRUPT"):
        await store.append([intake()], now=NOW)


async def test_a_failure_after_the_commit_carries_nothing_out_twice(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    monkeypatch.setattr("triggerhub.stores.transaction.used", fails)
    hand = Hand(store)
    made = [await hand.put(data=b"x" * 100_000) for _ in range(2)]
    assert await hand.take_ids(1) == made[:1]
    assert len(await store.page(Query())) == 2


# a disk that is full


async def test_without_room_new_events_are_refused_and_nothing_is_half_done(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    await hand.put()
    (claimed,) = await hand.take()
    with instead(data / "hub.db-wal", "/dev/full"):
        with pytest.raises(StoreFull):
            await hand.accept(intake())
        assert not (data / "reserve").exists()
    assert await hand.settle(claimed)
    assert len(await hand.accept(intake())) == 1
    assert (data / "reserve").stat().st_size == 8 * 1024 * 1024
    await accounts(store)


async def test_the_reserve_lets_the_rest_of_a_group_go_on(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(store)
    await hand.put()
    (claimed,) = await hand.take()
    real = writer.Writer._transaction

    def full_once(self: writer.Writer, *arguments: object) -> list[object]:
        monkeypatch.setattr(writer.Writer, "_transaction", real)
        raise fault.full()

    monkeypatch.setattr(writer.Writer, "_transaction", full_once)
    monkeypatch.setattr("triggerhub.stores.reserve.os.posix_fallocate", _no_room)
    refused, held, kept = await asyncio.gather(
        hand.accept(intake()),
        hand.settle(claimed, then=[intake("g")]),
        store.keep_answer(Answered(function="f", key="k", payload=b"1", until=NOW + 1)),
        return_exceptions=True,
    )
    assert isinstance(refused, StoreFull)
    assert "Free some space" in (refused.hint or "")
    assert (held, kept) == (True, None)
    # As long as there is no room for the reserve, no event is accepted; checkpoints alone are.
    with pytest.raises(StoreFull):
        await hand.accept(intake())
    assert await store.append([], now=NOW, checkpoints={("s", "k"): "v"}) == []
    monkeypatch.undo()
    assert len(await hand.accept(intake())) == 1
    assert [one.state for one in await store.page(Query(state=State.SUCCEEDED))] == [State.SUCCEEDED]
    await accounts(store)


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_the_log_is_moved_often_while_there_is_no_reserve(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.stores.reserve.os.posix_fallocate", _no_room)
    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 10**9)
    store.writer._reserve.give_up()
    for number in range(60):
        await store.set_checkpoints("s", {f"{number}/{key}": "v" * 4000 for key in range(20)})
    assert store.writer.checkpoints >= 2


async def test_the_log_is_not_moved_where_the_database_cannot_grow(
    store: SQLiteStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.stores.reserve.Reserve.room", lambda _: 100_000)
    before = (data / "hub.db").stat().st_size
    for _ in range(3):
        await store.append([intake(data=b"x" * 60_000) for _ in range(50)], now=NOW)
    assert store.writer.checkpoints == 0
    assert (data / "hub.db").stat().st_size == before


async def test_a_reader_holds_the_log_back_for_as_long_as_it_reads(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append([intake()], now=NOW)
    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 1)
    looked, go_on = threading.Event(), threading.Event()

    def dwell(db: sqlite3.Connection) -> None:
        db.execute("SELECT count(*) FROM delivery").fetchone()
        looked.set()
        assert go_on.wait(10)

    reading = asyncio.create_task(store._slow.read(dwell))
    assert await asyncio.to_thread(looked.wait, 10)
    await store.append([intake()], now=NOW)
    await store.set_checkpoints("s", {})
    assert store.writer._unmoved > 0
    go_on.set()
    await reading
    await store.set_checkpoints("s", {})
    async with asyncio.timeout(10):
        while store.writer._unmoved:
            await asyncio.sleep(0.01)


async def test_a_checkpoint_without_room_is_tried_again(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = writer._move_log

    def no_room(*_: object) -> None:
        raise _sqlite_error(sqlite3.SQLITE_FULL)

    monkeypatch.setattr(writer, "CHECKPOINT_IDLE", 1)
    monkeypatch.setattr(writer, "_move_log", no_room)
    await store.append([intake()], now=NOW)
    await store.append([intake()], now=NOW)
    assert store.writer.checkpoints == 0
    monkeypatch.setattr(writer, "_move_log", real)
    await store.append([intake()], now=NOW)
    await store.set_checkpoints("s", {})
    assert store.writer.checkpoints >= 1


def _sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode, error.sqlite_errorname = code, f"code {code}"
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(OSError(28, "x"), StoreFull, id="ENOSPC"),
        pytest.param(OSError(122, "x"), StoreFull, id="EDQUOT"),
        pytest.param(OSError(27, "x"), StoreFull, id="EFBIG"),
        pytest.param(OSError(5, "x"), StoreBroken, id="EIO"),
        pytest.param(OSError(24, "x"), OSError, id="too many open files"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_FULL), StoreFull, id="full"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE), StoreFull, id="no room for the log's index"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), StoreBroken, id="fsync"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_IOERR_WRITE), StoreBroken, id="write"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), StoreBroken, id="corrupt"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_BUSY), StoreBroken, id="locked by another program"),
        pytest.param(_sqlite_error(sqlite3.SQLITE_CONSTRAINT), sqlite3.OperationalError, id="the command's own"),
        pytest.param(ValueError("x"), ValueError, id="no fault of the store"),
    ],
)
def test_what_an_error_means(error: Exception, expected: type[Exception]) -> None:
    assert type(fault.translate(error)) is expected
