"""The audit counts the rows themselves, and says what the ledgers have wrong."""

from __future__ import annotations

from pathlib import Path

from tests.stores.rig import NOW, Hand
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import open_store


async def test_a_row_that_is_gone_from_the_database_is_told(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        await hand.put()
        gone = await hand.put()
        await store.writer.do(lambda t: t.db.execute("DELETE FROM delivery WHERE id = ?", (gone,)))
        assert await store.audit() == ["t → f: 1 queued deliveries, the ledger says 2"]


async def test_a_ledger_that_does_not_add_up_is_told(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        await Hand(store).put()
        await store.writer.do(lambda t: t.db.execute("UPDATE tally SET number = 3 WHERE entry = 'accepted'"))
        assert (await store.stats()).drift == 2
        assert await store.audit() == ["3 deliveries were accepted; the ledger accounts for 1"]


async def test_what_a_ledger_denies_is_listed_and_pruned_all_the_same(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        hand = Hand(store)
        one = await hand.put()
        await hand.settle((await hand.take())[0])
        await store.writer.do(lambda t: t.db.execute("UPDATE tally SET number = 0 WHERE entry = 'succeeded'"))
        assert [row.id for row in await store.page(Query(function="f"))] == [one]
        assert await store.prune(finished_before=NOW + 1, dead_before={}, now=NOW + 1) == 1


async def test_a_row_that_is_gone_from_memory_is_told() -> None:
    store = MemoryStore()
    del store.rows[await Hand(store).put()]
    assert await store.audit() == ["t → f: 0 queued deliveries, the ledger says 1"]


async def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    async with open_store(tmp_path / "var") as store:
        await Hand(store).put()
        assert await store.audit() == []
        await store.writer.do(lambda t: t.db.execute("PRAGMA writable_schema = ON"))
        forget = "UPDATE sqlite_schema SET sql = replace(sql, 'state = 0', 'state = 1') WHERE name = ?"
        await store.writer.do(lambda t: t.db.execute(forget, ("delivery_claimable",)))
    async with open_store(tmp_path / "var") as store:
        (found, *_) = await store.audit()
        assert "the database is damaged:" in found
        assert "delivery_claimable" in found
