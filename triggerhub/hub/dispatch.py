"""Claim what is owed to one function, call it, and settle what came of it.

Three loops that never wait for one another: the claim loop fills a short queue of claimed groups,
runners (as many as the function's concurrency) empty it, and one settler commits whatever outcomes
have gathered while its last commit ran.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.aws import arn
from triggerhub.crash import crash_point
from triggerhub.errors import StoreFull
from triggerhub.hub.clock import Clock
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.group import Group, groups
from triggerhub.hub.idempotent import Idempotent
from triggerhub.hub.intake import Depth, Mint
from triggerhub.hub.lane import LanePlan
from triggerhub.hub.outlet import HOPS
from triggerhub.hub.verdict import Verdicts
from triggerhub.model import (
    Bury,
    Complete,
    Interrupted,
    Invocation,
    Millis,
    Outcome,
    Retry,
)
from triggerhub.policy import pooling, rate
from triggerhub.settings import Function
from triggerhub.store import Claimed, Lane, Settlement, Store, Want
from triggerhub.telemetry.metrics import Metrics

log = structlog.get_logger("dispatch")

POLL: Millis = 30_000
"""Look at the store this often even if nothing called: a wakeup is only a hint."""
UNSETTLED = 256
"""How many outcomes may wait for their commit before runners wait, too."""


class Call(Protocol):
    """Runs one invocation; returns the outcome and the version that ran."""

    async def __call__(self, function: Function, invocation: Invocation, /) -> tuple[Outcome, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every dispatcher shares."""

    store: Store
    clock: Clock
    mint: Mint
    depth: Depth
    feed: Feed
    metrics: Metrics
    verdicts: Verdicts
    wake: Callable[[Lane], None]


