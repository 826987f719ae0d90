"""Claim what is owed to one function, call it, and hand over what came of it.

Three loops that never wait for one another: the claim loop fills a short queue of claimed groups,
runners (as many as the function's concurrency) empty it, and the settler commits whatever outcomes
have gathered while its last commit ran.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.aws import arn, errors
from triggerhub.crash import crash_point
from triggerhub.errors import SourceFailed, StoreBroken
from triggerhub.hub.bell import Bell
from triggerhub.hub.clock import LOOK
from triggerhub.hub.feed import Happening
from triggerhub.hub.group import Group, groups
from triggerhub.hub.idempotent import holder
from triggerhub.hub.lane import LanePlan
from triggerhub.hub.services import Services
from triggerhub.hub.settler import Owing, Settler
from triggerhub.hub.throttle import Throttle
from triggerhub.hub.turns import Turns
from triggerhub.model import Bury, Complete, Crashed, Delivery, Fault, Interrupted, Invocation, Millis, Outcome, Retry
from triggerhub.policy import pooling, retry
from triggerhub.settings import Function
from triggerhub.store import Claimed, Lane, Settlement

log = structlog.get_logger("dispatch")

POLL = 30.0
"""Look at the store this often, in seconds, even if nothing called: a wakeup is only a hint."""
PATIENCE = 10.0
"""Seconds that a shutdown waits for calls that were cut to end, and then for their commit."""
HUB_FAULT = "Hub.InternalError"
"""The error type where the hub itself, or a source's own code, failed around a call."""


class Call(Protocol):
    """Runs one invocation; returns the outcome and the version that ran.

    Interrupted, and no deadline is set, where *giving_up* says so by the time that it could begin.
    """

    async def __call__(
        self, function: Function, invocation: Invocation, /, *, giving_up: Callable[[], bool]
    ) -> tuple[Outcome, str]: ...


