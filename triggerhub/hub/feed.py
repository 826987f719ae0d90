"""Pass on what happens to whoever watches; free when nobody does."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from triggerhub.model import Millis, Outcome, Returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened, for people who watch."""

    time: Millis
    kind: str
    """accepted, duplicate, filtered, started, succeeded, retried, returned (given back uncounted), dead, cancelled,
    output, answered or failed (a call that a caller waited for), reloaded, rejected (a new configuration, for the
    problems in ``text``, a line each), degraded, recovered or missed (a slow watcher lost some; ``text`` says how
    many)."""
    trigger: str | None = None
    function: str | None = None
    delivery: str | None = None
    attempt: int = 0
    duration_ms: float | None = None
    text: str = ""


class _Watcher:
    BOUND = 10_000

    def __init__(self) -> None:
        self.pending: deque[Happening] = deque()
        self.missed = 0
        self.arrived = anyio.Event()

    def put(self, happening: Happening) -> None:
        if len(self.pending) >= self.BOUND:
            self.pending.popleft()
            self.missed += 1
        self.pending.append(happening)
        self.arrived.set()

    async def follow(self) -> AsyncIterator[Happening]:
        while True:
            if not self.pending:
                self.arrived = anyio.Event()
                await self.arrived.wait()
            if self.missed:
                missed, self.missed = self.missed, 0
                yield Happening(time=self.pending[0].time, kind="missed", text=f"{missed} happenings were missed")
            yield self.pending.popleft()


class Feed:
    """Publishes happenings, their text as *hide* makes it; ``watched`` spares the making of one that nobody sees."""

    def __init__(self, hide: Callable[[str], str] = str) -> None:
        self._hide = hide
        self._watchers: set[_Watcher] = set()

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def publish(self, happening: Happening) -> None:
        if self._watchers and (text := self._hide(happening.text)) != happening.text:
            happening = replace(happening, text=text)
        for watcher in self._watchers:
            watcher.put(happening)

    def tell_call(self, trigger: str, function: str, outcome: Outcome, now: Millis) -> None:
        """Publish what became of a call that a caller waited for."""
        if self._watchers:
            fault = getattr(outcome, "fault", None)
            self.publish(
                Happening(
                    time=now,
                    kind="answered" if isinstance(outcome, Returned) else "failed",
                    trigger=trigger,
                    function=function,
                    duration_ms=outcome.usage.duration_ms,
                    text=f"{fault.type}: {fault.message}" if fault else "",
                )
            )

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[AsyncIterator[Happening]]:
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher.follow()
        finally:
            self._watchers.discard(watcher)
