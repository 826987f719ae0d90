"""Large payloads beside the database; damaged ones, wherever they are, are never given to a handler."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stores.rig import NOW, Hand, accounts, intake
from triggerhub import ids
from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.model import State
from triggerhub.stores.blobs import LARGE, Blobs
from triggerhub.stores.sqlite import SQLiteStore, open_store

BIG = b"x" * (LARGE + 1)


@pytest_asyncio.fixture
async def store(data: Path) -> AsyncGenerator[SQLiteStore]:
    async with open_store(data) as store:
        yield store
        await accounts(store)


def files(data: Path) -> list[Path]:
    return sorted((data / "blobs").iterdir())


async def test_above_64_kb_a_payload_is_a_file_named_by_its_content(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    await hand.put(data=b"x" * LARGE)
    assert files(data) == []
    for _ in range(2):
        await hand.put(data=BIG)
    (file,) = files(data)
    assert file.name == hashlib.sha256(BIG).hexdigest()
    assert file.read_bytes() == BIG


@pytest.mark.parametrize(("durability", "expected"), [("full", ["file", "folder", "commit"]), ("normal", ["commit"])])
async def test_a_payload_and_its_name_are_on_disk_before_the_commit(
    data: Path, monkeypatch: pytest.MonkeyPatch, durability: str, expected: list[str]
) -> None:
    happened: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real(descriptor)

    def point(name: str) -> None:
        if name == "after-commit":
            happened.append("commit")

    async with open_store(data, durability=durability) as store:
        monkeypatch.setattr("triggerhub.stores.blobs.os.fsync", fsync)
        monkeypatch.setattr("triggerhub.stores.writer.crash_point", point)
        await Hand(store).put(data=BIG)
        assert happened == expected


async def test_what_no_event_uses_is_swept_at_the_next_opening(data: Path) -> None:
    async with open_store(data) as store:
        await Hand(store).put(data=BIG)
    (used,) = files(data)
    (data / "blobs" / ("0" * 64)).write_bytes(b"left by a crash before its commit")
    (data / "blobs" / "1.draft").write_bytes(b"half")
    async with open_store(data) as store:
        assert files(data) == [used]
        assert await store.size() < 1_000_000


async def test_a_transaction_that_fails_leaves_no_file(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    crowd = intake(*(f"f{number}" for number in range(256)))
    with pytest.raises(ValueError, match="at most 255"):
        await hand.accept(intake(data=BIG), crowd)
    assert files(data) == []
    # One that another event uses stays.
    await hand.put(data=BIG)
    with pytest.raises(ValueError, match="at most 255"):
        await hand.accept(intake(data=BIG), crowd)
    assert len(files(data)) == 1


async def test_the_last_event_takes_its_file_along(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    for _ in range(2):
        await hand.put(data=BIG)
    first, second = await hand.take()
    await hand.settle(first)
    hand.now += 1
    assert await store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
    assert len(files(data)) == 1
    await hand.settle(second)
    hand.now += 1
    assert await store.prune(finished_before=hand.now, dead_before={}, now=hand.now) == 1
    assert files(data) == []


async def test_a_file_pruned_and_wanted_again_in_one_group_stays(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    old = await hand.put(data=BIG)
    await store.cancel([old], now=NOW, reason="no")
    await store.redrive([old], now=NOW)
    (claimed,) = await hand.take()
    await hand.settle(claimed)
    hand.now += 1
    found = await asyncio.gather(
        store.prune(finished_before=hand.now, dead_before={}, now=hand.now),
        *(hand.accept(intake(data=BIG)) for _ in range(3)),
    )
    assert found[0] == 1
    assert [one.event.data for one in await hand.take()] == [BIG] * 3


@pytest.mark.parametrize("harm", ["missing", "shorter", "changed"])
async def test_a_damaged_file_buries_its_deliveries_and_stops_nobody_else(
    store: SQLiteStore, data: Path, harm: str
) -> None:
    hand = Hand(store)
    damaged, behind, other = [await hand.put(data=fill, order="k") for fill in (BIG, b"1", b"2")]
    free = await hand.put()
    (file,) = files(data)
    match harm:
        case "missing":
            file.unlink()
        case "shorter":
            file.write_bytes(BIG[:-1])
        case "changed":
            file.write_bytes(b"y" + BIG[1:])
    grant = await hand.grant()
    assert [one.delivery.id for one in grant.claimed] == [free]
    assert [one.id for one in grant.damaged] == [damaged]
    assert grant.next is not None
    assert grant.next <= NOW
    found = await hand.look(damaged)
    assert (found.state, found.attempts, found.finished) == (State.DEAD, 0, NOW)
    assert (
        found.reason == f"the payload of event {ids.event_of(damaged)} is damaged on disk: its checksum does not hold"
    )
    assert await hand.take_ids() == [behind]
    assert other in await hand.listed(state=State.QUEUED)


async def test_a_payload_damaged_within_the_database_is_buried_too(store: SQLiteStore) -> None:
    hand = Hand(store)
    one = await hand.put(data=b"whole")
    await store.writer.do(lambda t: t.db.execute("UPDATE event SET data = X'00'"))
    assert await hand.take() == []
    assert (await hand.look(one)).state is State.DEAD


async def test_a_file_that_the_disk_cannot_read_counts_as_damaged(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(store)
    one, other = await hand.put(data=BIG), await hand.put()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", _failing(errno.EIO))
        assert await hand.take_ids() == [other]
    assert (await hand.look(one)).state is State.DEAD


async def test_what_keeps_a_file_from_being_read_for_now_buries_nothing(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(store)
    one = await hand.put(data=BIG)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", _failing(errno.EMFILE))
        with pytest.raises(OSError, match="fails"):
            await hand.take()
    assert await hand.take_ids() == [one]


async def test_a_rotten_file_does_not_speak_for_a_new_payload(store: SQLiteStore, data: Path) -> None:
    hand = Hand(store)
    await hand.put(data=BIG)
    (file,) = files(data)
    file.write_bytes(b"rotten")
    size = await store.size()
    await hand.put(data=BIG)
    assert [one.event.data for one in await hand.take()] == [BIG, BIG]
    assert await store.size() - size < LARGE


def _failing(number: int):
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, "it fails")

    return fails


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreBroken)])
async def test_a_payload_that_cannot_be_written_is_not_accepted(
    store: SQLiteStore, data: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    hand = Hand(store)
    kept = await hand.put()
    with monkeypatch.context() as patch:
        patch.setattr("triggerhub.stores.blobs.os.fsync", _failing(number))
        with pytest.raises(expected):
            await hand.accept(intake(data=BIG))
    assert files(data) == []
    assert await hand.listed() == [kept]


def test_what_cannot_be_removed_now_is_counted_on(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", sync=False)
    name = blobs.put(BIG)
    blobs.sync()
    assert blobs.size == len(BIG)
    blobs.remove("0" * 64)
    assert blobs.size == len(BIG)
    blobs.remove(name)
    assert blobs.size == 0


async def test_a_process_without_a_descriptor_left_refuses_a_large_payload_and_settles(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(store)
    await hand.put()
    (claimed,) = await hand.take()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(errno.EMFILE))
        await hand.put(data=BIG)
        assert await hand.settle(claimed)
        patch.setattr(Path, "open", _failing(errno.EMFILE))
        with pytest.raises(OSError, match="it fails"):
            await hand.put(data=BIG + b"y")
    await hand.put(data=BIG + b"y")
