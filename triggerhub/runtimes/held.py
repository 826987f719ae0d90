"""Hold a process that serves one call after the other: all that does not depend on how it is told of them.

What a call or a start ends by is decided here, in one place: an answer, its deadline, its memory, or the
end of the process. Subclasses hand an invocation over and take what comes back.
"""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from functools import partial

import anyio

from triggerhub.aws import errors
from triggerhub.crash import crash_point
from triggerhub.model import Crashed, Fault, Interrupted, Invocation, Outcome, Raised, Returned, Sink, Usage
from triggerhub.policy.units import show_size
from triggerhub.runtime import Output
from triggerhub.runtimes.child import Process
from triggerhub.runtimes.ending import Ending, crashed, last_words, start_failed, timed_out
from triggerhub.runtimes.lines import LinePipe
from triggerhub.runtimes.streamed import Overflow, Streamed
from triggerhub.runtimes.watch import Watch
from triggerhub.settings import Function

INIT_LIMIT = 10.0
"""Seconds that loading the code may take; a function with a longer timeout has that long."""
PARTING = 3.0
"""Seconds that a handler may go on with an answer that nobody takes any more."""
_HEAP = b"JavaScript heap out of memory"
"""What V8 says before it aborts: its heap, which the function's memory bounds, is full."""
STUBBORN = 5.0
"""Seconds after which a killed process that is still there is no longer waited for."""


