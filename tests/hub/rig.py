"""A hub in memory: the real dispatchers, pool and policies over a MemoryStore and workers made of functions."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel

from triggerhub.errors import StartFailed
from triggerhub.hub.hub import Hub
from triggerhub.model import (
    Crashed,
    Delivery,
    Event,
    Fault,
    Interrupted,
    Invocation,
    Millis,
    Outcome,
    Raised,
    Returned,
    Usage,
)
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.runtime import Environments
from triggerhub.settings import Function, HubSettings, Project, RetryPolicy, Trigger
from triggerhub.source import Context, Options, Request, Response, Route
from triggerhub.store import Query
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeClock, FakeRoutes

QUICK = RetryPolicy(attempts=3, initial=5, max=20)
Handler = Callable[[Invocation], Awaitable[Any]]


class Failure(Exception):
    """What a handler of the rig raises to fail."""


@dataclass
class RigWorker:
    function: Function
    runtime: RigRuntime
    alive: bool = True
    pid: int | None = None

    async def invoke(self, invocation: Invocation) -> Outcome:
        if self.runtime.lost:
            self.runtime.lost -= 1
            self.alive = False
            return Interrupted()
        self.runtime.calls.append(invocation)
        self.runtime.running += 1
        self.runtime.most = max(self.runtime.most, self.runtime.running)
        try:
            answer = await self.runtime.handlers[self.function.name](invocation)
        except Failure as error:
            return Raised(fault=Fault(type="Failure", message=str(error)), payload=b'{"errorType":"Failure"}')
        except asyncio.CancelledError:
            self.alive = False
            raise
        except BrokenPipeError:
            self.alive = False
            fault = Fault(type="Runtime.ExitError", message="signal: killed")
            return Crashed(fault=fault, payload=b"{}")
        finally:
            self.runtime.running -= 1
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Returned(payload=payload, usage=Usage(duration_ms=1.0))


@dataclass
class RigRuntime:
    handlers: dict[str, Handler] = field(default_factory=dict)
    calls: list[Invocation] = field(default_factory=list)
    started: list[Function] = field(default_factory=list)
    ended: list[Function] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Versions that cannot start."""
    unmakable: dict[str, Exception] = field(default_factory=dict)
    """What starting a version raises."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Why functions are not run on this host."""
    slow: float = 0
    """Seconds that a start takes."""
    lost: int = 0
    """How many calls meet a worker that died while it was idle."""
    running: int = 0
    most: int = 0

    def level(self, function: Function) -> str | Refusal:
        return self.refused.get(function.name, function.level)

    @asynccontextmanager
    async def start(self, function: Function) -> AsyncGenerator[RigWorker]:
        if function.version in self.broken:
            raise StartFailed(
                "Runtime.ImportModuleError", "no such module", b'{"errorType":"Runtime.ImportModuleError"}'
            )
        if refusal := self.refused.get(function.name):
            raise StartFailed("Sandbox.Failure", refusal.message, b"{}", scarce=True)
        if error := self.unmakable.get(function.version):
            raise error
        await anyio.sleep(self.slow)
        self.started.append(function)
        try:
            yield RigWorker(function, self)
        finally:
            self.ended.append(function)


class RigOutput:
    trouble = complaint = None

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, function: Function, request_id: str | None, stream: str, text: str) -> None:
        self.lines.append({"function": function.name, "request_id": request_id, "stream": stream, "text": text})

    def read(self, **_: Any) -> list[dict[str, Any]]:
        return self.lines


class NoOptions(Options):
    name: str = "topic"


def hand_source() -> ModuleType:
    """A source that only keeps its context, for tests to emit with."""
    module = ModuleType("hand")
    module.Options = NoOptions  # type: ignore[attr-defined]
    module.contexts = {}  # type: ignore[attr-defined]

    async def run(ctx: Context, options: object) -> None:
        module.contexts[ctx.trigger.name] = ctx  # type: ignore[attr-defined]
        ctx.begun()
        await anyio.sleep_forever()

    module.run = run  # type: ignore[attr-defined]
    return module


