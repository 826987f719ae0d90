"""A hub made of dictionaries, with the methods of the real one that the admin API calls."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

from triggerhub import ids
from triggerhub.errors import BadInput, Conflict, NotFound
from triggerhub.hub.call import Answered, Line
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.pulse import Pulse
from triggerhub.model import FINISHED, Attempt, Delivery, Event, Fault, Outcome, Raised, Returned, State, Usage
from triggerhub.settings import ConsoleSettings, HubSettings
from triggerhub.source import Accepted, Answer, Duplicate, Filtered
from triggerhub.store import Detail, Query
from triggerhub.telemetry.metrics import Metrics

NOW = 1_767_225_600_000
FUNCTIONS = ("count", "hello")
TRIGGERS = {"demo": "webhook", "inbox": "files", "tick": "cron"}


@dataclass
class FakeHub:
    """Its answers are set by attributes; ``did`` lists the verbs that changed something."""

    rows: dict[str, Delivery] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    did: list[tuple[str, ...]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    feed: Feed = field(default_factory=Feed)
    ready: bool = True
    phase: str = "running"
    problems: list[str] = field(default_factory=list)
    outcome: Outcome = field(
        default_factory=lambda: Returned(
            payload=b'{"n":12345678901234567890123}', usage=Usage(duration_ms=1.5000001, init_ms=20.0, memory=9_000_000)
        )
    )
    answer: Answer | None = None
    fail: Exception | None = None
    """Raised by whatever is called next."""
    slow: anyio.Event | None = None
    """Holds up ``invoke`` until it is set."""
    cut: list[str] = field(default_factory=list)
    """Calls that were cancelled."""
    followers: list[Any] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)
    drain: int = 1000
    changed: list[Any] = field(default_factory=list)
    veil: Any = field(default_factory=lambda: SimpleNamespace(mask=None, text=str))
    pulse: Any = field(default_factory=lambda: Pulse(Metrics(), SimpleNamespace(now=lambda: NOW)))
    tokens: Any = field(default_factory=lambda: SimpleNamespace(principal=lambda text: None, all=list, keys=False))

    @property
    def deliveries(self) -> FakeHub:
        return self

    @property
    def changes(self) -> Any:
        return SimpleNamespace(add=self.changed.append)

    @property
    def project(self) -> Any:
        hub = HubSettings(project=Path("/p"), handlers=Path("/p/handlers"), data=Path("/p/var"), drain=self.drain)
        return SimpleNamespace(
            hub=hub, functions=dict.fromkeys(FUNCTIONS), triggers=dict.fromkeys(TRIGGERS), console=ConsoleSettings()
        )

    def add(self, number: int, state: State = State.SUCCEEDED, **facts: Any) -> Delivery:
        """Make the delivery of one more event, a second after the one before."""
        event = ids.event_id(NOW + number * 1000, 0, number)
        row = Delivery(**{
            "id": ids.delivery_id(event, 1), "event_id": event, "trigger": "demo", "function": "hello", "state": state,
            "attempts": 1, "created": NOW + number * 1000, "due": NOW + number * 1000,
            "finished": NOW + number * 1000 + 50 if state.finished else None,
            "version": "0123456789ab", "duration_ms": 12.5,
            "error": Fault(type="KeyError", message="'name'") if state is State.DEAD else None,
            "reason": "failed 1 of 1 attempts" if state is State.DEAD else None,
            **facts,
        })  # fmt: skip
        self.rows[row.id] = row
        self.events[event] = Event(id=event, trigger=row.trigger, data=b'{"n": 1.10}', time=row.created)
        self.attempts[row.id] = [
            Attempt(
                request_id=row.id,
                started=row.created + 5,
                duration_ms=12.5,
                version="0123456789ab",
                outcome="raised" if state is State.DEAD else "returned",
                error=row.error,
                payload=b'{"ok":1.10}',
            )
        ]
        return row

    def _failing(self) -> None:
        failure, self.fail = self.fail, None
        if failure is not None:
            raise failure

    async def known(self, query: Query) -> None:
        if query.function:
            self._known("function", query.function, FUNCTIONS)
        if query.trigger:
            self._known("trigger", query.trigger, TRIGGERS)

    async def page(self, query: Query, *, told: bool = True) -> list[Delivery]:
        self._failing()
        rows = [
            row
            for row in sorted(self.rows.values(), key=lambda row: row.id, reverse=True)
            if (query.state is None or row.state == query.state)
            and query.function in (None, row.function)
            and query.trigger in (None, row.trigger)
            and (query.since is None or row.created >= query.since)
            and (query.before is None or row.id < query.before)
        ]
        return rows[: query.limit]

    async def get(self, delivery: str) -> Detail:
        self._failing()
        if delivery not in self.rows:
            raise NotFound(f"no delivery {delivery!r}", hint="Its history may be pruned; see [hub] keep.")
        row = self.rows[delivery]
        return Detail(delivery=row, event=self.events[row.event_id], attempts=self.attempts[delivery])

    async def event(self, event: str) -> tuple[Event, list[Delivery]]:
        if event not in self.events:
            raise NotFound(f"no event {event!r}")
        return self.events[event], [row for row in self.rows.values() if row.event_id == event]

    async def wait(self, delivery: str, timeout: float) -> Delivery:
        with anyio.move_on_after(timeout):
            while not (await self.get(delivery)).delivery.state.finished:
                await anyio.sleep(0.01)
        return (await self.get(delivery)).delivery

    async def _move(self, verb: str, deliveries: Sequence[str], allowed: bool, state: State | None) -> list[str]:
        moved = []
        for one in deliveries:
            row = self.rows.get(one)
            if row is None or row.state.finished is not allowed:
                continue
            moved.append(one)
            if state is None:
                del self.rows[one]
            else:
                self.rows[one] = replace(row, state=state)
        self.did.append((verb, *moved))
        return moved

    async def cancel(self, deliveries: Sequence[str], reason: str) -> list[str]:
        return await self._move("cancel", deliveries, False, State.CANCELLED)

    async def redrive(self, deliveries: Sequence[str], states: Container[State] = FINISHED) -> list[str]:
        stand = [one for one in deliveries if one in self.rows and self.rows[one].state in states]
        return await self._move("redrive", stand, True, State.QUEUED)

    async def retry(self, deliveries: Sequence[str]) -> list[str]:
        now = time.time_ns() // 1_000_000
        due = [one for one in deliveries if one in self.rows and self.rows[one].retrying(now)]
        self.rows |= {one: replace(self.rows[one], due=now) for one in due}
        self.did.append(("retry", *due))
        return due

    async def discard(self, deliveries: Sequence[str], reason: str) -> list[str]:
        return await self._move("discard", deliveries, True, None)

    async def send(
        self, trigger: str, body: bytes | None, *, sample: str | None = None, delay: int = 0, key: str | None = None
    ) -> Answer:
        self._failing()
        self._known("trigger", trigger, TRIGGERS)
        self.sent.append({"trigger": trigger, "body": body, "sample": sample, "delay": delay, "key": key})
        return self.answer or self._accepted(trigger)

    def _accepted(self, trigger: str) -> Accepted:
        row = self.add(len(self.rows), State.QUEUED, trigger=trigger, attempts=0)
        return Accepted(event=row.event_id, deliveries=(row.id,))

    async def fire(self, trigger: str) -> Answer:
        self._known("trigger", trigger, TRIGGERS)
        if TRIGGERS[trigger] != "cron":
            raise Conflict(f"trigger {trigger!r} does not fire by itself", hint=f"triggerhub send {trigger} -d …")
        return self._accepted(trigger)

    async def invoke(self, function: str, payload: bytes, *, client_context: str | None = None) -> Answered:
        self._failing()
        self._known("function", function, FUNCTIONS)
        try:
            json.loads(payload)
        except ValueError as error:
            raise BadInput(f"Could not parse request body into json: {error}") from error
        self.sent.append({"function": function, "body": payload})
        if self.slow is not None:
            try:
                await self.slow.wait()
            except BaseException:
                self.cut.append(function)
                raise
        log = (
            Line("hub", "START RequestId: r Version: 0123456789ab"),
            Line("stdout", "said \x1b[31mred"),
            Line("hub", "END RequestId: r"),
            Line("hub", "REPORT RequestId: r\tDuration: 1.50 ms\t\n"),
        )
        return Answered(request_id="r", outcome=self.outcome, version="0123456789ab", log=log)

    async def invoke_async(self, function: str, payload: bytes, *, delay: int = 0) -> Accepted:
        self._known("function", function, FUNCTIONS)
        self.sent.append({"function": function, "body": payload, "delay": delay})
        return self._accepted("api")

    async def pause(self, kind: str, name: str) -> None:
        self._known(kind, name, FUNCTIONS if kind == "function" else TRIGGERS)
        self.paused.add(name)

    async def resume(self, kind: str, name: str) -> None:
        self._known(kind, name, FUNCTIONS if kind == "function" else TRIGGERS)
        self.paused.discard(name)

    def _known(self, kind: str, name: str, names: Any) -> None:
        if name not in names:
            raise NotFound(f"no {kind} {name!r}", hint=f"This hub has: {', '.join(sorted(names))}.")

    def watch(self) -> AbstractAsyncContextManager[Any]:
        return self.feed.watch()

    def happens(self, kind: str, **facts: Any) -> None:
        self.feed.publish(Happening(time=NOW, kind=kind, **facts))

    async def output(
        self,
        *,
        function: str | None = None,
        delivery: str | None = None,
        since: int | None = None,
        search: str | None = None,
        limit: int = 1000,
    ) -> list[Mapping[str, Any]]:
        return [
            line
            for line in self.lines
            if function in (None, line["function"])
            and delivery in (None, line["request_id"])
            and (search or "") in line["text"]
            and (since is None or line["time"] >= since)
        ][-limit:]

    def wrote(self, text: str, function: str = "hello", request_id: str | None = None, stream: str = "stdout") -> None:
        line = {
            "time": NOW, "function": function, "version": "0123456789ab", "request_id": request_id, "stream": stream, "text": text,
        }  # fmt: skip
        self.lines.append(line)
        self.tell(line)

    def tell(self, line: dict[str, Any]) -> None:
        """Hand a line to those who follow."""
        for follower in self.followers:
            follower.send_nowait(line)

    @asynccontextmanager
    async def follow(self, function: str | None = None) -> AsyncGenerator[Any]:
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](100)
        self.followers.append(send)
        try:
            yield (line async for line in receive if function in (None, line["function"]))
        finally:
            self.followers.remove(send)
            send.close()
            receive.close()

    async def functions(self) -> list[dict[str, Any]]:
        counts = dict.fromkeys(("queued", "running", "succeeded", "dead", "cancelled"), 0)
        return [
            {
                "name": name, "runtime": "python", "handler": f"{name}.", "version": "0123456789ab", "source": f"handlers/{name}.py",
                "timeout_ms": 30_000, "memory": 256 << 20, "concurrency": 4, "level": "trusted", "paused": name in self.paused,
                "workers": 1, "running": 0, "triggers": ["demo"], "counts": {**counts, "succeeded": 3},
            }
            for name in FUNCTIONS
        ]  # fmt: skip

    async def triggers(self) -> list[dict[str, Any]]:
        counts = dict.fromkeys(("queued", "running", "succeeded", "dead", "cancelled"), 0)
        return [
            {
                "name": name, "type": kind, "functions": ["hello", "count"], "state": "paused" if name in self.paused else "running",
                "why": None, "next": NOW + 60_000 if kind == "cron" else None, "counts": counts,
            }
            for name, kind in TRIGGERS.items()
        ]  # fmt: skip

    async def status(self) -> dict[str, Any]:
        counts = dict.fromkeys(("queued", "running", "succeeded", "dead", "cancelled"), 0)
        return {
            "version": "0.1.0", "pid": 4711, "node": "here", "project": "/p", "started": NOW, "uptime_s": 3600, "ready": self.ready,
            "listen": "127.0.0.1:8700", "admin": "127.0.0.1:8701", "level": "trusted",
            "storage": {"bytes": 1 << 20, "free_share": 0.5},
            "counts": {"accepted": 3, **counts, "succeeded": 3, "discarded": 0, "pruned": 0, "drift": 0},
            "problems": self.problems, "alarms": [], "functions": 2, "triggers": 3,
        }  # fmt: skip

    async def metrics(self, *, told: bool = True) -> bytes:
        return b"triggerhub_ready 1.0\n"

    async def audit(self) -> list[str]:
        return []

    async def reload(self) -> list[str]:
        self.did.append(("reload",))
        return self.problems


__all__ = ["NOW", "Conflict", "Duplicate", "FakeHub", "Fault", "Filtered", "Raised"]