class Held(ABC):
    """The half of a ``runtime.Worker`` that is the same for all; a subclass sets ``_child`` and ``_lines``."""

    _child: Process
    _lines: LinePipe

    def __init__(self, function: Function, output: Output) -> None:
        self._loop = asyncio.get_running_loop()
        self._function = function
        self._tell = partial(output.write, function, None, "hub")
        self._began = time.perf_counter()
        self._init_ms: float | None = None
        self._served = False
        self._alive = True
        self._request: str | None = None
        self._call: asyncio.Future[Outcome] | None = None
        self._ending: Ending | None = None
        """How a pending call ends when the process is gone; None leaves it to the exit status."""
        self._gone = asyncio.Event()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._stubborn: asyncio.TimerHandle | None = None
        self._sink: Sink | None = None
        self._streamed: Streamed | None = None
        """What the running call has streamed, if it does."""
        self._parting: asyncio.TimerHandle | None = None
        self._watch = Watch(function.memory, late=self._late, over=self._over)

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child.alive else None

    async def close(self) -> None:
        """Kill the process and all of its session; returns when it is gone."""
        self._kill(lambda usage: Interrupted(usage=usage))
        await self._gone.wait()

    async def invoke(self, invocation: Invocation) -> Outcome:
        if self._call is not None:
            raise RuntimeError("a worker runs one invocation at a time")
        if not self._alive:
            return self._died(invocation)
        call: asyncio.Future[Outcome] = self._loop.create_future()
        self._call = call
        self._request = invocation.request_id
        self._sink = invocation.sink
        self._lines.begin(invocation.request_id)
        self._watch.begin(self._child.pid or 0, self._function.timeout / 1000, self._child.group)
        self._began = time.perf_counter()
        try:
            self._hand(invocation)
            crash_point("mid-handler")
            return await call
        except BaseException:
            # Cancelled, or what cannot be handed over: how far the process is with it, nobody knows.
            self._call = None
            self._kill(None)
            raise

    @abstractmethod
    def _hand(self, invocation: Invocation) -> None:
        """Give the process its invocation."""

    async def _starting(self) -> None:
        """Wait until there is a process, and begin to watch how long it takes to load the code."""
        limit = max(INIT_LIMIT, self._function.timeout / 1000)
        with anyio.move_on_after(limit) as starting:
            pid = await self._child.started()
            if not self._gone.is_set():
                self._watch.begin(pid, limit, self._child.group)
        if starting.cancelled_caught:
            self._late()

    async def _started(self) -> None:
        """Wait until the user's code is loaded. Raises StartFailed."""
        await self._ready
        self._watch.end()
        self._init_ms = (time.perf_counter() - self._began) * 1000

    def _died(self, invocation: Invocation) -> Outcome:
        if self._served:
            return Interrupted()
        # A worker that dies before its first request would be replaced for ever, uncounted.
        fault = errors.exited(invocation.request_id, self._child.status)
        return Crashed(fault=fault, payload=errors.payload(fault.type, fault.message))

    def _end(self, outcome: Ending, told: int | None = None) -> None:
        """Complete the running call; *told* is the memory that it used, where somebody knows better than the watch."""
        call, self._call, self._request = self._call, None, None
        self._sink = self._streamed = None
        if self._parting is not None:
            self._parting.cancel()
            self._parting = None
        try:
            # All that the handler wrote is in the pipe by now: it is written before the answer.
            self._lines.end()
        finally:
            # A call ends, whatever its lines lead to.
            self._complete(call, outcome, told)

    def _complete(self, call: asyncio.Future[Outcome] | None, outcome: Ending, told: int | None) -> None:
        seen = self._watch.end(self._child.peak)
        memory = seen if told is None else min(told, self._function.memory)
        usage = Usage(duration_ms=(time.perf_counter() - self._began) * 1000, init_ms=self._init_ms, memory=memory)
        self._init_ms = None
        self._served = True
        if self._watch.overgrown:
            self._kill(None)
        if call is not None and not call.done():
            call.set_result(outcome(usage))

    def _part(self, data: bytes) -> bool:
        """Take a part of the running call's answer; return whether another one may come now."""
        assert self._streamed is not None
        try:
            return self._streamed.take(data)
        except Overflow as error:
            fault, payload = error.fault, errors.payload(error.fault.type, error.fault.message)
            self._kill(lambda usage: Raised(fault=fault, payload=payload, usage=usage))
            return True

    def _left(self) -> None:
        """Nobody takes the answer any more: a handler that goes on with it for long is ended."""
        if self._parting is None and self._call is not None:
            self._parting = self._loop.call_later(PARTING, self._kill, _unheard)

    def _late(self) -> None:
        limit = self._function.timeout
        if self._request is None:
            self._kill(timed_out(errors.start_timed_out(max(INIT_LIMIT * 1000, limit))))
        else:
            self._kill(timed_out(errors.timed_out(self._request, limit)))

    def _over(self) -> None:
        if self._ready.done() and self._call is None:
            limit = show_size(self._function.memory)
            self._tell(f"ended a worker between calls: it held more than its memory of {limit}")
            self._kill(None)
        else:
            self._kill(crashed(errors.out_of_memory(self._request)))

    def _kill(self, ending: Ending | None) -> None:
        self._alive = False
        if self._ending is None:
            self._ending = ending
        self._watch.close()
        self._child.kill()
        if self._child.alive and self._stubborn is None:
            self._stubborn = self._loop.call_later(STUBBORN, self._give_up)

    def _give_up(self) -> None:
        # The kernel cannot end a process that waits for a dead disk; its caller need not wait as well.
        if self._call is not None:
            self._end(self._ending or crashed(errors.exited(self._request, None)))

    def _fault(self, status: int) -> Fault:
        if status == -signal.SIGABRT and self._lines.told(_HEAP):
            return errors.out_of_memory(self._request, status)
        return errors.exited(self._request, status)

    def _bury(self, status: int) -> None:
        """The process and its group are gone, and what they still said was taken."""
        if self._stubborn is not None:
            self._stubborn.cancel()
        self._lines.drain()
        fault = self._child.fault or self._fault(status)
        if not self._ready.done():
            fault = last_words(fault, self._lines.last_words)
        ending = self._ending or crashed(fault, severed=self._child.severed)
        if not self._ready.done():
            self._ready.set_exception(start_failed(ending))
            # Nobody may be waiting for it any more.
            self._ready.exception()
        if self._call is not None:
            self._end(ending)
        self._watch.close()
        self._lines.close()
        self._gone.set()


def _unheard(usage: Usage) -> Outcome:
    """The ending of a call whose answer nobody took to its end, which is no failure of the function's."""
    return Returned(payload=b"", usage=usage)
