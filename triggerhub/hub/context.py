"""Lend a running source the only things it may touch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import anyio

from triggerhub.errors import TriggerhubError
from triggerhub.hub.clock import Clock
from triggerhub.hub.depth import Depth
from triggerhub.hub.gate import Gate
from triggerhub.hub.grace import Grace
from triggerhub.hub.handling import Asked, Handling
from triggerhub.hub.intake import Inlet
from triggerhub.model import Event, Millis, Outcome
from triggerhub.settings import SECOND, RetryPolicy, Trigger
from triggerhub.source import Answer, Filtered, Handled, Judge, Log, Routes
from triggerhub.store import Store

LEASE: Millis = 15 * SECOND
"""How long a named lease outlives its holder."""


@dataclass(slots=True, kw_only=True)
class SourceContext:
    """A ``source.Context`` over the running hub."""

    find_gate: Callable[[], Gate]
    """Looked up for every event: a reload may have compiled it anew."""
    project: Path
    timezone: tzinfo
    log: Log
    routes: Routes
    node: str
    store: Store
    clock: Clock
    inlet: Inlet
    depth: Depth
    handling: Handling
    grace: Grace
    call: Callable[[Trigger, Event], Awaitable[Outcome]]
    report: Callable[[str | None], None]
    begun: Callable[[], None]

    @property
    def trigger(self) -> Trigger:
        return self.find_gate().trigger

    @property
    def retry(self) -> RetryPolicy:
        return self.handling.retry(self.trigger)

    async def emit(
        self, *events: Event, checkpoints: Mapping[str, str | None] | None = None, wait: bool = True
    ) -> Sequence[Answer]:
        if checkpoints:
            self.handling.aged(self.trigger, events)
        try:
            return await self.inlet.accept(self.find_gate(), events, checkpoints=checkpoints, wait=wait)
        except TriggerhubError:
            raise
        except Exception:
            # Not beforehand, for it takes its time, and the store takes none that is wrong.
            for event in events:
                event.check()
            raise

    async def invoke(self, event: Event) -> Outcome:
        return await self.call(self.trigger, event)

    async def filtered(self, *events: Event) -> Sequence[Filtered | None]:
        return await self.handling.filtered(self.find_gate(), events)

    async def free(self) -> None:
        await self.handling.free(self.find_gate())

    @property
    def ending(self) -> bool:
        return self.grace.ending

    @property
    def places(self) -> int:
        return self.handling.places(self.trigger)

    def finish(self) -> AbstractAsyncContextManager[None]:
        return self.grace.finish()

    async def handle(
        self,
        *events: Event,
        payload: bytes | None = None,
        judge: Judge | None = None,
        checkpoints: Callable[[Handled], Mapping[str, str | None]] | None = None,
    ) -> Handled:
        if payload is not None and not isinstance(payload, bytes):
            raise TypeError(f"handle: expected a payload of bytes, got {type(payload).__name__}")
        call = Asked(payload=payload, judge=judge, remember=checkpoints, grace=self.grace)
        self.handling.aged(self.trigger, events)
        return await self.handling.handle(self.find_gate(), events, call)

    async def bury(
        self,
        *events: Event,
        why: str,
        outcome: Outcome | None = None,
        checkpoints: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> None:
        await self.handling.bury(self.find_gate(), events, why, outcome, checkpoints or {}, body)

    async def unfinished(self) -> int:
        return self.depth[self.trigger.name]

    async def checkpoint(self, key: str) -> str | None:
        return (await self.store.checkpoints(self.trigger.name, key)).get(key)

    async def checkpoints(self, prefix: str = "") -> Mapping[str, str]:
        return await self.store.checkpoints(self.trigger.name, prefix)

    async def set_checkpoints(self, values: Mapping[str, str | None]) -> None:
        await self.store.set_checkpoints(self.trigger.name, values)

    def lease(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._lease(f"{self.trigger.name}/{name}")

    @asynccontextmanager
    async def _lease(self, name: str) -> AsyncGenerator[None]:
        while await self.store.lease(name, self.node, LEASE, now=self.clock.now()) is None:
            await anyio.sleep(1)
        raised: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._extend, name, tasks.cancel_scope)
            try:
                yield
            except Exception as error:
                # Who leases knows nothing of the group: it would wrap what is raised.
                raised = error
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self.store.unlease(name, self.node)
        if raised is not None:
            raise raised

    async def _extend(self, name: str, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.sleep(LEASE / 3000)
            if await self.store.lease(name, self.node, LEASE, now=self.clock.now()) is None:
                self.log.warning("the lease was lost to another hub", lease=name)
                scope.cancel()
                return

    def now(self) -> Millis:
        return self.clock.now()

    async def sleep_until(self, when: Millis) -> None:
        await self.clock.sleep_until(when)

    def degraded(self, why: str | None) -> None:
        self.report(why)
