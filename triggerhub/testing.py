"""Test a source or a policy without a hub: a clock that obeys and a context that remembers.

Public: users test their own ``sources/NAME.py`` with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import structlog

from triggerhub import ids
from triggerhub.model import Event, Interrupted, Millis, Outcome, Returned
from triggerhub.policy import filtering, selecting
from triggerhub.settings import RetryPolicy, Trigger
from triggerhub.source import Accepted, Answer, Duplicate, Filtered, Handled, Judge, Log, Request, Response, Route

START: Millis = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where a FakeClock begins."""


class FakeClock:
    """A wall clock that moves only when told; sleepers wake when it passes their moment."""

    def __init__(self, now: Millis = START) -> None:
        self._now = now
        self._moved = anyio.Event()

    def now(self) -> Millis:
        return self._now

    def advance(self, milliseconds: Millis) -> None:
        """Move the clock (backwards, too, if negative) and wake whoever waits for it."""
        self._now += milliseconds
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    async def sleep_until(self, when: Millis) -> None:
        while self._now < when:
            await self._moved.wait()


@dataclass
class FakeRoutes:
    """Routes that a test calls directly."""

    routes: dict[str, Route] = field(default_factory=dict)

    @asynccontextmanager
    async def serve(self, *routes: Route) -> AsyncGenerator[None]:
        self.routes |= {route.path: route for route in routes}
        try:
            yield
        finally:
            for route in routes:
                del self.routes[route.path]

    async def call(self, path: str, request: Request) -> Response:
        route = self.routes[path]
        return route.preflight(request) or route.across(request.headers, await route.endpoint(request))


