"""Live through a day of a hub, drawn from a seed.

Events come in bursts, handlers fail, hang, crash and cannot start, people cancel, pause, retry and redrive, and
the hub ends well or dies and is started again on the same store, at any moment and also half-way through
what it asks of the store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal
from unittest import mock
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
import structlog

from sources import cron
from tests.hub.rig import NoOptions, RigOutput, function, hand_source, project, queue_source, trigger
from tests.simulation import virtual
from tests.simulation.world import LATENESS, Line, Wire, World
from triggerhub.errors import StartFailed, TriggerhubError
from triggerhub.hub import alarms, dispatch, maintain, mint, pulse
from triggerhub.hub.hub import Hub
from triggerhub.model import (
    Crashed,
    Event,
    Fault,
    Invocation,
    Millis,
    Outcome,
    Raised,
    Returned,
    State,
    TimedOut,
    Usage,
)
from triggerhub.policy import schedule
from triggerhub.settings import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Batch,
    Destination,
    Function,
    Idempotency,
    Project,
    Rate,
    RetryPolicy,
)
from triggerhub.source import Accepted, Duplicate
from triggerhub.stores.memory import MemoryStore
from triggerhub.testing import FakeRoutes

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
SCHEDULES = ("*/20 * * * *", "17 * * * *", "0 2 * * *", "30 1,2,3 * * *", "rate(45 minutes)", "@hourly")
Trouble = Literal["", "clock", "reload", "storm", "late"]
"""Somebody sets the clock, or edits the configuration, or people and deaths come when events do, or the hub dies again
and again as it settles, is back at once, and what it had asked for comes to the store while it calls anew."""
STEPS = (-HOUR, -10 * MINUTE, -SECOND, SECOND, HOUR, DAY)
LOOK = 60.0
"""Seconds between looks at a clock that may be set."""
QUIET = 6 * HOUR
"""How long after the day all must have come to its end."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How handlers do, as shares of one."""

    fail: float
    crash: float
    hang: float
    broken: float
    """Workers that cannot start."""


@dataclass
class Plan:
    """What a seed stands for."""

    start: Millis
    project: Project
    outcomes: Outcomes
    events: int
    deaths: int
    restarts: int
    interventions: int


@dataclass
class Worker:
    function: Function
    life: Life
    alive: bool = True
    pid: int | None = None
    called: bool = False

    def faint(self) -> None:
        """End by itself, unless it is at work."""
        self.alive = self.called

    async def invoke(self, invocation: Invocation) -> Outcome:
        life, world, name = self.life, self.life.world, self.function.name
        self.called = True
        life.busy[name] = life.busy.get(name, 0) + 1
        claims = world.begins(name, invocation.deliveries, life.busy[name])
        lines = world.lines_of(invocation.deliveries)
        if both := lines & life.lines:
            world.problem(f"two handlers at once for {both}")
        life.lines |= lines
        try:
            return await self.run(invocation, claims)
        except BaseException:
            self.alive = False
            if not life.wire.dead:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(world.draw.random() * 0.05)  # a kill takes its time
            raise
        finally:
            self.called = False
            life.busy[name] -= 1
            life.lines -= lines

    async def run(self, invocation: Invocation, claims: list[tuple[str, int]]) -> Outcome:
        """Do what the draw says, as a handler would."""
        life, outcomes, draw = self.life, self.life.plan.outcomes, self.life.world.draw
        takes = draw.expovariate(1 / draw.choice((0.01, 0.01, 0.2, 5.0)))
        fate = draw.random()
        left = (invocation.deadline - life.clock.now()) / 1000
        if fate < outcomes.hang or takes >= left:
            await anyio.sleep(left)
            self.alive = False
            return TimedOut(
                fault=Fault(type="Sandbox.Timedout", message="timed out"),
                payload=b"{}",
                usage=Usage(duration_ms=left * 1000),
            )
        await anyio.sleep(takes)
        usage = Usage(duration_ms=takes * 1000)
        fate -= outcomes.hang
        if fate < outcomes.crash:
            self.alive = False
            return Crashed(fault=Fault(type="Runtime.ExitError", message="killed"), payload=b"{}", usage=usage)
        fate -= outcomes.crash
        if fate < outcomes.fail:
            return Raised(fault=Fault(type="Failure", message="no"), payload=b"{}", usage=usage)
        life.world.returns(claims)
        return Returned(payload=self.answer(invocation, draw), usage=usage)

    def answer(self, invocation: Invocation, draw: random.Random) -> bytes:
        if self.function.name != "batch" or draw.random() < 0.7:
            return b'{"done":true}'
        event = json.loads(invocation.payload)
        # What people send it and what destinations tell it comes in other shapes.
        names = [record["n"] for record in event["records"]] if isinstance(event, dict) and "records" in event else []
        failed = [{"itemIdentifier": str(one)} for one in names if draw.random() < 0.3]
        return json.dumps({"batchItemFailures": failed}).encode()


