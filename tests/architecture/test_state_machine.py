"""docs/state_machine.md draws what a store does: every arrow, and no other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from tests.architecture.documents import ROOT, blocks
from triggerhub import ids
from triggerhub.model import Bury, Complete, Event, Leave, Retry, State
from triggerhub.policy.retry import HOPS, LOST
from triggerhub.store import Claimed, Intake, Lane, Owed, Record, Settlement, Want
from triggerhub.stores.memory import MemoryStore

DOCUMENT = ROOT / "docs" / "state_machine.md"
TEXT = DOCUMENT.read_text()
NOW = 1_767_225_600_000
OUTSIDE = "[*]"


async def test_the_picture_has_every_arrow_that_there_is_and_no_other() -> None:
    (picture,) = blocks(DOCUMENT, "mermaid")
    drawn = set(re.findall(r"(?m)^ +(\S+) --> (\S+): ", picture.text))
    assert drawn == await walked()


async def walked() -> set[tuple[str, str]]:
    """Do everything to a delivery in each state; return the changes that came of it."""
    seen: set[tuple[str, str]] = set()
    for state in (OUTSIDE, *State):
        for act in ACTS:
            store = MemoryStore()
            claimed = await brought(store, state)
            before = await standing(store)
            assert before == state
            await act(store, claimed)
            if (after := await standing(store)) != before:
                seen.add((before, after))
    return seen


async def brought(store: MemoryStore, state: str) -> Claimed | None:
    """Bring the store's one delivery into a state; return its claim where it is running or was."""
    if state == OUTSIDE:
        return None
    await append(store, None)
    if state == State.QUEUED:
        return None
    if state == State.CANCELLED:
        await store.cancel([DELIVERY], now=NOW, reason="no more")
        return None
    claimed = await claim(store, None)
    if state == State.SUCCEEDED:
        await settle(Complete())(store, claimed)
    elif state == State.DEAD:
        await settle(Bury("failed"))(store, claimed)
    return claimed


async def standing(store: MemoryStore) -> str:
    found = await store.get(DELIVERY)
    return found.delivery.state.value if found else OUTSIDE


EVENT = ids.event_id(NOW, 0, 1)
DELIVERY = ids.delivery_id(EVENT, 1)
INTAKE = Intake(
    event=Event(data=b"{}", time=NOW, id=EVENT, trigger="t", dedup_key="k"), owed=(Owed(function="f"),), keep=1000
)
LANE = Lane(trigger="t", function="f")


async def append(store: MemoryStore, _: Claimed | None) -> None:
    await store.append([INTAKE], now=NOW)


async def claim(store: MemoryStore, _: Claimed | None) -> Claimed | None:
    (grant,) = await store.claim([Want(lane=LANE, limit=1)], now=NOW)
    return grant.claimed[0] if grant.claimed else None


def settle(decision: Complete | Bury | Retry) -> Callable[[MemoryStore, Claimed | None], Awaitable[None]]:
    async def act(store: MemoryStore, claimed: Claimed | None) -> None:
        if claimed is not None:
            await store.settle([Settlement(delivery=DELIVERY, fence=claimed.fence, decision=decision)], now=NOW)

    return act


def record(decision: Complete | Bury | Leave) -> Callable[[MemoryStore, Claimed | None], Awaitable[None]]:
    async def act(store: MemoryStore, _: Claimed | None) -> None:
        await store.record([Record(intake=INTAKE, decision=decision)], now=NOW)

    return act


async def die(store: MemoryStore, _: Claimed | None) -> None:
    store.reopen()
    await store.reap()


async def cancel(store: MemoryStore, _: Claimed | None) -> None:
    await store.cancel([DELIVERY], now=NOW, reason="no more")


async def redrive(store: MemoryStore, _: Claimed | None) -> None:
    await store.redrive([DELIVERY], now=NOW)


async def retry(store: MemoryStore, _: Claimed | None) -> None:
    await store.retry([DELIVERY], now=NOW)


async def discard(store: MemoryStore, _: Claimed | None) -> None:
    await store.discard([DELIVERY], now=NOW)


async def prune(store: MemoryStore, _: Claimed | None) -> None:
    await store.prune(finished_before=NOW + 1, dead_before={}, now=NOW)


ACTS = (
    append, claim, settle(Complete()), settle(Bury("failed")), settle(Retry(NOW)), settle(Retry(NOW, counted=False)),
    record(Complete()), record(Bury("spent")), record(Leave("left")), die, cancel, redrive, retry, discard, prune,
)  # fmt: skip


def test_every_state_is_explained_and_in_the_sum() -> None:
    assert re.findall(r"(?m)^\| `(\w+)` \|", TEXT) == [state.value for state in State]
    (sum_,) = re.findall(r"(?m)^accepted = (.*)$", TEXT)
    assert sum_.split(" + ") == [*(state.value for state in State), "discarded", "pruned"]


def test_its_numbers_are_those_of_the_code() -> None:
    assert LOST == 10
    assert "the hub died ten times" in TEXT
    assert f"more than {HOPS} handlers' answers" in TEXT
