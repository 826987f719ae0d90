"""Keep the ledger of a simulated day, and look at it at every step.

A hub reaches its store through a :class:`Wire`, which is slow, and where the hub may die before or after
what it asked for was done. What happens is held against what was promised at each of those steps.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from triggerhub.errors import StoreBroken
from triggerhub.hub.dispatch import HUB_FAULT
from triggerhub.model import Bury, Complete, Millis, Retry, State
from triggerhub.settings import HOUR, Project
from triggerhub.store import Claimed, Created, Fence, Grant, Settlement, Stats
from triggerhub.stores.memory import MemoryStore

Line = tuple[str, str, str]
"""Function, trigger and ordering key."""
AUDIT = 64
"""Steps between looks at every row."""
LATENESS = (0.2, 2.0, 10.0, 1200.0)
"""Seconds within which a settle comes to the store that its hub had asked for when it died."""
LOOKED_AT = ("append", "claim", "settle", "reap", "cancel", "redrive", "retry", "discard", "prune")


class Died(StoreBroken):
    """What a dead hub gets from its store: nothing more."""

    def __init__(self) -> None:
        super().__init__("the hub died")


@dataclass
class World:
    """What is true, whatever hubs think."""

    store: MemoryStore
    draw: random.Random
    now: Callable[[], Millis]
    project: Project
    problems: list[str] = field(default_factory=list)
    steps: int = 0
    calls: int = 0
    deaths: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """How often each delivery was given back because its hub had died."""
    accepted: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    slots: Counter[tuple[str, Millis]] = field(default_factory=Counter)
    """How often each slot of each schedule was accepted."""
    returned: set[tuple[str, int]] = field(default_factory=set)
    """Deliveries whose handler came to its end, and which claim that was."""
    answered: dict[tuple[str, str], Millis] = field(default_factory=dict)
    """Until when each idempotency key's answer is kept."""
    running: dict[str, Fence] = field(default_factory=dict)
    lines: dict[Line, str] = field(default_factory=dict)
    """Who runs in each line of an ordering key."""
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """A word for all that happened, in its order."""
        return str(self._digest.hexdigest()[:16])

    def problem(self, what: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(f"{self.now()}, step {self.steps}: {what}")

    def note(self, *what: object) -> None:
        """Make something part of the digest."""
        self._digest.update(repr((self.now(), what)).encode())

    # what the store did

    async def did(self, verb: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Hold what the store just did against what was promised."""
        self.steps += 1
        if verb not in LOOKED_AT:
            return
        getattr(self, f"_{verb}")(arguments, result)
        self._count(verb, await self.store.stats())
        if self.steps % AUDIT == 0:
            self.problems += await self.store.audit()

    def _count(self, verb: str, stats: Stats) -> None:
        counts = dict.fromkeys(State, 0)
        for lane in stats.by_lane.values():
            for state, number in lane.items():
                counts[state] += number
        self.note(verb, stats.accepted, *counts.values())
        drift = stats.accepted - stats.discarded - stats.pruned - sum(counts.values())
        if drift:
            self.problem(f"the ledgers drift by {drift}")
        if counts[State.RUNNING] != len(self.running):
            self.problem(f"{counts[State.RUNNING]} run by the store's word, and {len(self.running)} were claimed")

    def _append(self, arguments: tuple[Any, ...], result: Sequence[Any]) -> None:
        for intake, answer in zip(arguments[0], result, strict=True):
            self._new(intake, isinstance(answer, Created))

    def _new(self, intake: Any, created: bool) -> None:
        trigger = self.project.triggers.get(intake.event.trigger)
        if created and trigger is not None and trigger.type == "cron":
            self.slots[trigger.name, intake.event.time] += 1
            if self.slots[trigger.name, intake.event.time] > 1:
                self.problem(f"the slot {intake.event.time} of {trigger.name} was taken twice")

    def _claim(self, arguments: tuple[Any, ...], result: Sequence[Grant]) -> None:
        for grant in result:
            for one in grant.claimed:
                self._claimed(one)

    def _claimed(self, one: Claimed) -> None:
        delivery = one.delivery
        if delivery.id in self.running:
            self.problem(f"{delivery.id} was claimed while it ran")
        if delivery.due > self.now():
            self.problem(f"{delivery.id} was claimed before it was due")
        if delivery.attempts > self.limit(delivery.trigger, delivery.function):
            self.problem(f"{delivery.id} is at attempt {delivery.attempts}")
        self.running[delivery.id] = one.fence
        if delivery.ordering_key is not None:
            line = delivery.function, delivery.trigger, delivery.ordering_key
            if line in self.lines:
                self.problem(f"two run in the line {line}: {self.lines[line]} and {delivery.id}")
            self.lines[line] = delivery.id

    def _settle(self, arguments: tuple[Any, ...], result: Sequence[bool]) -> None:
        for settlement, held in zip(arguments[0], result, strict=True):
            if held:
                self._settled(settlement)

    def _settled(self, one: Settlement) -> None:
        fence = self.running.get(one.delivery)
        if fence != one.fence:
            self.problem(f"{one.delivery} was settled for {one.fence}, and {fence} has it")
        self._ended(one.delivery)
        if one.attempt is not None and one.attempt.error is not None and one.attempt.error.type == HUB_FAULT:
            self.problem(f"{one.delivery} failed within the hub: {one.attempt.error.message}")
        match one.decision:
            case Complete(reason):
                ran = (one.delivery, one.fence.claim) in self.returned
                if not ran and reason != "idempotent":
                    self.problem(f"{one.delivery} succeeded, and did not run")
            case Bury() | Retry():
                pass
        if one.answer is not None:
            self.answered[one.answer.function, one.answer.key] = one.answer.until
        for intake in one.then:
            self._new(intake, created=True)

    def _reap(self, arguments: tuple[Any, ...], result: Sequence[str]) -> None:
        for delivery in list(self.running):
            row = self.store.rows[delivery]
            if row.delivery.state is State.RUNNING:
                self.problem(f"{delivery} was not given back: nobody runs it")
            self.lost[delivery] += 1
            self._ended(delivery)

    def _cancel(self, arguments: tuple[Any, ...], result: Sequence[str]) -> None:
        for delivery in result:
            self._ended(delivery)

    def _redrive(self, arguments: tuple[Any, ...], result: Sequence[str]) -> None:
        for delivery in result:
            self.lost[delivery] = 0
            if delivery in self.running:
                self.problem(f"{delivery} was redriven while it ran")

    def _retry(self, arguments: tuple[Any, ...], result: Sequence[str]) -> None:
        for delivery in result:
            if delivery in self.running:
                self.problem(f"{delivery} was tried now while it ran")

    def _discard(self, arguments: tuple[Any, ...], result: Sequence[str]) -> None:
        self.removed.update(result)

    def _prune(self, arguments: tuple[Any, ...], result: int) -> None:
        self.removed |= {one for one in self.accepted if one not in self.store.rows}

    def _ended(self, delivery: str) -> None:
        if self.running.pop(delivery, None) is not None:
            self.lines = {line: one for line, one in self.lines.items() if one != delivery}

    # what handlers did

    def begins(self, function: str, deliveries: Sequence[str], busy: int) -> list[tuple[str, int]]:
        """Note that a handler begins; returns the claims that it works for."""
        self.calls += 1
        if busy > self.project.functions[function].concurrency:
            self.problem(f"{busy} calls of {function} at once")
        claims = []
        for one in deliveries:
            row = self.store.rows.get(one)
            if row is None or one not in self.running:
                continue  # cancelled a moment ago
            claims.append((one, row.delivery.claims))
            key = row.delivery.idempotency_key
            if key is not None and self.answered.get((function, key), 0) > self.now():
                self.problem(f"{one} ran, and the answer for its key {key} was kept")
        self.note("begins", function, *deliveries)
        return claims

    def lines_of(self, deliveries: Sequence[str]) -> set[Line]:
        """Return the lines in which these deliveries stand."""
        rows = [row.delivery for one in deliveries if (row := self.store.rows.get(one))]
        return {(one.function, one.trigger, one.ordering_key) for one in rows if one.ordering_key is not None}

    def returns(self, claims: Sequence[tuple[str, int]]) -> None:
        """Note that a handler came to its end."""
        self.returned.update(claims)

    # what people are told

    def limit(self, trigger: str, function: str) -> int:
        """Return how many attempts a delivery may have."""
        found = self.project.triggers.get(trigger)
        policy = self.project.functions[function].retry if found is None else found.retry.get(function)
        return (policy or self.project.functions[function].retry).attempts

    def close(self) -> None:
        """Look at how the day ended."""
        if lost := [one for one in self.accepted if one not in self.store.rows and one not in self.removed]:
            self.problem(f"{len(lost)} accepted deliveries are not known: {lost[:3]}")
        for row in self.store.rows.values():
            one = row.delivery
            self.note(one.id, one.state, one.attempts, one.finished)
            if not one.state.finished and one.created < self.now() - HOUR:
                self.problem(f"{one.id} of {one.trigger} is stuck: {one}")
            if one.state is State.DEAD and one.attempts < self.limit(one.trigger, one.function) and one.lost < 10:
                self.problem(f"{one.id} is dead after {one.attempts} attempts: {one.reason}")


class Wire:
    """A store as one life of a hub reaches it."""

    def __init__(
        self, world: World, die: Callable[[], None], fate: Callable[[str], bool], lateness: tuple[float, ...] = LATENESS
    ) -> None:
        self._world = world
        self._die = die
        self._fate = fate
        self._lateness = lateness
        self.dead = False
        self.late: set[asyncio.Task[None]] = set()
        self._under_way: dict[object, tuple[str, tuple[Any, ...], dict[str, Any]]] = {}

    @property
    def owner(self) -> int:
        return self._world.store.owner

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **more: Any) -> Any:
            return await self._call(verb, arguments, more)

        return call

    async def _call(self, verb: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Any:
        self._living()
        token = object()
        self._under_way[token] = (verb, arguments, more)
        try:
            await self._slowly()
            self._living()
            if self._fate(verb):
                self._die()
                raise Died
        finally:
            del self._under_way[token]
        result = await self._apply(verb, arguments, more)
        if self._fate(verb):
            self._die()
            raise Died
        await self._slowly()
        self._living()
        return result

    async def _apply(self, verb: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Any:
        result = await getattr(self._world.store, verb)(*arguments, **more)
        await self._world.did(verb, arguments, result)
        return result

    async def _slowly(self) -> None:
        draw = self._world.draw
        if draw.random() < 0.3:
            await asyncio.sleep(draw.random() * 0.003)

    def _living(self) -> None:
        if self.dead:
            raise Died

    def cut(self) -> None:
        """End the life; settles that are under way may still come to the store, much later."""
        self.dead = True
        for verb, arguments, more in list(self._under_way.values()):
            if verb == "settle" and self._world.draw.random() < 0.8:
                task = asyncio.get_running_loop().create_task(self._later(arguments, more))
                self.late.add(task)

    async def _later(self, arguments: tuple[Any, ...], more: dict[str, Any]) -> None:
        await asyncio.sleep(self._world.draw.random() * self._world.draw.choice(self._lateness))
        await self._apply("settle", arguments, more)
