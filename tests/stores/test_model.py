"""Any sequence of verbs, restarts and crashes leaves a store where a model of forty lines says it must be."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.stores.rig import NOW, attempt, intake
from triggerhub import ids
from triggerhub.model import Bury, Complete, Delivery, Event, Fault, Retry, State
from triggerhub.policy.batching import ready
from triggerhub.store import (
    Answered,
    Created,
    Fence,
    Intake,
    Lane,
    Query,
    Repeated,
    Settlement,
    Store,
    Want,
)
from triggerhub.stores.memory import MemoryStore
from triggerhub.stores.sqlite import open_store

LANES = [Lane(trigger, function) for trigger in ("t", "u") for function in ("f", "g")]
FAULT = Fault(type="E", message="m")
LARGE = b"x" * 70_000


class Model:
    """What the contract says, in the plainest way."""

    def __init__(self) -> None:
        self.rows: dict[str, Delivery] = {}
        self.events: dict[str, Event] = {}
        self.attempts: dict[str, int] = {}
        self.fences: dict[str, Fence] = {}
        self.keys: dict[tuple[str, str], tuple[str, tuple[str, ...], int]] = {}
        self.checkpoints: dict[str, str] = {}
        self.answers: dict[str, tuple[bytes, int]] = {}
        self.lease: tuple[str, int] | None = None
        self.accepted = self.discarded = self.pruned = 0

    def append(self, one: Intake, now: int) -> Created | Repeated:
        event = one.event
        known = self.keys.get((event.trigger, event.dedup_key or ""))
        if event.dedup_key and known and known[2] > now:
            return Repeated(event=known[0], deliveries=known[1])
        made = tuple(ids.delivery_id(event.id, n + 1) for n in range(len(one.owed)))
        for delivery, owed in zip(made, one.owed, strict=True):
            self.rows[delivery] = Delivery(
                id=delivery,
                event_id=event.id,
                trigger=event.trigger,
                function=owed.function,
                state=State.QUEUED,
                attempts=0,
                created=now,
                due=max(now, event.due or now),
                since=None if event.due is None else max(now, event.due),
                dedup_key=event.dedup_key,
                ordering_key=event.ordering_key,
            )
            self.attempts[delivery] = 0
        self.events[event.id] = event
        self.accepted += len(made)
        if event.dedup_key:
            self.keys[event.trigger, event.dedup_key] = (event.id, made, now + one.keep)
        return Created(event=event.id, deliveries=made)

    def line(self, one: Delivery) -> list[Delivery]:
        place = (one.trigger, one.function, one.ordering_key)
        rows = (row for row in self.rows.values() if (row.trigger, row.function, row.ordering_key) == place)
        return sorted((row for row in rows if not row.state.finished), key=lambda row: row.id)

    def free(self, one: Delivery) -> bool:
        if one.state is not State.QUEUED or one.ordering_key is None:
            return one.state is State.QUEUED
        line = self.line(one)
        return line[0] is one and not any(row.state is State.RUNNING for row in line)

    def claim(self, want: Want, owner: int, now: int) -> tuple[list[str], int | None]:
        def waiting() -> list[Delivery]:
            rows = [
                row for row in self.rows.values() if Lane(row.trigger, row.function) == want.lane and self.free(row)
            ]
            return sorted(rows, key=lambda row: (row.due, row.id))

        due = [row for row in waiting() if row.due <= now]
        taken: list[Delivery] = []
        if ready(len(due), due[0].due if due else None, size=want.size, window=want.window, now=now):
            taken = due[: want.limit]
        for row in taken:
            row.state, row.attempts, row.claims = State.RUNNING, row.attempts + 1, row.claims + 1
            self.fences[row.id] = Fence(owner, row.claims)
        left = waiting()
        moment = left[0].due if left else None
        if (count := sum(row.due <= now for row in left)) and moment is not None:
            moment = now if count >= want.size else max(now, moment + want.window)
        return [row.id for row in taken], moment

    def settle(self, one: Settlement, now: int) -> bool:
        row = self.rows.get(one.delivery)
        if row is None or row.state is not State.RUNNING or self.fences[row.id] != one.fence:
            return False
        if one.attempt:
            self.attempts[row.id] += 1
            row.version, row.duration_ms, row.error = one.attempt.version, one.attempt.duration_ms, one.attempt.error
        match one.decision:
            case Complete(reason):
                self.finish(row, State.SUCCEEDED, now, reason)
                row.error = row.error if one.attempt else None
            case Bury(reason):
                self.finish(row, State.DEAD, now, reason)
            case Retry(at, counted):
                row.state, row.due, row.attempts = State.QUEUED, at, row.attempts - (not counted)
        for follow in one.then:
            self.append(follow, now)
        return True

    def finish(self, row: Delivery, state: State, now: int, reason: str | None) -> None:
        row.state, row.finished, row.reason = state, now, reason

    def reap(self, owner: int) -> list[str]:
        back = []
        for row in self.rows.values():
            if row.state is State.RUNNING and self.fences[row.id].owner != owner:
                row.state, row.attempts, row.lost = State.QUEUED, row.attempts - 1, row.lost + 1
                back.append(row.id)
        return back

    def remove(self, gone: Sequence[str]) -> None:
        for one in gone:
            row = self.rows.pop(one)
            if not any(other.event_id == row.event_id for other in self.rows.values()):
                del self.events[row.event_id]


class Machine(RuleBasedStateMachine):
    """A store beside its model; after every step both must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model = Model()
        self.now = NOW
        self.number = 0
        self.claims: list[tuple[str, Fence]] = []
        self.store: Store = self.run(self.opened())

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    async def opened(self) -> Store:
        raise NotImplementedError

    def restart(self, *, crash: bool) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            self.run(self.stack.aclose())
        finally:
            self.runner.close()

    def new(
        self,
        functions: Sequence[str],
        trigger: str,
        order: str | None,
        key: str | None,
        wait: int,
        *,
        large: bool = False,
    ) -> Intake:
        self.number += 1
        return intake(
            *functions,
            trigger=trigger,
            event=ids.event_id(self.now, 0, self.number),
            key=key,
            keep=400 if key else 0,
            order=order,
            due=self.now + wait if wait else None,
            data=LARGE if large else b"%d" % self.number,
        )

    def some(self, picks: Sequence[int]) -> list[str]:
        """Return known deliveries by number, and one that was never there."""
        known = sorted(self.model.rows)
        return [known[pick % len(known)] if known else ids.delivery_id(ids.first_at(1), 1) for pick in picks]

    # rules

    @rule(
        functions=st.sampled_from([("f",), ("g",), ("f", "g")]),
        trigger=st.sampled_from(["t", "u"]),
        order=st.sampled_from([None, "x", "y"]),
        keys=st.lists(st.sampled_from([None, None, "k", "l"]), min_size=1, max_size=3),
        wait=st.sampled_from([0, 0, 100]),
        large=st.integers(0, 7),
    )
    def append(
        self, functions: tuple[str, ...], trigger: str, order: str | None, keys: list[str | None], wait: int, large: int
    ) -> None:
        intakes = [self.new(functions, trigger, order, key, wait, large=large == 0) for key in keys]
        said = self.run(self.store.append(intakes, now=self.now, checkpoints={("s", trigger): str(self.number)}))
        assert said == [self.model.append(one, self.now) for one in intakes]
        self.model.checkpoints[trigger] = str(self.number)

    @rule(order=st.sampled_from(["x", "y"]), lag=st.integers(1, 50))
    def append_late(self, order: str, lag: int) -> None:
        """An event whose id is older than what its line holds already."""
        self.number += 1
        late = intake("f", event=ids.event_id(self.now - lag, 0, self.number), order=order)
        assert self.run(self.store.append([late], now=self.now)) == [self.model.append(late, self.now)]

    @rule(
        lanes=st.lists(st.sampled_from(LANES), min_size=1, max_size=3),
        limit=st.integers(1, 4),
        size=st.sampled_from([1, 1, 2, 3]),
        window=st.sampled_from([0, 150]),
    )
    def claim(self, lanes: list[Lane], limit: int, size: int, window: int) -> None:
        wants = [Want(lane=lane, limit=limit, size=size, window=window) for lane in lanes]
        grants = self.run(self.store.claim(wants, now=self.now))
        for want, grant in zip(wants, grants, strict=True):
            taken, moment = self.model.claim(want, self.store.owner, self.now)
            assert [one.delivery.id for one in grant.claimed] == taken
            for one in grant.claimed:
                assert one.delivery == self.model.rows[one.delivery.id]
                assert one.event == self.model.events[one.delivery.event_id]
                assert one.fence == self.model.fences[one.delivery.id]
                self.claims.append((one.delivery.id, one.fence))
            if moment is not None and moment <= self.now:
                assert grant.next is not None
                assert grant.next <= self.now
            else:
                assert grant.next == moment

    @precondition(lambda self: self.claims)
    @rule(
        picks=st.lists(
            st.tuples(
                st.integers(0, 100),
                st.sampled_from(["complete", "bury", "retry", "later", "back"]),
                st.booleans(),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def settle(self, picks: list[tuple[int, str, bool, bool]]) -> None:
        """Settle claims, the newest more often; those long over must settle nothing."""
        batch = []
        for pick, wish, ran, follows in picks:
            delivery, fence = self.claims[-1 - pick % min(len(self.claims), 6)]
            decision = {
                "complete": Complete(),
                "bury": Bury("no"),
                "retry": Retry(self.now),
                "later": Retry(self.now + 120),
                "back": Retry(self.now, counted=False),
            }[wish]
            record = attempt(
                "raised" if wish in ("bury", "retry") else "returned", error=FAULT if wish == "bury" else None
            )
            then = (self.new(("g",), "u", "x", None, 0),) if follows else ()
            batch.append(
                Settlement(
                    delivery=delivery, fence=fence, decision=decision, attempt=record if ran else None, then=then
                )
            )
        assert self.run(self.store.settle(batch, now=self.now)) == [self.model.settle(one, self.now) for one in batch]

    @rule(picks=st.lists(st.integers(0, 100), min_size=1, max_size=3))
    def cancel(self, picks: list[int]) -> None:
        asked = self.some(picks)
        said = self.run(self.store.cancel(asked, now=self.now, reason="by hand"))
        wanted = [one for one in dict.fromkeys(asked) if self.is_there(one) and not self.model.rows[one].state.finished]
        assert said == wanted
        for one in wanted:
            self.model.finish(self.model.rows[one], State.CANCELLED, self.now, "by hand")

    @rule(picks=st.lists(st.integers(0, 100), min_size=1, max_size=4))
    def redrive(self, picks: list[int]) -> None:
        asked = self.some(picks)
        said = self.run(self.store.redrive(asked, now=self.now))
        wanted = [one for one in dict.fromkeys(asked) if self.is_there(one) and self.model.rows[one].state.finished]
        assert said == wanted
        for one in wanted:
            row = self.model.rows[one]
            row.state, row.attempts, row.lost = State.QUEUED, 0, 0
            row.due = row.since = self.now
            row.finished = row.reason = row.error = None

    @rule(picks=st.lists(st.integers(0, 100), min_size=1, max_size=4))
    def retry(self, picks: list[int]) -> None:
        asked = self.some(picks)
        said = self.run(self.store.retry(asked, now=self.now))
        wanted = [
            one
            for one in dict.fromkeys(asked)
            if self.is_there(one)
            and (row := self.model.rows[one]).state is State.QUEUED
            and row.attempts > 0
            and row.due > self.now
        ]
        assert said == wanted
        for one in wanted:
            self.model.rows[one].due = self.now

    @rule(picks=st.lists(st.integers(0, 100), min_size=1, max_size=3))
    def discard(self, picks: list[int]) -> None:
        asked = self.some(picks)
        said = self.run(self.store.discard(asked, now=self.now))
        wanted = [
            one for one in dict.fromkeys(asked) if self.is_there(one) and self.model.rows[one].state is State.DEAD
        ]
        assert said == wanted
        self.model.remove(wanted)
        self.model.discarded += len(wanted)

    @rule(age=st.sampled_from([0, 100, 300]), dead=st.sampled_from([0, 100, 300]), limit=st.sampled_from([1, 3, 1000]))
    def prune(self, age: int, dead: int, limit: int) -> None:
        before, dead_before = self.now - age, {"g": self.now - dead}
        count = self.run(self.store.prune(finished_before=before, dead_before=dead_before, now=self.now, limit=limit))
        old = set()
        for row in self.model.rows.values():
            moment = dead_before.get(row.function, before) if row.state is State.DEAD else before
            if row.finished is not None and row.finished < moment:
                old.add(row.id)
        # Which of the old ones go first is the store's own affair.
        there = {one.id for one in self.run(self.store.page(Query(limit=10_000)))}
        gone = set(self.model.rows) - there
        assert gone <= old
        assert count == len(gone) == min(len(old), limit)
        self.model.remove(sorted(gone))
        self.model.pruned += count

    @rule(key=st.sampled_from(["i", "j"]), horizon=st.sampled_from([0, 150]))
    def keep_answer(self, key: str, horizon: int) -> None:
        self.number += 1
        payload = b"%d" % self.number
        self.run(self.store.keep_answer(Answered(function="f", key=key, payload=payload, until=self.now + horizon)))
        self.model.answers[key] = (payload, self.now + horizon)

    @rule()
    def answer(self) -> None:
        said = self.run(self.store.answer([("f", "i"), ("f", "j")], now=self.now))
        kept = [self.model.answers.get(key) for key in ("i", "j")]
        assert said == [one[0] if one and one[1] > self.now else None for one in kept]

    @rule(holder=st.sampled_from(["a", "b"]), let_go=st.booleans())
    def lease(self, holder: str, let_go: bool) -> None:
        held = self.model.lease
        if let_go:
            self.run(self.store.unlease("n", holder))
            if held and held[0] == holder:
                self.model.lease = None
            return
        got = self.run(self.store.lease("n", holder, 100, now=self.now))
        assert (got is None) == (held is not None and held[0] != holder and held[1] > self.now)
        if got is not None:
            self.model.lease = (holder, self.now + 100)

    @rule(by=st.sampled_from([1, 100, 500]))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(crash=st.booleans(), reaping=st.booleans())
    def reopen(self, crash: bool, reaping: bool) -> None:
        before = self.store.owner
        self.restart(crash=crash)
        assert self.store.owner > before
        if reaping:
            self.reap()

    @rule()
    def reap(self) -> None:
        said = self.run(self.store.reap())
        assert sorted(said) == sorted(self.model.reap(self.store.owner))

    @rule(
        state=st.sampled_from([None, *State]),
        function=st.sampled_from([None, "f"]),
        trigger=st.sampled_from([None, "u"]),
        age=st.sampled_from([None, 100]),
        limit=st.integers(1, 4),
    )
    def page(self, state: State | None, function: str | None, trigger: str | None, age: int | None, limit: int) -> None:
        """All pages of a question, joined, are the answer."""
        since = None if age is None else self.now - age
        query = Query(state=state, function=function, trigger=trigger, since=since, limit=limit)
        found: list[Delivery] = []
        while page := self.run(self.store.page(query)):
            assert len(page) <= limit
            found += page
            query = replace(query, before=page[-1].id)
        assert found == [
            row
            for row in sorted(self.model.rows.values(), key=lambda row: row.id, reverse=True)
            if state in (None, row.state)
            and function in (None, row.function)
            and trigger in (None, row.trigger)
            and (since is None or row.created >= since)
        ]

    # what holds after every step

    def is_there(self, delivery: str) -> bool:
        return delivery in self.model.rows

    @invariant()
    def store_and_model_agree(self) -> None:
        self.run(self.agree())

    async def agree(self) -> None:
        rows = {row.id: row for row in await self.store.page(Query(limit=10_000))}
        assert rows == self.model.rows
        places = [
            (row.trigger, row.function, row.ordering_key)
            for row in rows.values()
            if row.state is State.RUNNING and row.ordering_key is not None
        ]
        assert len(places) == len(set(places)), "two run of one ordering key"
        assert await self.store.audit() == []
        stats = await self.store.stats()
        assert stats.drift == 0
        counts = (self.model.accepted, self.model.discarded, self.model.pruned)
        assert (stats.accepted, stats.discarded, stats.pruned) == counts

    @rule()
    def look_at_everything(self) -> None:
        for identifier, event in self.model.events.items():
            found = self.run(self.store.event(identifier))
            assert found is not None
            assert found[0] == event
            for row in found[1]:
                assert row == self.model.rows[row.id]
                detail = self.run(self.store.get(row.id))
                assert len(detail.attempts) == self.model.attempts[row.id]
        assert self.run(self.store.checkpoints("s")) == self.model.checkpoints


class MemoryMachine(Machine):
    async def opened(self) -> Store:
        self.memory = MemoryStore()
        return self.memory

    def restart(self, *, crash: bool) -> None:
        self.memory.reopen()


class SQLiteMachine(Machine):
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="triggerhub-model-"))
        self.openings = 0
        super().__init__()

    @property
    def data(self) -> Path:
        return self.folder / str(self.openings)

    async def opened(self) -> Store:
        return await self.stack.enter_async_context(open_store(self.data, durability="normal"))

    def restart(self, *, crash: bool) -> None:
        """Close and open again; a crash leaves the files as they are, the log not yet in the database."""
        before = self.data
        if crash:
            self.openings += 1
            shutil.copytree(before, self.data)
        self.run(self.stack.aclose())
        self.store = self.run(self.opened())
        if crash:
            shutil.rmtree(before)
        # No payload file without an event, and none missing.
        large = sum(len(event.data) > 65_536 for event in self.model.events.values())
        assert len(list((self.data / "blobs").iterdir())) == min(large, 1)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.folder)


@pytest.mark.timeout(600)  # a failure is worth being shrunk
@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 40), (SQLiteMachine, 25)], ids=["memory", "sqlite"])
def test_a_store_does_what_its_model_does(machine: type[Machine], examples: int) -> None:
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case().runTest()
