"""Opening a data folder: one hub at a time, no newer database, no half migration, no lie about damage."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stores.rig import NOW, Hand, accounts, intake
from triggerhub.errors import ConfigError, HubLocked, StoreBroken, StoreFull
from triggerhub.store import Query, Store
from triggerhub.stores import connection, migrate
from triggerhub.stores.reserve import Reserve
from triggerhub.stores.sqlite import open_store

ROOT = Path(__file__).parents[2]
HOLD = """
import asyncio, sys
from pathlib import Path
from triggerhub.stores.sqlite import open_store

async def main():
    async with open_store(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def fill(data: Path) -> str:
    async with open_store(data) as store:
        return await Hand(store).put()


# one hub at a time


async def test_a_second_hub_is_told_who_has_the_folder(data: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(data)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(HubLocked, match=f"process {other.pid}, already runs") as caught:
            async with open_store(data):
                pass
        assert "[hub] data" in (caught.value.hint or "")
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    async with open_store(data) as store:  # the kernel freed it
        await store.append([intake()], now=NOW)


async def test_a_folder_is_free_again_after_closing(data: Path) -> None:
    one = await fill(data)
    with pytest.raises(HubLocked, match=f"process {os.getpid()}"):
        async with open_store(data), open_store(data):
            pass
    async with open_store(data) as store:
        assert [row.id for row in await store.page(Query())] == [one]


# migrations


async def test_a_newer_database_is_refused_and_left_alone(data: Path) -> None:
    one = await fill(data)
    with sqlite3.connect(data / "hub.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match=r"newer triggerhub \(schema 99, this one knows \d+\)"):
        async with open_store(data):
            pass
    with sqlite3.connect(data / "hub.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
        assert db.execute("SELECT id FROM delivery").fetchall() == [(one,)]
    db.close()


async def test_an_older_database_is_copied_and_brought_forward(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await fill(data)
    real = migrate.scripts()
    newest = real[-1][0]
    added = (newest + 1, "CREATE TABLE more (id INTEGER) STRICT;\nINSERT INTO more\n  VALUES (7);\n")
    monkeypatch.setattr(migrate, "scripts", lambda: [*real, added])
    async with open_store(data) as store:
        assert [row.id for row in await store.page(Query())] == [one]
        assert await store._quick.run(lambda db: db.execute("SELECT id FROM more").fetchall()) == [(7,)]
    copy = sqlite3.connect(data / f"hub.db.before-{newest + 1}")
    assert copy.execute("PRAGMA user_version").fetchone() == (newest,)
    assert copy.execute("SELECT id FROM delivery").fetchall() == [(one,)]
    copy.close()


@pytest.mark.parametrize("broken", ["CREATE TABLE delivery (id);", "INSERT INTO nowhere VALUES (1);"])
async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    data: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    one = await fill(data)
    real = migrate.scripts()
    newest = real[-1][0]
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "scripts", lambda: [*real, (newest + 1, f"CREATE TABLE more (id);\n{broken}\n")])
        with pytest.raises(sqlite3.OperationalError):
            async with open_store(data):
                pass
    async with open_store(data) as store:
        assert [row.id for row in await store.page(Query())] == [one]
        tables = "SELECT name FROM sqlite_schema WHERE name = 'more'"
        assert await store._quick.run(lambda db: db.execute(tables).fetchall()) == []


def test_a_migration_is_whole_statements() -> None:
    assert len(migrate.statements("CREATE TABLE a (\n  id -- ; not here\n);\nCREATE TABLE b (id);\n")) == 2
    with pytest.raises(ValueError, match="ends within a statement"):
        migrate.statements("CREATE TABLE a (id);\nCREATE TABLE b (id)\n")


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [number for number, _ in migrate.scripts()] == list(range(1, len(migrate.scripts()) + 1))


async def test_an_interrupted_first_migration_is_run_again(data: Path) -> None:
    data.mkdir()
    db = sqlite3.connect(data / "hub.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN")
    db.execute("CREATE TABLE event (half)")
    for name in ("hub.db", "hub.db-wal"):
        shutil.copy(data / name, data / f"{name}.copy")
    db.close()
    for name in ("hub.db", "hub.db-wal"):
        (data / f"{name}.copy").rename(data / name)
    await fill(data)


# damage


@pytest.mark.parametrize("content", [b"this is no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_what_is_no_database_is_refused(data: Path, content: bytes) -> None:
    data.mkdir()
    (data / "hub.db").write_bytes(content)
    with pytest.raises(StoreBroken, match="the database failed") as caught:
        async with open_store(data):
            pass
    assert "triggerhub restore FILE" in (caught.value.hint or "")
    assert (data / "hub.db").read_bytes() == content


async def test_a_file_that_cannot_be_opened_is_refused(data: Path) -> None:
    (data / "hub.db").mkdir(parents=True)
    with pytest.raises(StoreBroken, match="SQLITE_CANTOPEN"):
        async with open_store(data):
            pass


async def test_a_torn_database_acknowledges_nothing(data: Path) -> None:
    async with open_store(data) as store:
        await store.append([intake(data=b"x" * 2000) for _ in range(500)], now=NOW)
    whole = (data / "hub.db").read_bytes()
    (data / "hub.db").write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))
    with pytest.raises(StoreBroken) as caught:
        async with open_store(data) as store:
            await store.append([intake()], now=NOW)
    assert "start the hub again" in (caught.value.hint or "")


async def test_a_folder_for_payloads_that_cannot_be_made(data: Path) -> None:
    data.mkdir()
    (data / "blobs").write_text("a file")
    with pytest.raises(StoreBroken, match="the disk failed"):
        async with open_store(data):
            pass


def test_a_file_system_without_a_write_ahead_log_is_refused() -> None:
    db = sqlite3.connect(":memory:")
    with pytest.raises(ConfigError, match="journal_mode stays memory"):
        connection._set(db, ("busy_timeout = 100", "journal_mode = WAL"))
    db.close()


# a full disk


async def test_a_full_disk_is_opened_out_of_the_reserve(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(data)
    real, calls = migrate.migrate, []

    def full_while_held(db: sqlite3.Connection, path: Path) -> None:
        calls.append((data / "reserve").exists())
        if calls[-1]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(db, path)

    monkeypatch.setattr("triggerhub.stores.sqlite.migrate", full_while_held)
    async with open_store(data) as store:
        hand = Hand(store)
        (claimed,) = await hand.take()
        assert await hand.settle(claimed)
        await accounts(store)
    assert calls == [True, False]


async def test_a_full_disk_without_a_reserve_is_an_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("triggerhub.stores.reserve.os.posix_fallocate", full)
    monkeypatch.setattr("triggerhub.stores.sqlite.migrate", full)
    with pytest.raises(StoreFull, match="the disk is full"):
        async with open_store(data):
            pass


def test_the_reserve_is_held_given_up_and_held_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    assert not reserve.held
    assert reserve.hold()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 8 * 1024 * 1024
    assert Reserve(tmp_path).held
    reserve.give_up()
    reserve.give_up()
    assert list(tmp_path.iterdir()) == []
    assert reserve.hold()
    assert reserve.room() > 0


def test_a_disk_that_tells_nothing_has_no_room(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "gone")
    assert not reserve.hold()
    assert reserve.room() == 0
    assert reserve.scarce


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real disk of 24 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mount], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    yield mount
    subprocess.run(["umount", mount], check=True)


async def append_until_full(store: Store) -> int:
    """Accept events until there is no more room; return how many."""
    accepted = 0
    try:
        while True:
            accepted += len(await store.append([intake(data=b"x" * 20_000) for _ in range(20)], now=NOW))
    except StoreFull:
        return accepted


def fill_disk(filler: Path) -> None:
    """Take all the room there is."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


async def test_a_disk_that_really_is_full_refuses_events_and_goes_on_settling(small_disk: Path) -> None:
    data = small_disk / "var"
    async with open_store(data) as store:
        hand = Hand(store)
        accepted = await append_until_full(store)
        settled = 0
        while taken := await hand.take(5):
            for one in taken:
                assert await hand.settle(one)
                settled += 1
            with pytest.raises(StoreFull):
                await store.append([intake()], now=NOW)
        assert settled == accepted > 100
        await accounts(store)
        hand.now += 1000
        while await store.prune(finished_before=hand.now, dead_before={}, now=hand.now):
            pass
        # The database is as large as the disk, and has room within.
        assert await append_until_full(store) > 100
        await accounts(store)


async def test_a_hub_starts_on_a_disk_that_is_full(small_disk: Path) -> None:
    data = small_disk / "var"
    one = await fill(data)
    fill_disk(small_disk / "filler")
    async with open_store(data) as store:
        hand = Hand(store)
        (claimed,) = await hand.take()
        assert claimed.delivery.id == one
        assert await hand.settle(claimed)
        with pytest.raises(StoreFull):
            await store.append([intake()], now=NOW)
        (small_disk / "filler").unlink()
        assert len(await store.append([intake()], now=NOW)) == 1


FILL = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.stores.test_sqlite_opening import append_until_full
from triggerhub.stores.sqlite import open_store

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        print(await append_until_full(store), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_killed_while_the_disk_is_full_it_starts_again_and_settles(small_disk: Path) -> None:
    data = small_disk / "var"
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(data)], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == -9
    async with open_store(data) as store:
        hand = Hand(store)
        settled = 0
        while taken := await hand.take(10):
            for one in taken:
                assert await hand.settle(one)
                settled += 1
        assert settled == int(done.stdout) > 100
        await accounts(store)


async def test_opening_is_cancelled_cleanly(data: Path) -> None:
    async def use() -> None:
        async with open_store(data):
            await asyncio.sleep(60)

    for turns in range(0, 12, 2):
        task = asyncio.create_task(use())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await fill(data)
