"""A backup is everything at one moment; a restore is all of it or nothing."""

from __future__ import annotations

import io
import json
import os
import resource
import sqlite3
import tarfile
from pathlib import Path

import anyio
import pytest

from tests.stores.rig import NOW, Hand, Home, accounts
from triggerhub.errors import ConfigError, Conflict, HubLocked, TriggerhubError
from triggerhub.model import State
from triggerhub.stores import backup
from triggerhub.stores.blobs import LARGE
from triggerhub.stores.migrate import scripts
from triggerhub.stores.sqlite import SQLiteStore, open_store


@pytest.fixture
def sqlite(tmp_path: Path) -> Home:
    return Home("sqlite", tmp_path / "var")


async def copied(hand: Hand) -> bytes:
    async with hand.store.backup() as pieces:
        return b"".join(pieces)


def put_back(archive: bytes, data: Path, stamp: str = "now") -> backup.Restored:
    return backup.restore(io.BytesIO(archive), data, stamp=stamp)


async def full(hand: Hand) -> list[str]:
    """One delivery of each kind: queued, running, dead with a large payload."""
    queued = await hand.put("later", due=NOW + 1_000_000)
    large = await hand.put(data=json.dumps("x" * (LARGE + 1)).encode())
    (running,) = await hand.take()
    return [queued, large, running.delivery.id]


async def test_what_was_kept_at_the_backup_is_there_after_the_restore(sqlite: Home, tmp_path: Path) -> None:
    async with sqlite.open() as hand:
        queued, large, running = await full(hand)
        await hand.store.set_checkpoints("drop", {"a": "1"})
        archive = await copied(hand)
        await hand.put()
        await hand.store.set_checkpoints("drop", {"a": "2"})
    done = put_back(archive, sqlite.path)
    assert done.counts == {"queued": 1, "running": 1}
    async with sqlite.open() as hand:
        assert sorted(await hand.listed()) == sorted({queued, large, running})
        assert await hand.store.checkpoints("drop") == {"a": "1"}
        # The hub that had it is gone: it runs again.
        assert await hand.store.reap() == [running]
        (again,) = await hand.take()
        assert again.event.data == json.dumps("x" * (LARGE + 1)).encode()
        await accounts(hand.store)
    assert done.before is not None
    async with open_store(done.before) as store:
        assert (await store.stats()).count(State.QUEUED) == 2, "what lay there before is kept whole"


async def test_a_restore_into_a_new_folder_leaves_nothing_beside_it(sqlite: Home, tmp_path: Path) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
    done = put_back(archive, tmp_path / "elsewhere")
    assert done.before is None
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["blobs", "hub.db", "hub.lock"]


async def test_functions_keep_their_uids_on_another_machine(sqlite: Home, tmp_path: Path) -> None:
    given, elsewhere = "400001 billing\n400002 meter\n", tmp_path / "elsewhere"
    async with sqlite.open() as hand:
        (sqlite.path / "uids").write_text(given)
        archive = await copied(hand)
    put_back(archive, elsewhere)
    assert (elsewhere / "uids").read_text() == given
    assert (elsewhere / "uids").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("here", "after"),
    [
        ("400001 billing\n400002 meter\n400003 later\n", "400001 billing\n400002 meter\n400003 later\n"),
        ("400002 mine\n", "400002 mine\n400001 billing\n400002 meter\n"),
        ("400009 mine\n4000", "400009 mine\n400001 billing\n400002 meter\n"),
    ],
    ids=["the same folder", "given to another here", "torn"],
)
async def test_uids_that_were_given_where_it_is_restored_stay_given(
    sqlite: Home, tmp_path: Path, here: str, after: str
) -> None:
    async with sqlite.open() as hand:
        (sqlite.path / "uids").write_text("400001 billing\n400002 meter\n")
        archive = await copied(hand)
    there = tmp_path / "there"
    there.mkdir()
    (there / "uids").write_text(here)
    put_back(archive, there)
    put_back(archive, there, stamp="again")
    assert (there / "uids").read_text() == after


