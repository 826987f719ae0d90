"""Find deliveries, and cancel, redrive, retry or discard them."""

from __future__ import annotations

from collections.abc import Container, Sequence

import anyio
import structlog

from triggerhub.errors import NotFound
from triggerhub.hub.clock import Clock
from triggerhub.hub.depth import Depth
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.veil import Veil, unveiled
from triggerhub.hub.wiring import Wiring, unknown
from triggerhub.model import API_TRIGGER, FINISHED, Delivery, Event, State, destination_trigger
from triggerhub.policy.grouping import Group
from triggerhub.store import Detail, Lane, Query, Store

log = structlog.get_logger("hub")

GONE = "Its history may be pruned; see [hub] keep."


class Deliveries:
    """What the store has, as people see and change it; dispatchers and counts hear of each change."""

    def __init__(self, wiring: Wiring, store: Store, depth: Depth, feed: Feed, veil: Veil, clock: Clock) -> None:
        self._wiring, self._store, self._depth, self._feed = wiring, store, depth, feed
        self._veil, self._clock = veil, clock

    async def page(self, query: Query, *, told: bool = True) -> list[Delivery]:
        """Return deliveries, newest first; whoever is not *told* what events carry finds none by what an error says."""
        return await unveiled(self._store, query, self._veil, told=told)

    async def known(self, query: Query) -> None:
        """NotFound where a name in *query* is neither in the configuration nor in the history."""
        lanes, project = (await self._store.stats()).by_lane, self._wiring.project
        functions = {*project.functions, *(lane.function for lane in lanes)}
        triggers = {*project.triggers, *(lane.trigger for lane in lanes)}
        if query.function is not None and query.function not in functions:
            raise unknown("function", query.function, functions)
        built_in = {API_TRIGGER, *map(destination_trigger, functions)}
        if query.trigger is not None and query.trigger not in triggers | built_in:
            raise unknown("trigger", query.trigger, triggers)

    async def get(self, delivery: str) -> Detail:
        """NotFound."""
        detail = await self._store.get(delivery)
        if detail is None:
            raise NotFound(f"no delivery {delivery!r}", hint=GONE)
        return detail

    async def graves(self) -> list[Group]:
        """Return the dead letters by function and fingerprint of error, that with the newest death first."""
        return await self._store.graves()

    async def event(self, event: str) -> tuple[Event, list[Delivery]]:
        """NotFound."""
        found = await self._store.event(event)
        if found is None:
            raise NotFound(f"no event {event!r}", hint=GONE)
        return found

    async def wait(self, delivery: str, timeout: float) -> Delivery:
        """Return the delivery once it is finished, or as it stands after *timeout* seconds."""
        async with self._feed.watch() as happenings:
            found = (await self.get(delivery)).delivery
            with anyio.move_on_after(timeout):
                while not found.state.finished:
                    async for happening in happenings:
                        if happening.delivery == delivery or happening.kind == "missed":
                            break
                    found = (await self.get(delivery)).delivery
        return (await self.get(delivery)).delivery

    async def cancel(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """End queued or running deliveries; a running one's worker is killed. Returns those it ended."""
        before = await self._details(deliveries)
        with anyio.CancelScope(shield=True):
            ended = await self._store.cancel(list(before), now=self._clock.now(), reason=reason)
        for delivery in ended:
            row, now = before[delivery], self._clock.now()
            self._depth.add(row.trigger, -1)
            self._wiring.dispatchers.interrupt(Lane(row.trigger, row.function), delivery)
            self._feed.publish(
                Happening(
                    time=now, kind="cancelled", trigger=row.trigger, function=row.function, delivery=row.id, text=reason
                )
            )
        return ended

    async def redrive(self, deliveries: Sequence[str], states: Container[State] = FINISHED) -> list[str]:
        """Queue again what stands in one of these finished states; returns those that did."""
        before = await self._details(deliveries)
        with anyio.CancelScope(shield=True):
            queued = await self._store.redrive(list(before), now=self._clock.now(), states=states)
        for delivery in queued:
            self._depth.add(before[delivery].trigger, 1)
            self._wiring.dispatchers.rouse(Lane(before[delivery].trigger, before[delivery].function))
        return queued

    async def retry(self, deliveries: Sequence[str]) -> list[str]:
        """Try now what waits for its next attempt, as limits and pauses let it; returns those that waited."""
        before = await self._details(deliveries)
        with anyio.CancelScope(shield=True):
            due = await self._store.retry(list(before), now=self._clock.now())
        for delivery in due:
            self._wiring.dispatchers.rouse(Lane(before[delivery].trigger, before[delivery].function))
        return due

    async def discard(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """Remove dead deliveries; what was removed and why goes to the hub's log."""
        gone = await self._store.discard(deliveries, now=self._clock.now())
        for delivery in gone:
            log.warning("a dead letter was discarded", delivery=delivery, reason=reason, on_screen=True)
        return gone

    async def _details(self, deliveries: Sequence[str]) -> dict[str, Delivery]:
        found = {}
        for delivery in deliveries:
            if (detail := await self._store.get(delivery)) is not None:
                found[delivery] = detail.delivery
        return found
