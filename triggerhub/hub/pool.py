"""Lend warm workers, start them when none is free, and end those that are not needed.

Every worker has a task that holds its context open, so its end is the end of a block. Lending
itself touches no task: an idle worker is handed over at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.errors import StartFailed
from triggerhub.hub.clock import Clock
from triggerhub.model import Millis
from triggerhub.policy.pooling import Assignment, assign, idle_too_long
from triggerhub.runtime import Runtime, Worker
from triggerhub.settings import Function

log = structlog.get_logger("pool")


class Slot:
    """One worker and the wish for its end."""

    __slots__ = ("function", "idle_since", "retired", "started", "worker")

    def __init__(self, function: Function) -> None:
        self.function = function
        self.worker: Worker
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.retired = asyncio.Event()
        self.idle_since: Millis = 0


class _Bench:
    """The workers of one function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.idle: list[Slot] = []
        self.live = 0
        """Idle, lent and starting ones of the current version; retired ones do not count."""
        self.waiting: deque[asyncio.Future[None]] = deque()

    def wake_one(self) -> None:
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                return


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
        bench.wake_one()

    def forget(self, name: str) -> None:
        """End the idle workers of a function that is no longer there."""
        if bench := self._benches.pop(name, None):
            for slot in bench.idle:
                slot.retired.set()

    def live(self, name: str) -> int:
        bench = self._benches.get(name)
        return bench.live if bench else 0

    def idle(self, name: str) -> int:
        bench = self._benches.get(name)
        return len(bench.idle) if bench else 0

    def lend(self, function: Function) -> Slot | None:
        """Lend an idle worker, if there is one and nobody waits."""
        bench = self._benches.get(function.name)
        if bench is None or bench.waiting:
            return None
        while bench.idle:
            slot = bench.idle.pop()
            if slot.worker.alive:
                return slot
            self._retire(bench, slot)
        return None

    async def acquire(self, function: Function) -> Slot:
        """Lend a worker of the function's current version; waits for one where all are lent.

        Raises StartFailed. Cancelled: nothing stays lent.
        """
        bench = self._benches.setdefault(function.name, _Bench(function))
        while True:
            match assign(idle=len(bench.idle), live=bench.live, limit=bench.function.concurrency):
                case Assignment.LEND:
                    slot = bench.idle.pop()
                    if slot.worker.alive:
                        return slot
                    self._retire(bench, slot)
                case Assignment.START:
                    return await self._start(bench)
                case Assignment.WAIT:
                    future = asyncio.get_running_loop().create_future()
                    bench.waiting.append(future)
                    try:
                        await future
                    except asyncio.CancelledError:
                        if future.done() and not future.cancelled():
                            bench.wake_one()
                        raise

    def release(self, slot: Slot) -> None:
        """Take a lent worker back."""
        bench = self._benches.get(slot.function.name)
        if bench is None:
            slot.retired.set()
            return
        if slot.worker.alive and slot.function == bench.function and bench.live <= bench.function.concurrency:
            slot.idle_since = self._clock.now()
            bench.idle.append(slot)
        else:
            self._retire(bench, slot)
        bench.wake_one()

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
        slot = Slot(bench.function)
        bench.live += 1
        self._tasks.start_soon(self._keep, slot, name=f"worker:{slot.function.name}")
        try:
            await slot.started
        except BaseException:
            self._retire(bench, slot)
            bench.wake_one()
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
        except OSError as error:
            log.error("a worker could not be started", function=slot.function.name, error=str(error))
            message = f"the hub could not start a process: {error}"
            self._fail(slot, StartFailed("Runtime.StartError", message, b'{"errorType":"Runtime.StartError"}'))
        except BaseException:
            if not slot.started.done():
                slot.started.cancel()
            raise

    @staticmethod
    def _fail(slot: Slot, error: StartFailed) -> None:
        if not slot.started.done():
            slot.started.set_exception(error)
