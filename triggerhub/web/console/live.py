"""Tell open pages how the hub does, once a second while anything changes: one event stream per tab."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from triggerhub.hub.hub import Hub
from triggerhub.hub.pulse import Point
from triggerhub.model import Delivery, Json, State
from triggerhub.policy.grouping import Grave, Group, group
from triggerhub.settings import SECOND, Project
from triggerhub.store import Query
from triggerhub.web import shape
from triggerhub.web.refusal import Stopping
from triggerhub.web.stream import attended

BEAT = 1.0
AGAIN = 2.0
"""Seconds for which the dead letters are not counted again …"""
SHARE = 20
"""… and so many times as long as counting them took, where there are very many."""
STILL = 15
"""Beats without a change after which a word is said all the same, so that a dead connection is noticed."""
RATE = 10 * SECOND
LOOKED = 200
"""Deliveries of a function that wait to be tried again, whose causes are told at most."""


class Readings:
    """The numbers that every page shows; read at most once a beat, however many look."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._read = float("-inf")
        self._last: Mapping[str, Json] = {}
        self._lock = anyio.Lock()
        self._counting = anyio.Lock()
        self._groups: list[Group] = []
        self._again: list[Group] = []
        self._counted_until, self._counted_at = float("-inf"), ""
        self._owing, self._turn = False, 0
        self._stood: tuple[Project, Json, Json, Json] | None = None
        self._standing = 0

    async def graves(self) -> list[Group]:
        """Return the dead letters by cause, counted anew where something changed since, every other second at most.

        Pages that ask meanwhile share that count. Those that were given an older one are told to ask again once it
        may be counted.
        """
        async with self._counting:
            mark = (await self.now())["mark"]
            self._owing = mark != self._counted_at
            if self._owing and time.monotonic() > self._counted_until:
                self._owing = False
                began = time.monotonic()
                self._groups = await self._hub.deliveries.graves()
                ended = time.monotonic()
                self._again = await self._wait()
                self._counted_until, self._counted_at = ended + max(AGAIN, SHARE * (ended - began)), mark
        return self._groups

    async def again(self) -> list[Group]:
        """Return what failed and waits to be tried again, by cause, of :data:`LOOKED` deliveries of each function."""
        await self.graves()
        return self._again

    async def _wait(self) -> list[Group]:
        stats = await self._hub.stats()
        waiting = {lane.function for lane, counts in stats.by_lane.items() if counts.get(State.QUEUED)}
        found, now = list[Grave](), time.time_ns() // 1_000_000
        for name in sorted(waiting & self._hub.project.functions.keys()):
            # Every text has an empty one in it: these are those with an error.
            rows = await self._hub.deliveries.page(
                Query(function=name, state=State.QUEUED, error="", later=now, limit=LOOKED)
            )
            found += map(waits, rows)
        return group(found)

    async def now(self) -> Mapping[str, Json]:
        """Return the numbers as they were within the last beat."""
        async with self._lock:
            if time.monotonic() - self._read >= BEAT * 0.9:
                self._last = await self._take()
                self._read = time.monotonic()
        return self._last

    async def _take(self) -> Mapping[str, Json]:
        if self._owing and time.monotonic() > self._counted_until:
            self._owing, self._turn = False, self._turn + 1
        status = await self._hub.status()
        standing = (self._hub.project, status["problems"], status["paused"], status["pinned"])
        if standing != self._stood:
            self._stood, self._standing = standing, self._standing + 1
        pulse = self._hub.pulse
        recent, just, stats = pulse.recent(), pulse.recent(RATE), await self._hub.stats()
        functions = [one for one in self._hub.project.functions.values() if one.leads is None]
        # All versions of a function with a reservation have that together.
        limits = {(one.reserved, "" if one.reserved else one.name): one.concurrency for one in functions}
        last = pulse.latest()
        counts = {state.value: stats.count(state) for state in State}
        return {
            **counts,
            "rate": round(just.accepted * SECOND / just.length, 2),
            "p95": recent.p95,
            "error_rate": recent.error_rate,
            "errors": recent.errors,
            "calls": recent.calls,
            "limit": sum(limits.values()),
            # What open logs are behind: lists are not, and are not drawn anew for a line.
            "lines": self._hub.wrote(),
            "point": None if last is None else point(last),
            # Whatever has changed of what lists show, this has changed.
            "mark": f"{stats.accepted}.{'.'.join(map(str, counts.values()))}.{stats.discarded}.{stats.pruned}"
            f".{pulse.retries}.{len(self._hub.alarms.on())}.{self._hub.keeps_output:d}.{self._turn}.{self._standing}",
        }


def waits(row: Delivery) -> Grave:
    """Return a delivery that is tried again as one of its cause, by when it was accepted."""
    kind, message = (row.error.type, row.error.message) if row.error else (None, None)
    return Grave(
        function=row.function, type=kind, message=message, count=1, first=row.created, last=row.created, newest=row.id
    )


def point(one: Point) -> list[Json]:
    """Return a point of the charts: seconds, succeeded and failed calls per second, p50, p95."""
    seconds = one.length / 1000
    ok, failed = (one.calls - one.errors) / seconds, one.errors / seconds
    return [one.time // 1000, round(ok, 3), round(failed, 3), one.p50, one.p95]


class Live:
    """An ASGI response of ``text/event-stream``."""

    def __init__(self, readings: Readings, closing: anyio.Event) -> None:
        self._readings = readings
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def work() -> None:
            told: Mapping[str, Json] | None = None
            still = 0
            while True:
                found = await self._readings.now()
                still = 0 if found != told else still + 1
                if still % STILL == 0:
                    told = found
                    # A page may have been long on its way: by this it sets its clock.
                    body = b"data: " + shape.dump({**found, "now": time.time_ns() // 1_000_000}) + b"\n\n"
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                await anyio.sleep(BEAT)

        with contextlib.suppress(ClientDisconnect, Stopping):
            await attended(receive, work, self._closing)
        await send({"type": "http.response.body", "body": b""})
