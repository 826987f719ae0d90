"""Lend warm workers, start them when none is free, and end those that are not needed.

Every worker has a task that holds its context open, so its end is the end of a block. Lending
itself touches no task: an idle worker is handed over at once. Workers are also started ahead of calls,
beside every call and in no call's way: those that are to be ``warm``, and a spare where all are lent.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

import anyio
import structlog
from anyio.abc import TaskGroup

from triggerhub.aws import errors
from triggerhub.errors import StartFailed, scarce
from triggerhub.hub.bench import Bench, Slot
from triggerhub.hub.clock import Clock
from triggerhub.hub.room import Room
from triggerhub.policy.pooling import idle_too_long
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.runtime import Runtime
from triggerhub.settings import Function, Level

log = structlog.get_logger("pool")

START_ERROR = "Runtime.StartError"
AHEAD = 4
"""How many workers of all functions are started ahead at once: a storm of calls has the processors to itself."""


class Pool:
    """The workers of all functions."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._benches: dict[str, Bench] = {}
        self._reserved: WeakValueDictionary[str, Room] = WeakValueDictionary()
        """Of functions with a reservation, what all their versions share."""
        self._slots: set[Slot] = set()
        """Of all workers that there are, lent and superseded ones too."""
        self._closing = False
        self._tasks: TaskGroup

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Pool]:
        """Leaving kills every worker."""
        async with anyio.create_task_group() as self._tasks:
            try:
                yield self
            finally:
                self._closing = True
                self._tasks.cancel_scope.cancel()

    def serve(self, function: Function, *, prepare: bool = True) -> None:
        """Make *function* the current version of its name: idle workers of another one end now.

        *prepare* is whether workers may be started ahead of its calls. An alias has none.
        """
        if function.leads is not None:
            return
        bench = self._benches.get(function.name) or self._bench(function)
        bench.prepares = prepare
        if bench.function != function:
            bench.function = function
            bench.spare = function.runtime != "executable"
            bench.proved()
            for slot in bench.clear():
                self._retire(bench, slot)
        room = self._room(function)
        room.most = function.concurrency
        bench.share.enter(room, kept=function.warm)
        self._prepare(bench)

    def _bench(self, function: Function) -> Bench:
        bench = self._benches[function.name] = Bench(function, self._room(function))
        return bench

    def _room(self, function: Function) -> Room:
        """Return what the calls of a function are to share."""
        own = Room(function.concurrency)
        return self._reserved.setdefault(function.reserved, own) if function.reserved else own

    def forget(self, name: str) -> None:
        """End the idle workers of a function that is no longer there."""
        if bench := self._benches.pop(name, None):
            bench.forgotten = True
            for slot in bench.clear():
                self._retire(bench, slot)
            bench.share.enter(bench.share.room, kept=0)

    def served(self, name: str) -> Function | None:
        """Return the current version of a function; None where there is none of this name."""
        bench = self._benches.get(name)
        return bench.function if bench else None

    def level(self, function: Function) -> Level | Refusal:
        """Return the level at which a function runs, or why it does not."""
        return self._runtime.level(function)

    def applied(self, function: Function) -> Level | None:
        """Return the level at which a function's calls run; None for what the hub itself does, and what is not run."""
        runs = function.leads is not None or function.name in self._benches
        level = self._runtime.level(function) if runs else None
        return level if isinstance(level, str) else None

    def running(self) -> Iterator[Function]:
        """Yield what workers run, versions that are superseded too, and what those would who wait for these."""
        for slot in self._slots:
            yield slot.function
            if slot.bench is not None:
                yield slot.bench.function

    def live(self, name: str) -> int:
        bench = self._benches.get(name)
        return bench.live if bench else 0

    def idle(self, name: str) -> int:
        bench = self._benches.get(name)
        return len(bench.idle) if bench else 0

    def warmth(self, name: str) -> tuple[int, int, str]:
        """Return how many workers a function has, how many of them have started, and what is in the way of others."""
        bench = self._benches.get(name)
        if bench is None:
            return 0, 0, "it is not run on this machine"
        level = self._runtime.level(bench.function)
        trouble = f"{level.message}; {level.hint}" if isinstance(level, Refusal) else bench.trouble
        return bench.live, bench.live - len(bench.starting), trouble

    def troubles(self) -> list[str]:
        """Name the functions whose workers cannot be started ahead, and why."""
        return [
            f"function {name}: a worker could not be started ahead of its calls: {bench.trouble}"
            for name, bench in self._benches.items()
            if bench.trouble
        ]

    def free(self, function: Function) -> bool:
        """Whether a call would get a worker now, an idle one or a new one, and nobody waits for one.

        Of an alias, whether it would wherever it goes.
        """
        return all(map(self._free, function.leads.functions if function.leads else (function.name,)))

    def _free(self, name: str) -> bool:
        bench = self._benches.get(name)
        return bench is None or bench.share.open

    def lend(self, function: Function) -> Slot | None:
        """Lend an idle worker, if there is one and a call may begin."""
        bench = self._benches.get(function.name)
        if bench is None or not bench.share.open:
            return None
        if slot := self._idle(bench):
            bench.share.take()
        return slot

    def _idle(self, bench: Bench) -> Slot | None:
        while bench.idle:
            slot = bench.idle.pop()
            if slot.worker.alive:
                slot.lent = True
                if not bench.idle and bench.spare:
                    self._prepare(bench, spare=True)
                return slot
            self._bury(bench, slot)
        return None

    async def acquire(self, function: Function, *, patience: float | None = None) -> Slot | None:
        """Lend a worker of the function's current version; waits for its turn where no call may begin.

        None where that takes longer than *patience* seconds; starting a worker has its own limit and is
        not cut short by it. Raises StartFailed. Cancelled: nothing stays lent.
        """
        bench = self._benches.get(function.name) or self._bench(function)
        until = math.inf if patience is None else asyncio.get_running_loop().time() + patience
        if not await bench.share.turn(until):
            return None
        try:
            return self._idle(bench) or await self._start(bench)
        except BaseException:
            bench.share.give()
            raise

    def release(self, slot: Slot) -> None:
        """Take a lent worker back."""
        bench = slot.bench
        assert bench is not None, "a trial's worker is lent to nobody"
        current = slot.function == bench.function and not bench.forgotten
        once = slot.function.reuse == "fresh"
        if slot.worker.alive and current and not once and bench.live <= bench.function.concurrency:
            slot.idle_since = self._clock.now()
            bench.idle.append(slot)
            if bench.failures:
                bench.proved()
        else:
            self._retire(bench, slot)
        if once and slot.worker.alive and bench.failures:
            bench.proved()
        bench.share.give()
        if bench.function.warm or once:
            self._prepare(bench, spare=once)

    async def trial(self, function: Function) -> None:
        """Start one worker of a new version before it serves; raises StartFailed and changes nothing then."""
        slot = Slot(function)
        self._tasks.start_soon(self._keep, slot, function, name=f"trial:{function.name}")
        try:
            await slot.started
        finally:
            slot.retire()

    def sweep(self) -> None:
        """End workers that died or have been idle for too long, and start those that are to be there."""
        now = self._clock.now()
        for bench in self._benches.values():
            keep = []
            for slot in bench.idle:
                if not slot.worker.alive:
                    self._bury(bench, slot)
                elif bench.live > bench.function.warm and idle_too_long(slot.idle_since, now, slot.function.idle):
                    # One too many all that time; a call that has to start one beside others asks for a spare again.
                    bench.spare = False
                    self._retire(bench, slot)
                else:
                    keep.append(slot)
            bench.idle = keep
            self._prepare(bench)

    async def _start(self, bench: Bench) -> Slot:
        """Start a worker for a caller, or wait for one that is being started ahead."""
        slot = bench.starting.pop(0) if bench.starting else self._begin(bench)
        slot.lent = True
        beside = bench.live > 1
        try:
            await slot.started
        except BaseException:
            self._retire(bench, slot)
            raise
        if (beside or slot.function.reuse == "fresh") and slot.function.runtime != "executable":
            bench.spare = True
            self._prepare(bench, spare=True)
        return slot

    def _begin(self, bench: Bench) -> Slot:
        slot = Slot(bench.function, bench)
        # Those beyond the warm ones begin when a call needs them, and are told so.
        function = slot.function if bench.live < slot.function.warm else replace(slot.function, warm=0)
        bench.live += 1
        self._tasks.start_soon(self._keep, slot, function, name=f"worker:{slot.function.name}")
        return slot

    def _prepare(self, bench: Bench, *, spare: bool = False) -> None:
        """Start ahead what is missing."""
        if self._closing or not (missing := bench.missing(spare=spare)):
            return
        if isinstance(self._runtime.level(bench.function), Refusal):
            return
        room = AHEAD - sum(len(one.starting) for one in self._benches.values())
        for _ in range(min(missing, room)):
            slot = self._begin(bench)
            bench.starting.append(slot)
            slot.started.add_done_callback(partial(self._prepared, bench, slot))

    def _prepared(self, bench: Bench, slot: Slot, started: asyncio.Future[None]) -> None:
        """Take in a worker that was started ahead, unless a caller took it over or it is no longer wanted."""
        error = None if started.cancelled() else started.exception()
        if started.cancelled() or slot not in bench.starting:
            return
        bench.starting.remove(slot)
        if isinstance(error, StartFailed):
            self._retire(bench, slot)
            self._complain(bench, f"{error.type}: {error.message}")
        else:
            slot.ahead = True
            slot.idle_since = self._clock.now()
            bench.idle.append(slot)
            bench.trouble = ""
        # There is room for others now.
        for one in self._benches.values():
            self._prepare(one)

    def _complain(self, bench: Bench, why: str) -> None:
        again = bench.lost()
        if isinstance(self._runtime.level(bench.function), Refusal) or why == bench.trouble:
            return  # that is told already
        bench.trouble = why
        log.warning("a worker could not be started ahead", function=bench.function.name, why=why, again_s=again)

    def _bury(self, bench: Bench, slot: Slot) -> None:
        """Do without an idle worker that died."""
        if not slot.lent:
            self._complain(bench, "it ended before it was called")
        self._retire(bench, slot)

    def _retire(self, bench: Bench, slot: Slot) -> None:
        if not slot.retired.is_set():
            slot.retire()
            bench.live -= 1

    async def _keep(self, slot: Slot, function: Function) -> None:
        self._slots.add(slot)
        try:
            with slot.scope:
                async with self._runtime.start(function) as slot.worker:
                    if not slot.started.done():
                        slot.started.set_result(None)
                    await slot.retired.wait()
            if not slot.started.done():
                slot.started.cancel()
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
        finally:
            self._slots.discard(slot)

    @staticmethod
    def _fail(slot: Slot, error: StartFailed) -> None:
        if not slot.started.done():
            slot.started.set_exception(error)