def route_source() -> ModuleType:
    """A source that serves one path and emits what it gets."""
    module = ModuleType("route")
    module.Options = NoOptions  # type: ignore[attr-defined]
    module.serves_routes = True  # type: ignore[attr-defined]

    async def run(ctx: Context, options: object) -> None:
        async def endpoint(request: Request) -> Response:
            return Response(status=202)

        async with ctx.routes.serve(Route(path="/in", methods=("POST",), body_limit=1, endpoint=endpoint)):
            ctx.begun()
            await anyio.sleep_forever()

    module.run = run  # type: ignore[attr-defined]
    return module


def queue_source() -> ModuleType:
    module = hand_source()

    def wrap(options: object, trigger: str, body: bytes, now: Millis) -> Event:
        return Event(data=b'{"body":' + body + b"}", time=now)

    module.wrap = wrap  # type: ignore[attr-defined]
    return module


class HeldStore(MemoryStore):
    """A store whose verbs can be held up: ``hold("settle")`` before it acts, ``hold("answer", after=True)`` after."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, tuple[anyio.Event, bool]] = {}
        self.waiting: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.prunings = 0
        self.raises: dict[str, list[Exception]] = defaultdict(list)
        """What a verb raises at its next calls, in turn."""

    def hold(self, verb: str, *, after: bool = False) -> anyio.Event:
        """Hold the verb up until the event is set."""
        event = anyio.Event()
        self.held[verb] = (event, after)
        return event

    async def _pass(self, verb: str, act: Callable[[], Awaitable[Any]]) -> Any:
        if self.raises[verb]:
            raise self.raises[verb].pop(0)
        event, after = self.held.get(verb, (None, False))
        self.calls[verb] += 1
        self.waiting[verb] += 1
        try:
            result = await act() if after else None
            if event is not None:
                await event.wait()
            return result if after else await act()
        finally:
            self.waiting[verb] -= 1

    async def append(self, *args: Any, **named: Any) -> Any:
        with anyio.CancelScope(shield=True):  # as the protocol says of who is cancelled
            return await self._pass("append", lambda: super(HeldStore, self).append(*args, **named))

    async def claim(self, *args: Any, **named: Any) -> Any:
        with anyio.CancelScope(shield=True):
            return await self._pass("claim", lambda: super(HeldStore, self).claim(*args, **named))

    async def settle(self, *args: Any, **named: Any) -> Any:
        return await self._pass("settle", lambda: super(HeldStore, self).settle(*args, **named))

    async def hasten(self, *args: Any, **named: Any) -> Any:
        return await self._pass("hasten", lambda: super(HeldStore, self).hasten(*args, **named))

    async def answer(self, *args: Any, **named: Any) -> Any:
        return await self._pass("answer", lambda: super(HeldStore, self).answer(*args, **named))

    async def prune(self, **named: Any) -> Any:
        self.prunings += 1
        return await self._pass("prune", lambda: super(HeldStore, self).prune(**named))


@dataclass
class Rig:
    hub: Hub
    store: MemoryStore
    runtime: RigRuntime
    output: RigOutput
    modules: dict[str, ModuleType]
    wanted: list[Any]
    """What the next reload reads: (project, modules, problems)."""
    folder: Path
    routes: FakeRoutes
    clock: FakeClock | None = None

    async def emit(self, trigger: str, *records: Any, **facts: Any) -> Sequence[Any]:
        """Emit records as the trigger's source would."""
        module = self.modules[self.hub.project.triggers[trigger].type]
        with anyio.fail_after(10):
            while trigger not in module.contexts:
                await anyio.sleep(0.001)
        events = [Event(data=json.dumps(record).encode(), time=0, **facts) for record in records]
        return await module.contexts[trigger].emit(*events, wait=False)

    async def states(self, count: int | None = None, within: float = 20) -> list[str]:
        """Wait until everything is finished (and *count* deliveries are there); return the states, oldest first."""
        rows = []
        with anyio.move_on_after(within):
            while True:
                rows = await self.store.page(Query(limit=1000))
                if all(row.state.finished for row in rows) and (count is None or len(rows) >= count):
                    return [row.state.value for row in reversed(rows)]
                await anyio.sleep(0.002)
        raise AssertionError(f"not finished: {rows}")

    async def row(self, delivery: str) -> Delivery:
        return (await self.hub.deliveries.get(delivery)).delivery

    async def reload(self, functions: Sequence[Function], triggers: Sequence[Trigger], **hub: Any) -> Sequence[str]:
        """Reload with this project; returns the problems."""
        wanted = (project(functions, triggers, self.folder, **hub), self.modules, [])
        self.wanted.append(wanted)
        try:
            return await self.hub.reload()
        finally:
            # Cancelled before it read, it would leave this one to the next.
            self.wanted[:] = [one for one in self.wanted if one is not wanted]

    def advance(self, milliseconds: Millis) -> None:
        """Move the fake clock, and let the dispatchers see it."""
        assert self.clock is not None
        self.clock.advance(milliseconds)
        for dispatcher in self.hub._wiring.dispatchers.values():
            dispatcher._woken.set()

    async def idle(self) -> None:
        """Let everything run that can run without time."""
        for _ in range(50):
            await anyio.lowlevel.checkpoint()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        with anyio.move_on_after(20):
            while not condition():
                await anyio.sleep(0.001)
            return
        raise AssertionError(f"never: {what}")


