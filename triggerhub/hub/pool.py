"""Lend warm workers, start them when none is free, and end those that are not needed.

Every worker has a task that holds its context open, so its end is the end of a block. Lending
itself touches no task: an idle worker is handed over at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.aws import errors
from triggerhub.errors import StartFailed, scarce
from triggerhub.hub.clock import Clock
from triggerhub.model import Millis
from triggerhub.policy.pooling import Assignment, assign, idle_too_long
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.runtime import Runtime, Worker
from triggerhub.settings import Function, Level

log = structlog.get_logger("pool")

START_ERROR = "Runtime.StartError"
WAIT = Assignment.WAIT


class Slot:
    """One worker and the wish for its end."""

    __slots__ = ("bench", "function", "idle_since", "retired", "started", "worker")

    def __init__(self, function: Function, bench: _Bench | None = None) -> None:
        self.function = function
        self.bench = bench
        """Whose it is, also once another bench has the function's name; None is a trial's."""
        self.worker: Worker
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.retired = asyncio.Event()
        self.idle_since: Millis = 0


class _Bench:
    """The workers of one function, and who waits for one."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.idle: list[Slot] = []
        self.forgotten = False
        """Whether its function was removed: who has a worker or waits for one is served to the end, and no more."""
        self.live = 0
        """Idle, lent and starting ones of the current version; retired ones do not count."""
        self.called = 0
        """Waiters that were called and have not taken their turn yet: what is free is theirs."""
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @property
    def queued(self) -> bool:
        """Whether somebody is to be served before a newcomer."""
        return bool(self._waiting or self.called)

    def call(self) -> None:
        """Call as many waiters, the first first, as there is something free for."""
        free = len(self.idle) + max(self.function.concurrency - self.live, 0) - self.called
        while self._waiting and free > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(True)
                self.called += 1
                free -= 1

    async def turn(self, until: float) -> bool:
        """Wait to be called, who comes first goes first; False at *until* on the loop's clock."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(future)
        # There may be more free than those called before have not taken yet.
        self.call()
        timer = loop.call_at(until, _expire, future) if until < math.inf else None
        try:
            called = await future
        finally:
            if timer is not None:
                timer.cancel()
            if future.done() and not future.cancelled() and future.result():
                self.called -= 1
        if not called:
            self._waiting = deque(one for one in self._waiting if not one.done())
        return called


def _expire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)


class Pool:
    """The workers of all functions."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._benches: dict[str, _Bench] = {}
        self._tasks: TaskGroup

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Pool]:
        """Leaving kills every worker."""
        async with anyio.create_task_group() as self._tasks:
            try:
                yield self
            finally:
                self._tasks.cancel_scope.cancel()

    def serve(self, function: Function) -> None:
        """Make *function* the current version of its name: idle workers of another one end now."""
        bench = self._benches.setdefault(function.name, _Bench(function))
        if bench.function == function:
            return
        bench.function = function
        retired, bench.idle = bench.idle, []
        for slot in retired:
            self._retire(bench, slot)
        bench.call()

    def forget(self, name: str) -> None:
        """End the idle workers of a function that is no longer there."""
        if bench := self._benches.pop(name, None):
            bench.forgotten = True
            retired, bench.idle = bench.idle, []
            for slot in retired:
                self._retire(bench, slot)
            bench.call()

    def level(self, function: Function) -> Level | Refusal:
        """Return the level at which a function runs, or why it does not."""
        return self._runtime.level(function)

    def applied(self, function: Function) -> Level | None:
        """Return the level at which a function's calls run; None for what the hub itself does, and what is not run."""
        level = self._runtime.level(function) if function.name in self._benches else None
        return level if isinstance(level, str) else None

    def live(self, name: str) -> int:
        bench = self._benches.get(name)
        return bench.live if bench else 0

    def idle(self, name: str) -> int:
        bench = self._benches.get(name)
        return len(bench.idle) if bench else 0

    def free(self, function: Function) -> bool:
        """Whether a call would get a worker now, an idle one or a new one, and nobody waits for one."""
        bench = self._benches.get(function.name)
        if bench is None:
            return True
        return not bench.queued and (bool(bench.idle) or bench.live < bench.function.concurrency)

    def lend(self, function: Function) -> Slot | None:
        """Lend an idle worker, if there is one and nobody waits."""
        bench = self._benches.get(function.name)
        if bench is None or bench.queued:
            return None
        return self._idle(bench)

    def _idle(self, bench: _Bench) -> Slot | None:
        while bench.idle:
            slot = bench.idle.pop()
            if slot.worker.alive:
                return slot
            self._retire(bench, slot)
        return None

    async def acquire(self, function: Function, *, patience: float | None = None) -> Slot | None:
        """Lend a worker of the function's current version; waits for its turn where all are lent.

        None where that takes longer than *patience* seconds; starting a worker has its own limit and is
        not cut short by it. Raises StartFailed. Cancelled: nothing stays lent.
        """
        bench = self._benches.setdefault(function.name, _Bench(function))
        until = math.inf if patience is None else asyncio.get_running_loop().time() + patience
        waits = bench.queued
        while True:
            if waits or assign(idle=len(bench.idle), live=bench.live, limit=bench.function.concurrency) is WAIT:
                try:
                    if not await bench.turn(until):
                        return None
                except BaseException:
                    bench.call()
                    raise
            waits = False
            if slot := self._idle(bench):
                return slot
            if bench.live < bench.function.concurrency:
                return await self._start(bench)

    def release(self, slot: Slot) -> None:
        """Take a lent worker back."""
        bench = slot.bench
        assert bench is not None, "a trial's worker is lent to nobody"
        current = slot.function == bench.function and not bench.forgotten
        if slot.worker.alive and current and bench.live <= bench.function.concurrency:
            slot.idle_since = self._clock.now()
            bench.idle.append(slot)
        else:
            self._retire(bench, slot)
        bench.call()

    async def trial(self, function: Function) -> None:
        """Start one worker of a new version before it serves; raises StartFailed and changes nothing then."""
        slot = Slot(function)
        self._tasks.start_soon(self._keep, slot, name=f"trial:{function.name}")
        try:
            await slot.started
        finally:
            slot.retired.set()

    def sweep(self) -> None:
        """End workers that died or have been idle for too long."""
        now = self._clock.now()
        for bench in self._benches.values():
            keep = []
            for slot in bench.idle:
                if not slot.worker.alive or idle_too_long(slot.idle_since, now, slot.function.idle):
                    self._retire(bench, slot)
                else:
                    keep.append(slot)
            bench.idle = keep

    async def _start(self, bench: _Bench) -> Slot:
        slot = Slot(bench.function, bench)
        bench.live += 1
        self._tasks.start_soon(self._keep, slot, name=f"worker:{slot.function.name}")
        try:
            await slot.started
        except BaseException:
            self._retire(bench, slot)
            bench.call()
            raise
        return slot

    def _retire(self, bench: _Bench, slot: Slot) -> None:
        if not slot.retired.is_set():
            slot.retired.set()
            bench.live -= 1

    async def _keep(self, slot: Slot) -> None:
        try:
            async with self._runtime.start(slot.function) as slot.worker:
                if not slot.started.done():
                    slot.started.set_result(None)
                await slot.retired.wait()
        except StartFailed as error:
            self._fail(slot, error)
        except Exception as error:  # no room for a process, or a fault of ours: the call bears it, not the hub
            message = f"the hub could not start a process: {str(error) or type(error).__name__}"
            if no_room := scarce(error):
                log.error("the host has no room for a worker", function=slot.function.name, error=str(error))
            else:
                log.error("a worker could not be kept", function=slot.function.name, exc_info=error)
            failed = StartFailed(START_ERROR, message, errors.payload(START_ERROR, message), scarce=no_room)
            self._fail(slot, failed)
        except BaseException:
            if not slot.started.done():
                slot.started.cancel()
            raise

    @staticmethod
    def _fail(slot: Slot, error: StartFailed) -> None:
        if not slot.started.done():
            slot.started.set_exception(error)