class FakeContext:
    """A ``source.Context`` in memory: what was emitted is in ``events``, what was stored in ``stored``.

    ``arrived`` can be awaited until a number of events is there. ``fail`` is raised by the next emit;
    ``waiting`` is how many deliveries are said to be unfinished.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        project: Path = Path(),
        clock: FakeClock | None = None,
        timezone: tzinfo = UTC,
        answer: Outcome | None = None,
    ) -> None:
        self.trigger = trigger
        self.project = project
        self.clock = clock or FakeClock()
        self.timezone = timezone
        self.answer = answer or Returned(payload=b"null")
        self.routes = FakeRoutes()
        self.events: list[Event] = []
        self.invoked: list[Event] = []
        self.handled: list[tuple[Event, ...]] = []
        self.payloads: list[bytes | None] = []
        self.buried: list[tuple[Event, str, bytes | None]] = []
        self.stored: dict[str, str] = {}
        self.reasons: list[str | None] = []
        self.has_begun = False
        self.fail: Exception | None = None
        self.waiting = 0
        self.ending = False
        self._keys: dict[str, str] = {}
        self._changed = anyio.Event()

    @property
    def log(self) -> Log:
        logger: Log = structlog.get_logger(trigger=self.trigger.name)
        return logger

    @property
    def retry(self) -> RetryPolicy:
        return self.trigger.retry.get(self.trigger.functions[0], RetryPolicy())

    async def emit(
        self, *events: Event, checkpoints: Mapping[str, str | None] | None = None, wait: bool = True
    ) -> Sequence[Answer]:
        await anyio.lowlevel.checkpoint()
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure
        for event in events:
            event.check()
        answers: list[Answer] = []
        for event, refused in zip(events, await self.filtered(*events), strict=True):
            if refused is not None:
                answers.append(refused)
                continue
            if event.dedup_key is not None and event.dedup_key in self._keys:
                first = self._keys[event.dedup_key]
                answers.append(Duplicate(event=first, deliveries=(ids.delivery_id(first, 1),)))
                continue
            stamped = replace(event, id=ids.event_id(self.now(), len(self.events), 0), trigger=self.trigger.name)
            self.events.append(stamped)
            if event.dedup_key is not None:
                self._keys[event.dedup_key] = stamped.id
            answers.append(Accepted(event=stamped.id, deliveries=(ids.delivery_id(stamped.id, 1),)))
        self._store(checkpoints or {})
        self._announce()
        return answers

    async def arrived(self, count: int, within: float = 10) -> list[Event]:
        """Return the events once *count* of them are there; TimeoutError tells what is."""
        with anyio.move_on_after(within):
            while len(self.events) < count:
                await self._changed.wait()
        if len(self.events) < count:
            raise TimeoutError(f"{len(self.events)} of {count} events after {within} s: {self.events}")
        return self.events

    async def invoke(self, event: Event) -> Outcome:
        self.invoked.append(event)
        return self.answer

    async def filtered(self, *events: Event) -> Sequence[Filtered | None]:
        if self.trigger.filter is None:
            return [None] * len(events)
        pattern = filtering.compile(self.trigger.filter)
        views = [selecting.view(one.data) for one in events]
        return [None if pattern.matches(one) else Filtered(why=pattern.why(one) or "") for one in views]

    async def free(self) -> None:
        await anyio.lowlevel.checkpoint()

    @property
    def places(self) -> int:
        return self.trigger.maximum_concurrency or 4

    @asynccontextmanager
    async def finish(self) -> AsyncGenerator[None]:
        await anyio.lowlevel.checkpoint()
        yield

    async def handle(
        self,
        *events: Event,
        payload: bytes | None = None,
        judge: Judge | None = None,
        checkpoints: Callable[[Handled], Mapping[str, str | None]] | None = None,
    ) -> Handled:
        await anyio.lowlevel.checkpoint()
        if payload is not None and not isinstance(payload, bytes):
            raise TypeError(f"handle: expected a payload of bytes, got {type(payload).__name__}")
        refused = await self.filtered(*events)
        handled = self.handle_answer(events, payload)
        if judge is not None and not isinstance(handled.outcome, Interrupted):
            own = judge(handled.outcome, ids.event_id(self.now(), 0, 0), range(len(events)))
            handled = replace(handled, each=tuple(own))
        each = (no or one for no, one in zip(refused, handled.each, strict=True))
        handled = replace(handled, each=tuple(each))
        self.handled.append(events)
        self.payloads.append(payload)
        self._store(checkpoints(handled) if checkpoints else {})
        self._announce()
        return handled

    def handle_answer(self, events: Sequence[Event], payload: bytes | None) -> Handled:
        """Say what ``handle`` returns: ``answer`` for every event. Tests put a function of their own here."""
        return Handled(outcome=self.answer, each=(self.answer,) * len(events))

    async def bury(
        self,
        *events: Event,
        why: str,
        outcome: Outcome | None = None,
        checkpoints: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> None:
        await anyio.lowlevel.checkpoint()
        self.buried += [(one, why, body) for one in events]
        self._store(checkpoints or {})
        self._announce()

    async def until(self, condition: Callable[[], object], within: float = 10) -> None:
        """Wait until the condition holds after something was emitted, handled, buried, stored or said."""
        with anyio.move_on_after(within):
            while not condition():
                await self._changed.wait()
        if not condition():
            raise TimeoutError(f"not after {within} s: {self.events} {self.handled} {self.stored} {self.reasons}")

    async def unfinished(self) -> int:
        return self.waiting

    async def checkpoint(self, key: str) -> str | None:
        return self.stored.get(key)

    async def checkpoints(self, prefix: str = "") -> Mapping[str, str]:
        return {key: value for key, value in self.stored.items() if key.startswith(prefix)}

    async def set_checkpoints(self, values: Mapping[str, str | None]) -> None:
        self._store(values)
        self._announce()

    @asynccontextmanager
    async def _lease(self) -> AsyncGenerator[None]:
        yield

    def lease(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._lease()

    def now(self) -> Millis:
        return self.clock.now()

    async def sleep_until(self, when: Millis) -> None:
        await self.clock.sleep_until(when)

    def begun(self) -> None:
        self.has_begun = True

    def degraded(self, why: str | None) -> None:
        self.reasons.append(why)
        self._announce()

    def _store(self, values: Mapping[str, str | None]) -> None:
        for key, value in values.items():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value

    def _announce(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def trigger(name: str = "test", type: str = "test", **settings: Any) -> Trigger:  # noqa: A002 - the setting's name
    """Return a trigger with defaults, for a FakeContext."""
    return Trigger(**{"name": name, "type": type, "functions": ("echo",), "options": None, **settings})