def function(name: str = "work", **settings: Any) -> Function:
    return Function(**{"name": name, "runtime": "python", "version": f"{name}-1", "retry": QUICK, **settings})


def trigger(name: str = "hand", **settings: Any) -> Trigger:
    return Trigger(**{"name": name, "type": "hand", "functions": ("work",), "options": NoOptions(), **settings})


def project(functions: Sequence[Function], triggers: Sequence[Trigger], folder: Path, **hub: Any) -> Project:
    hub = {"node": "test", **hub}
    alarms = hub.pop("alarms", {})
    settings = HubSettings(project=folder, handlers=folder / "handlers", data=folder, **hub)
    named = {f.name: f for f in functions}
    return Project(hub=settings, functions=named, triggers={t.name: t for t in triggers}, alarms=alarms)


@asynccontextmanager
async def rig(
    folder: Path,
    handlers: Mapping[str, Handler],
    *,
    functions: Sequence[Function] | None = None,
    triggers: Sequence[Trigger] | None = None,
    store: MemoryStore | None = None,
    clock: FakeClock | None = None,
    draw: float = 0.5,
    more: Mapping[str, ModuleType] | None = None,
    sources: bool = True,
    environments: Environments | None = None,
    **hub: Any,
) -> AsyncGenerator[Rig]:
    """A hub that takes events (unless *sources* is false); *more* are sources by type. Leaving drains it."""
    runtime, output = RigRuntime(dict(handlers)), RigOutput()
    modules = {"hand": hand_source(), "queue": queue_source(), **(more or {})}
    whole = project(
        [function(name) for name in handlers] if functions is None else functions,
        [trigger()] if triggers is None else triggers,
        folder,
        **hub,
    )
    store = store or MemoryStore()
    wanted: list[Any] = []
    routes = FakeRoutes()
    made = Hub(
        whole,
        modules,
        store=store,
        runtime=lambda _: runtime,
        output=output,  # type: ignore[arg-type]
        routes=routes,
        read=lambda: wanted.pop(0),
        environments=environments,
        clock=clock,
        draw=lambda: draw,
    )
    async with made.open(), made.sources() if sources else nullcontext():
        yield Rig(made, store, runtime, output, modules, wanted, folder, routes, clock)


async def echoing(invocation: Invocation) -> Any:
    return json.loads(invocation.payload)