@dataclass
class Life:
    """One process of the hub."""

    plan: Plan
    world: World
    clock: virtual.Clock
    modules: dict[str, ModuleType]
    read: Callable[[], Project]
    """What the configuration says now."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    busy: dict[str, int] = field(default_factory=dict)
    lines: set[Line] = field(default_factory=set)
    """Whose handlers are at work."""
    enough: anyio.Event = field(default_factory=anyio.Event)
    steps_to_live: int | None = None
    """How many more things are asked of the store, of those that it dies at, before or after which it dies."""
    dies_at: tuple[str, ...] = ()
    worker: type[Worker] = Worker
    lateness: tuple[float, ...] = LATENESS

    def __post_init__(self) -> None:
        self.wire = Wire(self.world, self.die, self._fate, self.lateness)
        self.hub: Hub | None = None

    def _fate(self, verb: str) -> bool:
        if self.steps_to_live is None or verb not in self.dies_at:
            return False
        self.steps_to_live -= 1
        return self.steps_to_live == 0

    def die(self) -> None:
        """End at once, as by SIGKILL: the workers with the hub."""
        if not self.wire.dead:
            self.world.deaths += 1
            self.world.note("died")
            self.wire.cut()
            self.scope.cancel()

    @asynccontextmanager
    async def start(self, function: Function) -> AsyncGenerator[Worker]:
        """Start a worker: the hub's runtime. Some end by themselves while nobody calls them."""
        draw = self.world.draw
        await anyio.sleep(draw.random() * 0.2)
        if draw.random() < self.plan.outcomes.broken:
            raise StartFailed("Runtime.ImportModuleError", "no such module", b"{}")
        made = self.worker(function, self)
        if draw.random() < 0.1:
            asyncio.get_running_loop().call_later(draw.expovariate(1 / 600), made.faint)
        yield made

    def level(self, function: Function) -> str:
        return function.level

    async def live(self, until: Millis, *, ready: Any) -> None:
        """Run the hub until a moment, then drain; or until it dies."""
        made = Hub(
            self.read(),
            self.modules,
            store=self.wire,  # type: ignore[arg-type]
            runtime=lambda _: self,
            output=RigOutput(),  # type: ignore[arg-type]
            routes=FakeRoutes(),
            read=lambda: (self.read(), self.modules, []),
            clock=self.clock,
            draw=self.world.draw.random,
        )
        try:
            with self.scope:
                async with made.open(), made.sources():
                    self.hub = made
                    ready(self)
                    with anyio.move_on_after((until - self.clock.now()) / 1000):
                        await self.enough.wait()
                    self.hub = None
        except Exception as error:
            if not self.wire.dead:
                self.world.problem(f"the hub ended by itself: {error!r}")
                self.wire.cut()
        finally:
            self.hub = None