class Dispatcher:
    """Serves one function's lanes."""

    def __init__(self, function: Function, call: Call, services: Services) -> None:
        self.function = function
        self.throttle = Throttle(services.clock, function.rate)
        self.idempotent = services.idempotent
        self._call = call
        self._services = services
        self._paused = False
        self._turns = Turns()
        self._ready: deque[Group] = deque()
        self._held: dict[str, Group] = {}
        """The groups of what is claimed and not judged yet, by delivery."""
        self._cut_off: list[str] = []
        """What was running when the hub was cancelled as a whole."""
        self._active = 0
        """Runners; each serves one group at a time."""
        self._serving = 0
        self.trouble: str | None = None
        """Why nothing could be claimed lately; None is well."""
        self._recent: float | None = None
        self._woken = Bell()
        self._stopping = asyncio.Event()
        self._settler = Settler(function.name, services, self._freed)
        self._tasks: TaskGroup

    @property
    def running(self) -> int:
        """How many invocations are under way."""
        return self._serving

    def configure(self, function: Function, plans: Mapping[Lane, LanePlan]) -> None:
        """Take over a new version and new policies; what is already claimed keeps the old policies."""
        self.function = function
        self.throttle.set(function.rate)
        self._turns.configure(plans)
        self._woken.set()

    def serves(self, lane: Lane) -> bool:
        """Whether deliveries of this lane are claimed."""
        return lane in self._turns.plans

    def plan(self, lane: Lane) -> LanePlan | None:
        """Return the policies of a lane; None where it is not served any more."""
        return self._turns.plans.get(lane)

    def wake(self, lane: Lane | None = None) -> None:
        """Look for work soon: in one lane, or in all of them."""
        self._turns.wake(lane)
        self._woken.set()

    def pause(self) -> None:
        """Claim nothing, and give back what was claimed and has not begun."""
        self._paused, self.trouble = True, None
        self._give_back()
        self.throttle.stir()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._paused = False
        self.wake()

    def stop(self) -> None:
        """Stop claiming; ``run`` then drains and returns."""
        self._stopping.set()
        self._woken.set()
        self.throttle.stir()

    def halting(self) -> bool:
        """Whether nothing may begin: the function is paused, or the dispatcher is stopped."""
        return self._paused or self._stopping.is_set()

    def limit(self, lane: Lane, row: Delivery) -> str | None:
        """Say which limit a delivery waits for that is due and has not begun; None where it has, or is about to."""
        group = self._held.get(row.id)
        if group is not None and group.request_id:
            return None
        function, plan = self.function, self._turns.plans.get(lane)
        if group is not None and group.scope is not None and self.throttle.limits:
            return f"the rate of function {function.name} lets no other call begin yet"
        if group is None and plan is not None and self._turns.space(plan, function) <= 0:
            return f"maximum_concurrency of trigger {lane.trigger} is reached: {plan.maximum_concurrency} under way"
        if self._serving >= function.concurrency:
            return f"the concurrency of function {function.name} is reached: {self._serving} under way"
        if group is None and plan is not None and plan.batch.size > 1:
            return f"a batch of at most {plan.batch.size} is filled for {plan.batch.window} ms"
        return None

    def interrupt(self, delivery: str) -> None:
        """Let go of a delivery that somebody else ended: a call that carries it is cut and its worker killed."""
        group = self._held.get(delivery)
        if group is None:
            return
        if group.scope is not None:
            group.scope.cancel()
        else:
            group.claimed = [one for one in group.claimed if one.delivery.id != delivery]
            del self._held[delivery]

    async def run(self, grace: Callable[[], float]) -> None:
        """Serve until ``stop``; then finish running calls within *grace* seconds and give back the rest.

        Cancelled: running calls are cut at once and given back uncounted.
        """
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._settler.run)
            try:
                await self._claim_loop()
                crash_point("during-drain")
                self._give_back()
                with anyio.move_on_after(grace()):
                    await self._quiet()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._cut()
                    self._settler.stop()

    # claiming

    async def _claim_loop(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            moment: Millis | None = None
            if not self._paused:
                try:
                    moment = await self._claim()
                    self.trouble = None
                except StoreBroken:
                    raise
                except Exception as error:  # one function's trouble is not the hub's
                    self.trouble = f"{type(error).__name__}: {error}"
                    log.error("deliveries could not be claimed", function=self.function.name, exc_info=error)
                    await anyio.sleep(1)
                    self.wake()
            if not self._woken.is_set():
                await self._rest(moment)

    async def _rest(self, moment: Millis | None) -> None:
        """Wait for a call or the moment; after a while look everywhere, by a clock that nobody sets."""
        poll = anyio.current_time() + POLL
        while not self._woken.is_set():
            left = poll - anyio.current_time()
            if left <= 0:
                self.wake()
                return
            if moment is not None:
                until = (moment - self._services.clock.now()) / 1000
                if until <= 0:
                    return
                left = min(left, until, LOOK)
            await self._woken.wait(left)

    async def _claim(self) -> Millis | None:
        """Claim what there is room for; return when to look again."""
        wants = self._turns.wants(self._room(), self.function, self._services.clock.now())
        if not wants:
            return self._next()
        for plan, _ in wants:
            self._turns.asked(plan.lane)
        try:
            grants = await self._services.store.claim([want for _, want in wants], now=self._services.clock.now())
        except BaseException:
            self.wake()
            raise
        crash_point("after-claim")
        for (plan, _), grant in zip(wants, grants, strict=True):
            for group in groups(plan, grant.claimed):
                self._take(group)
            for damaged in grant.damaged:
                self._settler.tell_buried(damaged)
            self._turns.answered(plan.lane, grant.next)
        if self._paused:
            self._give_back()
        self._start_runners()
        return self._next()

    def _next(self) -> Millis | None:
        """Return when to look again; where there is no room, whoever makes some wakes the loop."""
        return self._turns.next(self.function) if self._room() > 0 else None

    def _room(self) -> int:
        """Return how many groups may be claimed."""
        if self._settler.full:
            return 0
        ahead = 0 if self.function.rate else pooling.ahead(self._recent, concurrency=self.function.concurrency)
        free = self.function.concurrency - self._serving - len(self._ready)
        return free + (ahead if len(self._ready) <= ahead // 2 else 0)

    def _take(self, group: Group) -> None:
        """Queue a claimed group; what a batch could not carry beyond the lane's maximum goes back."""
        if self._turns.space(group.plan, self.function) <= 0:
            self._return(group.claimed)
            return
        self._turns.taken(group.plan.lane)
        for claimed in group.claimed:
            self._held[claimed.delivery.id] = group
        self._ready.append(group)

    # running

    def _start_runners(self) -> None:
        if self._stopping.is_set():
            return
        for _ in range(min(self.function.concurrency - self._active, len(self._ready))):
            self._active += 1
            self._tasks.start_soon(self._work, name=f"call:{self.function.name}")

    async def _work(self) -> None:
        """Serve groups one after the other; ends when there are none, or when a call of its own was cut."""
        try:
            with anyio.CancelScope() as scope:
                while self._ready and not self._stopping.is_set() and not scope.cancel_called:
                    group = self._ready.popleft()
                    group.scope = scope
                    self._serving += 1
                    try:
                        await self._serve(group)
                    finally:
                        self._serving -= 1
                        self._turns.over(group.plan.lane)
                        self._woken.set()
                    await self._settler.room()
        finally:
            self._active -= 1
            self._woken.set()
        self._start_runners()

    async def _serve(self, group: Group) -> None:
        """Call the function for a group; whatever happens, each of its deliveries is owed a settlement."""
        started = self._services.clock.now()
        outcome: Outcome = Interrupted()
        version, cut = self.function.version, True
        try:
            await self._services.lines.enter(group)
            await self._sift(group)
            if group.claimed and not await self.throttle.pass_(self.halting):
                self._withdraw(group)
            if group.claimed:
                first = group.claimed[0].delivery
                group.request_id = first.id if len(group.claimed) == 1 else self._services.mint()
                self._tell_started(group)
                started = self._services.clock.now()
                invocation = self._invocation(group)
                outcome, version = await self._call(self.function, invocation, giving_up=self.halting)
                group.trace = invocation.trace
                if isinstance(outcome, Interrupted) and not invocation.deadline:
                    self._withdraw(group)
            cut = False
        except StoreBroken:
            raise
        except Exception as error:  # a source's code, or ours: the delivery bears it, not the hub
            log.error("a call failed within the hub", function=self.function.name, exc_info=error)
            outcome, cut = failed(error), False
        finally:
            self._services.lines.leave(group)
            if cut and group.scope is not None and not group.scope.cancel_called:
                self._cut_off += [one.delivery.id for one in group.claimed]
            for claimed in group.claimed:
                self._let_go(claimed, group)
            self._judge(group, outcome, version, started)
        crash_point("between-handler-and-settle")

    async def _sift(self, group: Group) -> None:
        """Leave in the group what is to be run; settle what is answered already, and what must not be run at all."""
        for claimed in list(group.claimed):
            if why := retry.hopeless(claimed.delivery, claimed.event.hops, loops=self.function.loops):
                group.claimed.remove(claimed)
                self._let_go(claimed, group)
                self._settler.owe([(claimed, self._bury(group, claimed, why))])
        answered, later, group.claimed = await self.idempotent.sift(group.claimed, now=self._services.clock.now())
        for claimed in answered:
            self._settle(group, claimed, Complete("idempotent"))
        for claimed, at in later:
            self._settle(group, claimed, Retry(at, counted=False))

    def _invocation(self, group: Group) -> Invocation:
        first = group.claimed[0]
        return Invocation(
            request_id=group.request_id,
            function=self.function.name,
            payload=group.plan.payload(group.plan.records(group.claimed)),
            deadline=0,
            arn=arn.function(self.function.name),
            attempt=first.delivery.attempts,
            deliveries=tuple(one.delivery.id for one in group.claimed),
            trace=first.event.trace,
            linked=tuple(one.event.trace for one in group.claimed[1:] if one.event.trace),
        )

    # settling

    def _judge(self, group: Group, outcome: Outcome, version: str, started: Millis) -> None:
        now = self._services.clock.now()
        if not isinstance(outcome, Interrupted):
            self._recent = pooling.smoothed(self._recent, outcome.usage.duration_ms)
        try:
            settlements = self._services.verdicts.reach(
                group, outcome, version, self.function, started=started, now=now
            )
        except Exception as error:  # no delivery may be left running for want of a verdict
            log.error("an outcome could not be judged", function=self.function.name, exc_info=error)
            bury = Bury(f"the hub could not judge its outcome: {failed(error).fault.message}")
            settlements = [
                Settlement(delivery=one.delivery.id, fence=one.fence, decision=bury) for one in group.claimed
            ]
        self._settler.owe(zip(group.claimed, settlements, strict=True))

    def _bury(self, group: Group, claimed: Claimed, why: str) -> Settlement:
        """Bury what is not run; only where handlers led to one another, nobody may be told: it would go on."""
        now, told = self._services.clock.now(), self.function.loops or claimed.event.hops <= retry.HOPS
        return self._services.verdicts.buried(group.plan, claimed, why, told=told, now=now)

    def _settle(self, group: Group, claimed: Claimed, decision: Complete | Retry | Bury) -> None:
        self._let_go(claimed, group)
        settlement = Settlement(delivery=claimed.delivery.id, fence=claimed.fence, decision=decision)
        self._settler.owe([(claimed, settlement)])

    def _let_go(self, claimed: Claimed, group: Group) -> None:
        # A cancelled one that was redriven may be in another group by now.
        if self._held.get(claimed.delivery.id) is group:
            del self._held[claimed.delivery.id]

    def _freed(self, settled: Sequence[Owing]) -> None:
        self._woken.set()
        for claimed, settlement in settled:
            delivery = claimed.delivery
            self.idempotent.done(holder(claimed))
            if delivery.ordering_key is None and not isinstance(settlement.decision, Retry):
                continue  # nothing can be claimed that could not before
            lane = Lane(delivery.trigger, delivery.function)
            self.wake(lane)
            if self._stopping.is_set():
                # What waited for this one may be another's by now: the function came back by a reload.
                self._services.wake(lane)

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
        """Queue again what has not begun."""
        while self._ready:
            group = self._ready.popleft()
            self._turns.over(group.plan.lane)
            self._withdraw(group)

    def _withdraw(self, group: Group) -> None:
        """Queue again a group that did not begin."""
        for claimed in group.claimed:
            self._let_go(claimed, group)
        self._return(group.claimed)
        group.claimed = []

    def _return(self, claimed: Sequence[Claimed]) -> None:
        # Due when they were: they are still the oldest.
        self._settler.owe(
            (
                one,
                Settlement(delivery=one.delivery.id, fence=one.fence, decision=Retry(one.delivery.due, counted=False)),
            )
            for one in claimed
        )

    async def _quiet(self) -> None:
        while self._active:
            self._woken.clear()
            await self._woken.wait()

    async def _cut(self) -> None:
        self.stop()
        self._give_back()
        cut = list(self._held)
        for delivery in cut:
            self.interrupt(delivery)
        with anyio.move_on_after(PATIENCE):
            await self._quiet()
        if cut := sorted({*cut, *self._cut_off}):
            log.warning("running calls were cut and given back", function=self.function.name, deliveries=cut)
        with anyio.move_on_after(PATIENCE) as scope:
            await self._settler.rest()
        if scope.cancelled_caught:
            log.error(
                "outcomes could not be stored in time; their deliveries will run again", function=self.function.name
            )


def failed(error: Exception) -> Crashed:
    """Return the outcome of a call that failed before or beside the handler."""
    told = str(error) if isinstance(error, SourceFailed) else f"{type(error).__name__}: {error}"
    fault = Fault(type=HUB_FAULT, message=ascii(told)[1:-1])
    return Crashed(fault=fault, payload=errors.payload(fault.type, fault.message))