class Dispatcher:
    """Serves one function's lanes."""

    def __init__(self, function: Function, call: Call, services: Services) -> None:
        self.function = function
        self.paused = False
        self._call = call
        self._services = services
        self._plans: dict[Lane, LanePlan] = {}
        self._order: deque[LanePlan] = deque()
        self._ready: deque[Group] = deque()
        self._running: dict[str, Group] = {}
        self._outstanding: Counter[Lane] = Counter()
        self._active = 0
        """Runners; each serves one group at a time."""
        self._serving = 0
        self._recent: float | None = None
        self._woken = asyncio.Event()
        self._owing: list[tuple[Claimed, Settlement]] = []
        self._owed = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopping = False
        self._bucket: rate.Bucket | None = None
        self.idempotent = Idempotent(services.store)
        self._tasks: TaskGroup

    @property
    def running(self) -> int:
        """How many invocations are under way."""
        return self._serving

    def configure(self, function: Function, plans: Mapping[Lane, LanePlan]) -> None:
        """Take over a new version and new policies; what is already claimed keeps the old policies."""
        if function.rate != self.function.rate:
            self._bucket = None
        self.function = function
        self._plans = dict(plans)
        self._order = deque(plans.values())
        self.wake()

    def serves(self, lane: Lane) -> bool:
        """Whether deliveries of this lane are claimed."""
        return lane in self._plans

    def wake(self) -> None:
        """Look for work soon."""
        self._woken.set()

    def stop(self) -> None:
        """Stop claiming; ``run`` then drains and returns."""
        self._stopping = True
        self._woken.set()

    def interrupt(self, delivery: str) -> None:
        """Cut the call that carries *delivery*, if it is running: its worker is killed."""
        group = self._running.get(delivery)
        if group is not None and group.scope is not None:
            group.scope.cancel()

    async def run(self, grace: float) -> None:
        """Serve until ``stop``; then finish running calls within *grace* seconds and give back the rest.

        Cancelled: running calls are cut at once and given back uncounted.
        """
        async with anyio.create_task_group() as self._tasks:
            settler = anyio.CancelScope(shield=True)
            self._tasks.start_soon(self._settle_loop, settler)
            try:
                await self._claim_loop()
                crash_point("during-drain")
                self._give_back()
                with anyio.move_on_after(grace):
                    await self._quiet()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._cut()
                    settler.cancel()

    # claiming

    async def _claim_loop(self) -> None:
        while not self._stopping:
            self._woken.clear()
            moment = None if self.paused else await self._claim()
            if not self._woken.is_set():
                await self._rest(moment)

    async def _rest(self, moment: Millis | None) -> None:
        clock = self._services.clock
        latest = clock.now() + POLL
        until = latest if moment is None else min(moment, latest)
        while not self._woken.is_set() and (left := until - clock.now()) > 0:
            with anyio.move_on_after(min(left / 1000, 1.0)):
                await self._woken.wait()

    async def _claim(self) -> Millis | None:
        wants = self._wants()
        if not wants:
            return None
        grants = await self._services.store.claim([want for _, want in wants], now=self._services.clock.now())
        crash_point("after-claim")
        moments = []
        for (plan, want), grant in zip(wants, grants, strict=True):
            for group in groups(plan, grant.claimed):
                self._outstanding[plan.lane] += 1
                self._ready.append(group)
            if grant.next is not None:
                moments.append(grant.next)
            elif len(grant.claimed) == want.limit:
                moments.append(0)
        self._start_runners()
        if moments and min(moments) <= self._services.clock.now() and not self._wants():
            return None
        return min(moments, default=None)

    def _wants(self) -> list[tuple[LanePlan, Want]]:
        ahead = 0 if self.function.rate else pooling.ahead(self._recent, concurrency=self.function.concurrency)
        free = self.function.concurrency - self._serving - len(self._ready)
        if ahead:
            free += ahead if len(self._ready) <= ahead // 2 else 0
        if free <= 0 or len(self._owing) > UNSETTLED or not self._order:
            return []
        self._order.rotate(-1)
        share = -(-free // len(self._order))
        wants = []
        for plan in self._order:
            room = share
            if plan.maximum_concurrency is not None:
                room = min(room, plan.maximum_concurrency - self._outstanding[plan.lane])
            batch = plan.batch
            if room <= 0:
                continue
            if batch.size == 1:
                wants.append((plan, Want(lane=plan.lane, limit=room, window=batch.window)))
            else:
                want = Want(lane=plan.lane, limit=batch.size, size=batch.size, window=batch.window)
                wants += [(plan, want)] * room
        return wants

    # running

    def _start_runners(self) -> None:
        if self._stopping:
            return
        for _ in range(min(self.function.concurrency - self._active, len(self._ready))):
            self._active += 1
            self._tasks.start_soon(self._work, name=f"call:{self.function.name}")

    async def _work(self) -> None:
        """Serve groups one after the other; ends when there are none, or when a call of its own was cut."""
        try:
            with anyio.CancelScope() as scope:
                while self._ready and not self._stopping:
                    group = self._ready.popleft()
                    group.scope = scope
                    self._serving += 1
                    try:
                        await self._serve(group)
                    finally:
                        self._serving -= 1
                        self._outstanding[group.plan.lane] -= 1
                        self._woken.set()
                    while len(self._owing) > UNSETTLED:
                        self._settled.clear()
                        await self._settled.wait()
        finally:
            self._active -= 1
            self._start_runners()
            self._woken.set()

    async def _serve(self, group: Group) -> None:
        answered, later, group.claimed = await self.idempotent.sift(group.claimed, now=self._services.clock.now())
        for claimed in answered:
            self._settle(claimed, Complete("idempotent"))
        for claimed, at in later:
            self._settle(claimed, Retry(at, counted=False))
        for claimed in [one for one in group.claimed if one.event.hops > HOPS]:
            group.claimed.remove(claimed)
            self._settle(claimed, Bury(f"stopped: {HOPS} handlers' answers led to one another"))
        if not group.claimed:
            return
        first = group.claimed[0].delivery
        started = self._services.clock.now()
        outcome: Outcome = Interrupted()
        version = self.function.version
        try:
            for claimed in group.claimed:
                self._running[claimed.delivery.id] = group
            await self._heed_rate()
            group.request_id = first.id if len(group.claimed) == 1 else self._services.mint()
            self._tell_started(group)
            outcome, version = await self._call(self.function, self._invocation(group))
        finally:
            for claimed in group.claimed:
                self._running.pop(claimed.delivery.id, None)
            self._judge(group, outcome, version, started)
        crash_point("between-handler-and-settle")

    def _invocation(self, group: Group) -> Invocation:
        first = group.claimed[0]
        plan = group.plan
        payload = plan.input if plan.input is not None else plan.envelope([one.event.data for one in group.claimed])
        return Invocation(
            request_id=group.request_id,
            function=self.function.name,
            payload=payload,
            deadline=0,
            arn=arn.function(self.function.name),
            attempt=first.delivery.attempts,
            deliveries=tuple(one.delivery.id for one in group.claimed),
            trace=first.event.trace,
        )

    async def _heed_rate(self) -> None:
        limit = self.function.rate
        if limit is None:
            return
        while True:
            now = self._services.clock.now()
            self._bucket, wait = rate.take(self._bucket or rate.Bucket.full(limit, now), limit, now)
            if wait <= 0:
                return
            await anyio.sleep(wait / 1000)

    # settling

    def _judge(self, group: Group, outcome: Outcome, version: str, started: Millis) -> None:
        now = self._services.clock.now()
        if not isinstance(outcome, Interrupted):
            self._recent = pooling.smoothed(self._recent, outcome.usage.duration_ms)
        settlements = self._services.verdicts.reach(group, outcome, version, self.function, started=started, now=now)
        self._owe(zip(group.claimed, settlements, strict=True))

    def _settle(self, claimed: Claimed, decision: Complete | Retry | Bury) -> None:
        settlement = Settlement(delivery=claimed.delivery.id, fence=claimed.fence, decision=decision)
        self._owe([(claimed, settlement)])

    def _owe(self, settlements: Iterable[tuple[Claimed, Settlement]]) -> None:
        self._owing.extend(settlements)
        self._owed.set()

    async def _settle_loop(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await self._owed.wait()
                self._owed.clear()
                await self._flush()

    async def _flush(self) -> None:
        owing, self._owing = self._owing, []
        if not owing:
            return
        services = self._services
        while True:
            try:
                held = await services.store.settle([one for _, one in owing], now=services.clock.now())
                break
            except StoreFull:
                log.error("the disk is full to the last byte: outcomes wait for room", function=self.function.name)
                await anyio.sleep(1)
        for (claimed, settlement), ok in zip(owing, held, strict=True):
            if ok:
                self._tell_settled(claimed, settlement)
            self.idempotent.done(settlement.delivery)
        self._settled.set()
        self._woken.set()

    def _tell_settled(self, claimed: Claimed, settlement: Settlement) -> None:
        services, name = self._services, self.function.name
        trigger = claimed.delivery.trigger
        kind, text = "succeeded", ""
        match settlement.decision:
            case Complete(reason):
                text = reason or ""
                services.depth.add(trigger, -1)
            case Retry(_, counted):
                kind = "retried" if counted else "returned"
                if counted:
                    services.metrics.count("retries", name)
            case Bury(reason):
                kind, text = "dead", reason
                services.depth.add(trigger, -1)
                services.metrics.count("dead", name)
        for intake in settlement.then:
            services.depth.add(intake.event.trigger, len(intake.owed))
            for owed in intake.owed:
                services.wake(Lane(intake.event.trigger, owed.function))
        if services.feed.watched:
            attempt = settlement.attempt
            if attempt is not None and attempt.error is not None:
                text = f"{attempt.error.type}: {attempt.error.message}" + (f" ({text})" if text else "")
            services.feed.publish(
                Happening(
                    time=services.clock.now(),
                    kind=kind,
                    trigger=trigger,
                    function=name,
                    delivery=settlement.delivery,
                    duration_ms=None if attempt is None else attempt.duration_ms,
                    text=text,
                )
            )

    def _tell_started(self, group: Group) -> None:
        if self._services.feed.watched:
            for claimed in group.claimed:
                self._services.feed.publish(
                    Happening(
                        time=self._services.clock.now(),
                        kind="started",
                        trigger=claimed.delivery.trigger,
                        function=self.function.name,
                        delivery=claimed.delivery.id,
                        attempt=claimed.delivery.attempts,
                    )
                )

    # ending

    def _give_back(self) -> None:
        now = self._services.clock.now()
        while self._ready:
            group = self._ready.popleft()
            self._outstanding[group.plan.lane] -= 1
            for claimed in group.claimed:
                self._settle(claimed, Retry(now, counted=False))

    async def _quiet(self) -> None:
        while self._active:
            self._woken.clear()
            await self._woken.wait()

    async def _cut(self) -> None:
        cut = sorted(self._running)
        for delivery in cut:
            self.interrupt(delivery)
        self._stopping = True
        self._give_back()
        with anyio.move_on_after(10):
            await self._quiet()
        if cut:
            log.warning("running calls were cut and given back", function=self.function.name, deliveries=cut)
        await self._flush()