class Day:
    """A day and what happens in it."""

    def __init__(
        self,
        plan: Plan,
        draw: random.Random,
        *,
        store: type[MemoryStore],
        worker: type[Worker],
        trouble: Trouble,
    ) -> None:
        self.plan = plan
        self.draw = draw
        self.clock = virtual.Clock(plan.start, look=LOOK if trouble == "clock" else 1e9)
        self.project = plan.project
        self.end = plan.start + DAY
        self._trouble = trouble
        self._moments: list[Millis] = []
        if trouble == "storm":
            self.plan.interventions = 20 + 4 * plan.interventions
        if trouble == "late":
            self.plan.deaths = 20
        if trouble in ("storm", "late"):
            self._moments = self._bursts()
        self.world = World(store=store(), draw=draw, now=self.clock.now, project=plan.project)
        self.life: Life | None = None
        self._worker = worker
        self._modules = {"hand": hand_source(), "queue": queue_source(), "cron": cron}

    async def run(self) -> None:
        """Live it, and look at how it ended."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send)
            tasks.start_soon(self._intervene)
            if self._trouble == "clock":
                tasks.start_soon(self._set_clock)
            elif self._trouble == "reload":
                tasks.start_soon(self._edit)
            await self._lives()
            tasks.cancel_scope.cancel()
        self.world.close()

    # the hub

    async def _lives(self) -> None:
        plan, draw = self.plan, self.draw
        ends = sorted(self._when(self.end) for _ in range(plan.deaths + plan.restarts))
        deaths = set(draw.sample(range(len(ends)), plan.deaths))
        for number, end in enumerate(ends):
            await self._live(end, dies=number in deaths)
            if self._trouble != "late":
                await anyio.sleep(draw.choice((0, 0.05, 5, 60, 3600)) * draw.random())
            self.world.store.reopen()
        await self._live(self.end + 30 * DAY, dies=False, last=True)

    async def _live(self, until: Millis, *, dies: bool, last: bool = False) -> None:
        late = self._trouble == "late"
        life = Life(
            self.plan, self.world, self.clock, self._modules, lambda: self.project, worker=self._worker,
            lateness=LATENESS[:2] if late else LATENESS,
        )  # fmt: skip
        if dies and late:
            life.steps_to_live, life.dies_at = self.draw.randint(1, 5), ("settle",)
        elif dies and self.draw.random() < 0.7:
            life.steps_to_live = self.draw.randint(1, 100)
            life.dies_at = self.draw.choice(
                (("settle",), ("claim",), ("append",), ("append", "claim", "settle", "reap"))
            )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, life, until, tasks.cancel_scope)
            if last:
                await self.clock.sleep_until(self.end)
                if self.project is not self.plan.project:
                    self.project = self.plan.project
                    await self._reload()
                await self._settled(life)
                life.enough.set()
            elif dies:
                await self.clock.sleep_until(until - self.draw.randint(1, 1000))
                life.die()
        self.life = None

    async def _run(self, life: Life, until: Millis, scope: anyio.CancelScope) -> None:
        def ready(life: Life) -> None:
            self.life = life

        await life.live(until, ready=ready)
        scope.cancel()

    async def _settled(self, life: Life) -> None:
        """Wait until all is finished, or long enough."""
        with anyio.move_on_after(QUIET / 1000 - 60):
            while any(not row.delivery.state.finished for row in self.world.store.rows.values()):
                await anyio.sleep(60)
            for name in self.plan.project.triggers:
                await self._counted(name, life)
            for name in self.plan.project.functions:
                await self._warmed(name, life)

    async def _counted(self, name: str, life: Life) -> None:
        """Compare what the hub counts for its backlogs with what there is, when nothing is under way."""
        for _ in range(5):
            there = sum(
                row.delivery.trigger == name and not row.delivery.state.finished
                for row in self.world.store.rows.values()
            )
            if life.hub is None or (counted := life.hub._depth[name]) == there:
                return
            await anyio.sleep(1)
        self.world.problem(f"{name} counts {counted} unfinished, and there are {there}")

    async def _warmed(self, name: str, life: Life) -> None:
        """Wait for the workers that are to be there, whatever became of those before."""
        started = warm = 0
        for _ in range(60):
            if life.hub is None or name not in life.hub.project.functions:
                return
            function = life.hub.project.functions[name]
            warm = min(function.warm, function.concurrency)
            _, started, _ = life.hub.warmth(name)
            if started >= warm:
                return
            await anyio.sleep(60)
        self.world.problem(f"{name} has {started} workers, and {warm} are to be warm")

    async def _set_clock(self) -> None:
        for _ in range(self.draw.randint(1, 4)):
            await anyio.sleep(self.draw.random() * 7200)
            by = self.draw.choice(STEPS)
            self.world.note("step", by)
            self.clock.step(by)

    async def _edit(self) -> None:
        """Change the configuration: other versions, triggers and functions that go and come back."""
        for moment in sorted(self.draw.randrange(self.plan.start, self.end) for _ in range(self.draw.randint(2, 12))):
            await self.clock.sleep_until(moment)
            self.project = self._edited()
            await self._reload()

    def _edited(self) -> Project:
        whole, draw = self.plan.project, self.draw
        gone = set(draw.sample(("line", "pile", "keyed", "clock"), draw.choice((0, 0, 1, 2))))
        functions = dict(whole.functions)
        if "keyed" in gone:
            del functions["once"]
        for name in draw.sample(sorted(functions), draw.randint(0, 2)):
            functions[name] = replace(functions[name], version=f"{name}-{draw.randrange(1000)}")
        return replace(whole, functions=functions, triggers={k: v for k, v in whole.triggers.items() if k not in gone})

    async def _reload(self) -> None:
        hub = self.life.hub if self.life else None
        if hub is not None:
            with suppress(TriggerhubError):
                await hub.reload()

    def _bursts(self) -> list[Millis]:
        """Return when events come."""
        plan, draw = self.plan, self.draw
        moments: list[Millis] = []
        while len(moments) < plan.events:
            burst = draw.randrange(plan.start, self.end - HOUR)
            moments += [
                burst + int(draw.random() * draw.choice((10, 1000, 60_000))) for _ in range(draw.randint(1, 25))
            ]
        return sorted(moments[: plan.events])

    def _when(self, latest: Millis) -> Millis:
        """Return a moment: in a storm it is in the midst of the events."""
        if self._moments:
            return self.draw.choice(self._moments) + self.draw.randrange(self.draw.choice((100, 5000)))
        return self.draw.randrange(self.plan.start, latest)

    # the senders

    async def _send(self) -> None:
        plan, draw = self.plan, self.draw
        moments = self._moments or self._bursts()
        hands = [one.name for one in plan.project.triggers.values() if one.type == "hand"]
        for number, moment in enumerate(moments):
            await self.clock.sleep_until(moment)
            await self._emit(draw.choice(hands), number)

    async def _emit(self, name: str, number: int) -> None:
        draw, life = self.draw, self.life
        context = self._modules["hand"].contexts.get(name)
        if (
            life is None
            or life.hub is None
            or life.wire.dead
            or context is None
            or name not in life.hub.project.triggers
        ):
            return  # nobody listens
        record = {"n": number, "k": draw.randrange(5)}
        due = self.clock.now() + draw.randrange(HOUR) if draw.random() < 0.05 else None
        events = [Event(data=json.dumps(record).encode(), time=self.clock.now(), due=due)]
        try:
            answers = await context.emit(*events, wait=False)
        except TriggerhubError:
            return  # the sender was told so, or nothing
        for answer in answers:
            if isinstance(answer, Accepted | Duplicate):
                self.world.accepted.update(answer.deliveries)

    # people

    async def _intervene(self) -> None:
        for moment in sorted(self._when(self.end - 2 * HOUR) for _ in range(self.plan.interventions)):
            await self.clock.sleep_until(moment)
            hub = self.life.hub if self.life else None
            if hub is None:
                continue
            try:
                await self._change(hub)
            except TriggerhubError:
                continue

    async def _change(self, hub: Hub) -> None:
        draw, rows = self.draw, self.world.store.rows
        states = (State.QUEUED, State.RUNNING) if draw.random() < 0.4 else (State.DEAD, State.SUCCEEDED)
        some = [one for one in rows if rows[one].delivery.state in states]
        chosen = draw.sample(some, min(len(some), 3))
        if self._trouble == "storm" and some and not rows[some[0]].delivery.state.finished:
            await hub.deliveries.cancel(chosen, "asked")
            return
        match draw.choice(("cancel", "redrive", "retry", "discard", "pause", "audit")):
            case "cancel":
                await hub.deliveries.cancel(chosen, "asked")
            case "retry":
                await hub.deliveries.retry([one for one in rows if rows[one].delivery.retrying(self.clock.now())])
            case "redrive":
                await hub.deliveries.redrive([one for one in chosen if rows[one].delivery.state.finished])
            case "discard":
                await hub.deliveries.discard([one for one in chosen if rows[one].delivery.state is State.DEAD], "known")
            case "pause":
                name = draw.choice(sorted(self.plan.project.functions))
                with suppress(TriggerhubError):  # it died, and yet may have kept it
                    await hub.pause("function", name)
                await anyio.sleep(draw.random() * 900)
                # Where the hub died meanwhile, the next one has read that it is paused.
                while (now := self.life and self.life.hub) is None:
                    await anyio.sleep(5)
                await self._resume(name, now)
            case "audit":
                self.world.problems += await hub.audit()

    async def _resume(self, name: str, hub: Hub) -> None:
        while True:
            try:
                await hub.resume("function", name)
                return
            except TriggerhubError:
                await anyio.sleep(5)
                if self.life and self.life.hub:
                    hub = self.life.hub


# what a seed stands for


def plan_of(draw: random.Random, *, busy: bool) -> Plan:
    """Draw a project, a day and its troubles; a *busy* day has some hundreds of events."""
    outcomes = Outcomes(
        fail=draw.choice((0, 0.05, 0.3)),
        crash=draw.choice((0, 0.03, 0.1)),
        hang=draw.choice((0, 0.01, 0.05)),
        broken=draw.choice((0, 0.02, 0.2)),
    )
    start = (
        int(datetime(2026, draw.randint(1, 12), draw.randint(1, 28), draw.randrange(24), tzinfo=UTC).timestamp()) * 1000
    )
    if draw.random() < 0.2:  # a day on which clocks are put forward or back
        start = (
            int(
                datetime(
                    2026, *draw.choice(((3, 7), (3, 28), (4, 4), (10, 3), (10, 24), (10, 31))), 20, tzinfo=UTC
                ).timestamp()
            )
            * 1000
        )
    return Plan(
        start=start,
        project=_project(draw),
        outcomes=outcomes,
        events=draw.randint(100, 300) if busy else draw.randint(20, 60),
        deaths=draw.randint(0, 5),
        restarts=draw.randint(0, 2),
        interventions=draw.randint(0, 12),
    )


def _project(draw: random.Random) -> Project:
    def retry() -> RetryPolicy:
        return RetryPolicy(attempts=draw.randint(1, 4), initial=draw.choice((10, SECOND, MINUTE)), max=10 * MINUTE)

    def made(name: str, **settings: Any) -> Function:
        return function(
            name, retry=retry(), concurrency=draw.randint(1, 4), timeout=draw.choice((3, 30)) * SECOND,
            idle=draw.choice((MINUTE, 10 * MINUTE)), **settings
        )  # fmt: skip

    functions = [
        made(
            "work", warm=draw.choice((0, 0, 1, 2)),
            on_success=(Destination(kind="queue", target="topic"),) if draw.random() < 0.3 else (),
        ),
        made("other", on_failure=(Destination(kind="function", target="work"),) if draw.random() < 0.3 else ()),
        made("batch"),
        made("once", idempotency=Idempotency(key="$.k", keep=HOUR)),
        made("tick", rate=Rate(count=1, per=SECOND) if draw.random() < 0.3 else None),
    ]  # fmt: skip
    zone = draw.choice(ZONES)
    options = cron.Options(
        schedule=draw.choice(SCHEDULES),
        timezone=zone,
        missed=draw.choice(("once", "all", "skip")),
        overlap=draw.choice(("allow", "queue", "skip")),
        jitter=draw.choice(("0s", "0s", "30s")),
    )
    triggers = [
        trigger("hook", functions=("work", "other")),
        trigger("line", functions=("other",), order="$.k", retry={"other": retry()} if draw.random() < 0.5 else {}),
        trigger("keyed", functions=("once",), key="$.n" if draw.random() < 0.5 else None),
        trigger(
            "pile", functions=("batch",), order="$.k" if draw.random() < 0.5 else None,
            batch=Batch(size=draw.randint(2, 6), window=draw.choice((0, SECOND, MINUTE)), partial_failures=True),
            maximum_concurrency=draw.choice((None, 1)),
        ),
        trigger("topic", type="queue", functions=("tick",), options=NoOptions(name="topic")),
        trigger("clock", type="cron", functions=("tick",), options=options),
    ]  # fmt: skip
    return project(functions, triggers, Path("/nowhere"), drain=draw.choice((100, 5 * SECOND)))


# running it


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    problems: tuple[str, ...]
    digest: str
    deliveries: int
    calls: int
    deaths: int
    steps: int


async def _at_once(function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    """Do what a thread would: no thread has a place in virtual time."""
    return function(*arguments)


@contextmanager
def _steered(draw: random.Random, look: float) -> Iterator[None]:
    """Take away what is random or in the way: bits of ids, looks at a clock that nobody sets, a log that nobody reads.

    What is measured for people is measured every five minutes, not every ten seconds: that was most of a day.
    """
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with (
            mock.patch.object(mint, "os", SimpleNamespace(urandom=draw.randbytes)),
            mock.patch.object(dispatch, "LOOK", look),
            mock.patch.object(dispatch, "POLL", 10 * 3600.0),
            mock.patch.object(cron, "LOOK", look),
            mock.patch.object(maintain, "SWEEP", 120.0),
            mock.patch.object(pulse, "STEP", pulse.WINDOW),
            mock.patch.object(alarms, "LOOK", 300.0),
            mock.patch.object(anyio.to_thread, "run_sync", _at_once),
        ):
            yield
    finally:
        structlog.configure(**kept)


def simulate(
    seed: int,
    *,
    busy: bool = True,
    trouble: Trouble = "",
    store: type[MemoryStore] = MemoryStore,
    worker: type[Worker] = Worker,
) -> Result:
    """Live through the seed's day, perhaps one with a *trouble* beside those that every day has.

    *store* and *worker* may be weaker ones, which must be found out.
    """
    draw = random.Random(seed)
    plan = plan_of(draw, busy=busy)
    with _steered(draw, LOOK if trouble == "clock" else 3600.0):

        async def day() -> Day:
            made = Day(plan, draw, store=store, worker=worker, trouble=trouble)
            await made.run()
            return made

        lived = virtual.run(day)
    world = lived.world
    world.problems += _slots(lived)
    return Result(
        seed=seed,
        problems=tuple(world.problems),
        digest=world.digest,
        deliveries=len(world.store.rows),
        calls=world.calls,
        deaths=world.deaths,
        steps=world.steps,
    )


def _slots(lived: Day) -> list[str]:
    """Return the slots that no event came of, where the schedule makes up for all that it missed."""
    world, options = lived.world, lived.plan.project.triggers["clock"].options
    if options.missed != "all" or options.overlap == "skip":
        return []
    stored = world.store._checkpoints.get(("clock", cron.CHECKPOINT))
    if stored is None:
        return [] if lived.plan.deaths else ["the schedule never began"]
    memory = json.loads(stored)
    plan = schedule.parse(
        options.schedule, timezone=ZoneInfo(options.timezone), seconds_first=False, name="clock"
    ).anchored(memory["anchor"])
    expected, slot = [], plan.next(memory["anchor"])
    while slot is not None and slot <= memory["last"]:
        expected.append(slot)
        slot = plan.next(slot)
    return [f"the slot {one} never came" for one in expected if not world.slots["clock", one]]
