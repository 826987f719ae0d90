"""Be the hub, as the web and the tests hold it.

(signatures first; the bodies follow)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from triggerhub.model import Delivery, Event, Json, Millis, Outcome
from triggerhub.settings import Project
from triggerhub.source import Accepted, Answer
from triggerhub.store import Detail, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A call that a caller waited for."""

    request_id: str
    outcome: Outcome
    version: str
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened, for people who watch: ``run`` on a terminal, ``top``, the console."""

    time: Millis
    kind: str
    """accepted, duplicate, filtered, started, succeeded, retried, dead, cancelled, output, reloaded, degraded,
    recovered."""
    trigger: str | None = None
    function: str | None = None
    delivery: str | None = None
    attempt: int = 0
    duration_ms: float | None = None
    text: str = ""


class Hub:
    @property
    def project(self) -> Project:
        """The configuration in force."""
        raise NotImplementedError

    async def send(
        self, trigger: str, body: bytes | None, *, sample: str | None = None, delay: Millis = 0, key: str | None = None
    ) -> Answer:
        """Push one event through filter, key and queue. NotFound, BadInput, BacklogFull, StoreFull."""
        raise NotImplementedError

    async def fire(self, trigger: str) -> Answer:
        """Make the trigger's source fire now."""
        raise NotImplementedError

    async def invoke(self, function: str, payload: bytes, *, client_context: str | None = None) -> Answered:
        """Call once, no queue and no retry. NotFound, BadInput."""
        raise NotImplementedError

    async def invoke_async(self, function: str, payload: bytes, *, delay: Millis = 0) -> Accepted:
        """Queue one delivery of the built-in trigger ``api``."""
        raise NotImplementedError

    async def page(self, query: Query) -> list[Delivery]:
        raise NotImplementedError

    async def get(self, delivery: str) -> Detail:
        """NotFound."""
        raise NotImplementedError

    async def event(self, event: str) -> tuple[Event, list[Delivery]]:
        """NotFound."""
        raise NotImplementedError

    async def wait(self, delivery: str, timeout: float) -> Delivery:
        """Return the delivery once it is finished, or as it stands after *timeout* seconds."""
        raise NotImplementedError

    async def cancel(self, deliveries: Sequence[str], reason: str) -> list[str]:
        """End queued or running deliveries; a running one's worker is killed. Returns those it ended."""
        raise NotImplementedError

    async def redrive(self, deliveries: Sequence[str]) -> list[str]:
        """Queue finished deliveries again; returns those that were finished."""
        raise NotImplementedError

    async def discard(self, deliveries: Sequence[str], reason: str) -> list[str]:
        raise NotImplementedError

    def functions(self) -> list[dict[str, Json]]:
        """name, runtime, handler or command, version, source, timeout, memory, concurrency, paused, workers, running,
        triggers, counts by state."""
        raise NotImplementedError

    def triggers(self) -> list[dict[str, Json]]:
        """name, type, functions, state (running, paused, disabled, degraded), why, next, last, counts by state."""
        raise NotImplementedError

    async def pause(self, kind: str, name: str) -> None:
        """``kind`` is function or trigger; survives a restart. NotFound."""
        raise NotImplementedError

    async def resume(self, kind: str, name: str) -> None:
        raise NotImplementedError

    async def status(self) -> dict[str, Json]:
        """version, pid, node, project, started, uptime_s, ready, listen, admin, level, storage (what the disk says),
        counts (accepted, queued, …, drift), problems (sentences), functions, triggers."""
        raise NotImplementedError

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Happening]]:
        """Follow what happens from now on; a slow reader loses the oldest and is told how many."""
        raise NotImplementedError

    async def output(
        self,
        *,
        function: str | None = None,
        delivery: str | None = None,
        since: Millis | None = None,
        limit: int = 1000,
    ) -> list[Mapping[str, Json]]:
        """Lines that functions wrote, oldest first: time, function, version, request_id, stream, text."""
        raise NotImplementedError

    async def reload(self) -> list[str]:
        """Read the project again; returns the problems, empty when the new configuration is in force."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether events are being taken."""
        raise NotImplementedError