async def test_the_store_goes_on_while_it_is_copied_and_no_payload_goes_missing(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        large = await hand.put(data=json.dumps("y" * LARGE).encode())
        (claimed,) = await hand.take()
        async with hand.store.backup() as pieces:
            await hand.settle(claimed)
            hand.now += 10
            assert await hand.store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
            archive = b"".join(pieces)
        assert list((sqlite.path / "blobs").iterdir()) == [], "removed once nobody copies it"
        assert await hand.listed() == []
    put_back(archive, sqlite.path)
    async with sqlite.open() as hand:
        await hand.store.reap()
        (again,) = await hand.take()
        assert (again.delivery.id, again.event.data) == (large, json.dumps("y" * LARGE).encode())


async def test_one_backup_at_a_time(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        async with hand.store.backup():
            with pytest.raises(Conflict, match="another backup is being written"):
                await copied(hand)
        assert await copied(hand)


async def test_a_copy_that_cannot_be_made_harms_nothing(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        (sqlite.path / "backup.draft").mkdir()
        with pytest.raises((Conflict, OSError)):
            await copied(hand)
        (sqlite.path / "backup.draft").rmdir()
        await hand.put()
        assert await copied(hand)


async def test_anybodys_tar_can_look_into_it(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert [name.split("/")[0] for name in tar.getnames()] == ["hub.db", "blobs", "manifest.json"]
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert (manifest["format"], manifest["schema"]) == (1, scripts()[-1][0])
    assert manifest["files"]["hub.db"]["size"] > 0


async def test_an_archive_that_was_cut_short_is_refused_wherever_it_was_cut(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
        before = await hand.listed()
    whole = len(archive) - 2 * tarfile.BLOCKSIZE
    for length in [*range(0, whole, whole // 40), whole - 1]:
        with pytest.raises(ConfigError, match="no backup that can be restored"):
            put_back(archive[:length], sqlite.path)
    async with sqlite.open() as hand:
        assert await hand.listed() == before


async def test_a_damaged_archive_is_refused(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = bytearray(await copied(hand))
    archive[20_000] ^= 1
    with pytest.raises(ConfigError, match="damaged"):
        put_back(bytes(archive), sqlite.path)


@pytest.mark.parametrize(
    "member", ["../hub.db", "/etc/passwd", "blobs/../../x", "blobs/short", "hub.db-wal", "other", "hub.db"]
)
async def test_a_member_that_no_backup_has_is_refused(sqlite: Home, tmp_path: Path, member: str) -> None:
    async with sqlite.open() as hand:
        archive = await copied(hand)
    extra = tarfile.TarInfo(member)
    forged = archive[: 512 + _size(archive)] + extra.tobuf() + archive[512 + _size(archive) :]
    with pytest.raises(ConfigError, match="which no backup does"):
        put_back(forged, sqlite.path)
    assert not (tmp_path / "x").exists()


async def test_a_link_in_an_archive_is_refused(sqlite: Home) -> None:
    link = tarfile.TarInfo("hub.db")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(ConfigError, match="which no backup does"):
        put_back(link.tobuf() + bytes(1024), sqlite.path)


def _size(archive: bytes) -> int:
    """The bytes of the first member, which is the database: whole pages."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getmembers()[0].size


async def test_a_restore_without_room_changes_nothing_and_says_so(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
    before = (sqlite.path / "hub.db").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(TriggerhubError, match="failed: File too large") as caught:
            put_back(archive, sqlite.path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.hint == "Nothing was changed."
    assert (sqlite.path / "hub.db").read_bytes() == before
    assert not (sqlite.path / "restore.draft").exists()


async def test_a_newer_backup_is_refused(sqlite: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
    monkeypatch.setattr(backup, "scripts", lambda: [(0, "")])
    with pytest.raises(ConfigError, match=r"of schema \d+; this version knows up to 0"):
        put_back(archive, sqlite.path)


async def test_no_restore_under_a_running_hub(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        archive = await copied(hand)
        with pytest.raises(HubLocked, match=str(os.getpid())):
            put_back(archive, sqlite.path)


async def test_a_restore_that_was_cut_short_keeps_every_hub_away_until_it_is_done_again(
    sqlite: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
        await hand.put()
        before = sorted(await hand.listed())
    steps, said = 0, []
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        nonlocal steps
        steps -= 1
        if steps < 0 and "restore.draft" not in str(path.parent.parent):
            raise OSError("the power is gone")
        return rename(path, target)

    for allowed in range(6):
        steps = allowed
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", failing)
            try:
                put_back(archive, sqlite.path, f"try-{allowed}")
            except TriggerhubError as error:
                said.append((error.message, error.hint))
                with pytest.raises(ConfigError, match="was cut short"):
                    async with open_store(sqlite.path):
                        pass
            else:
                break
    else:
        pytest.fail("it never came to its end")
    assert allowed > 1
    message = f"the restore into {sqlite.path} failed: the power is gone"
    assert set(said) == {(message, "Run it again: no hub starts on the folder before.")}
    (kept,) = sqlite.path.glob("before-restore-*")
    async with open_store(kept) as store:
        assert sorted(one.id for one in await store.page(_all())) == before
    async with sqlite.open() as hand:
        assert len(await hand.listed()) == 2


def _all():
    from triggerhub.store import Query

    return Query(limit=100)


async def test_a_reader_that_leaves_early_leaves_nothing_behind(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        with anyio.CancelScope() as scope:
            async with hand.store.backup() as pieces:
                next(pieces)
                scope.cancel()
                await anyio.sleep(0)
        assert isinstance(hand.store, SQLiteStore)
        assert not (sqlite.path / "backup.draft").exists()
        assert await copied(hand)


async def test_who_is_cancelled_at_the_very_beginning_leaves_nothing_behind(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        await hand.put(data=json.dumps("z" * LARGE).encode())
        with anyio.CancelScope() as scope:
            scope.cancel()
            await copied(hand)
        assert await copied(hand)
        (claimed,) = await hand.take()
        await hand.settle(claimed)
        hand.now += 10
        await hand.store.prune(finished_before=hand.now, dead_before={}, now=hand.now)
        assert list((sqlite.path / "blobs").iterdir()) == []


async def test_a_copy_under_way_is_cut_by_a_cancellation(sqlite: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_PAGES", 1)
    async with sqlite.open() as hand:
        await full(hand)
        steps, scope = 0, anyio.CancelScope()
        look = backup.from_thread.check_cancelled

        def stepping() -> None:
            nonlocal steps
            steps += 1
            if steps == 2:
                anyio.from_thread.run_sync(scope.cancel)
            look()

        monkeypatch.setattr(backup.from_thread, "check_cancelled", stepping)
        with scope:
            await copied(hand)
        assert scope.cancelled_caught
        assert steps < 5
        assert not list(sqlite.path.glob("backup.draft*"))


async def test_a_backup_under_load_is_of_one_moment(
    sqlite: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_PAGES", 2)
    async with sqlite.open() as hand:
        for _ in range(200):
            await hand.put()
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                while True:
                    await hand.put(data=json.dumps("w" * 3000).encode())
                    for claimed in await hand.take(2):
                        await hand.settle(claimed)

            tasks.start_soon(work)
            archives = [await copied(hand) for _ in range(5)]
            tasks.cancel_scope.cancel()
    for number, archive in enumerate(archives):
        put_back(archive, tmp_path / str(number))
        async with open_store(tmp_path / str(number)) as store:
            assert await store.audit() == []


async def test_a_copy_that_would_take_the_stores_own_room_is_not_made(
    sqlite: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite.open() as hand:
        real = os.statvfs(sqlite.path)

        class Nearly:
            f_blocks, f_frsize = real.f_blocks, real.f_frsize
            f_bavail = 1 + (sqlite.path / "hub.db").stat().st_size // real.f_frsize

        with monkeypatch.context() as patch:
            patch.setattr(backup.os, "statvfs", lambda _: Nearly)
            with pytest.raises(Conflict, match="No space left"):
                await copied(hand)
        assert await copied(hand)


async def test_what_a_killed_backup_left_goes_at_the_next_start(sqlite: Home) -> None:
    async with sqlite.open():
        pass
    (sqlite.path / "backup.draft").write_bytes(b"half")
    (sqlite.path / "backup.draft-journal").write_bytes(b"half")
    (sqlite.path / "restore.draft").mkdir()
    async with sqlite.open():
        assert not list(sqlite.path.glob("*.draft*"))


async def test_two_restores_of_one_moment_keep_both_that_lay_there(sqlite: Home) -> None:
    async with sqlite.open() as hand:
        archive = await copied(hand)
        await hand.put()
    first, second = put_back(archive, sqlite.path), put_back(archive, sqlite.path)
    assert first.before != second.before
    assert first.before is not None
    async with open_store(first.before) as store:
        assert (await store.stats()).count(State.QUEUED) == 1


async def test_a_mark_that_the_power_cut_left_empty_moves_nothing_elsewhere(
    sqlite: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite.open() as hand:
        archive = await copied(hand)
    (sqlite.path / backup.UNFINISHED).write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="was cut short"):
        async with sqlite.open():
            pass
    done = put_back(archive, sqlite.path)
    assert done.before is not None
    assert done.before.parent == sqlite.path
    assert not list(Path.cwd().iterdir())


async def test_a_restored_name_is_on_disk_before_the_mark_goes(sqlite: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        archive = await copied(hand)
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        put_back(archive, sqlite.path)
    mark = synced.index(backup.UNFINISHED)
    assert {"hub.db", "blobs"} <= set(synced[:mark])
    assert [name for name in synced[mark:] if name != "var"] == [backup.UNFINISHED, "before-restore-now"]


async def test_a_store_in_memory_has_nothing_to_copy() -> None:
    async with Home("memory", Path()).open() as hand:
        with pytest.raises(Conflict):
            await copied(hand)


async def test_the_copy_is_one_file_for_its_owner_alone(sqlite: Home, tmp_path: Path) -> None:
    async with sqlite.open() as hand:
        await full(hand)
        await anyio.to_thread.run_sync(backup.copy, sqlite.path / "hub.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("copy.db-*"))
    db = sqlite3.connect(tmp_path / "copy.db")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
