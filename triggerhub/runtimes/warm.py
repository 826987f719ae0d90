"""Hold a process that has loaded a function's code and serves one request after the other.

The way of a call is a send, a reader's callback and a future: no task, no thread and no stream.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio

from triggerhub.aws import errors
from triggerhub.crash import crash_point
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Fault, Interrupted, Invocation, Outcome, Raised, Returned, Usage
from triggerhub.runtime import Output
from triggerhub.runtimes import frames
from triggerhub.runtimes.child import Child, Process, Spawn
from triggerhub.runtimes.ending import Ending, crashed, last_words, start_failed, timed_out
from triggerhub.runtimes.frames import Frame, Kind
from triggerhub.runtimes.lines import pipe
from triggerhub.runtimes.watch import Watch
from triggerhub.settings import Function

INIT_LIMIT = 10.0
"""Seconds that loading the code may take; a function with a longer timeout has that long."""
STUBBORN = 5.0
"""Seconds after which a killed process that is still there is no longer waited for."""
_SILENT = 1.0
"""Seconds that a worker may live on after it closed its socket."""
_READ = 256 * 1024


class WarmWorker:
    """A ``runtime.Worker`` over one socket; made by :meth:`start`."""

    def __init__(
        self,
        function: Function,
        output: Output,
        command: Sequence[str],
        *,
        cwd: Path,
        env: dict[str, str],
        spawn: Spawn = Child,
    ) -> None:
        """Start the process. Raises OSError when none can be made."""
        self._loop = asyncio.get_running_loop()
        self._function = function
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
        self._unsent = memoryview(b"")
        self._decoder = frames.Decoder()
        self._silence: asyncio.TimerHandle | None = None
        self._stubborn: asyncio.TimerHandle | None = None
        self._watch = Watch(function.memory, late=self._late, over=self._over)
        with ExitStack() as ours, ExitStack() as lent:
            # What is the process's is closed here in any case, what is ours where none could be made.
            self._socket, theirs = socket.socketpair()
            ours.callback(self._socket.close)
            lent.callback(theirs.close)
            self._lines, outputs = pipe(function, output, "stdout")
            ours.callback(self._lines.close)
            lent.callback(outputs.close)
            self._child: Process = spawn(
                command, cwd=cwd, env=env, stdin=theirs.fileno(), stdout=outputs, stderr=None, exited=self._exited
            )
            ours.pop_all()
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        self._loop.add_reader(self._fd, self._readable)

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child.alive else None

    async def ready(self) -> None:
        """Wait until the user's code is loaded. Raises StartFailed."""
        limit = max(INIT_LIMIT, self._function.timeout / 1000)
        with anyio.move_on_after(limit) as starting:
            self._watch.begin(await self._child.started(), limit)
        if starting.cancelled_caught:
            self._late()
        await self._ready
        self._watch.end()
        self._init_ms = (time.perf_counter() - self._began) * 1000

    async def close(self) -> None:
        """Kill the process and all of its session; returns when it is gone."""
        self._kill(lambda usage: Interrupted(usage=usage))
        await self._gone.wait()

    async def invoke(self, invocation: Invocation) -> Outcome:
        if self._call is not None:
            raise RuntimeError("a worker runs one invocation at a time")
        if not self._alive:
            return self._lost(invocation)
        call: asyncio.Future[Outcome] = self._loop.create_future()
        self._call = call
        self._request = invocation.request_id
        self._lines.begin(invocation.request_id)
        frame = frames.encode(Kind.INVOKE, _header(invocation, self._function), invocation.payload)
        self._watch.begin(self._child.pid or 0, self._function.timeout / 1000)
        self._began = time.perf_counter()
        self._send(frame)
        crash_point("mid-handler")
        try:
            return await call
        except asyncio.CancelledError:
            self._call = None
            self._kill(None)
            raise

    def _lost(self, invocation: Invocation) -> Outcome:
        if self._served:
            return Interrupted()
        # A worker that dies before its first request would be replaced for ever, uncounted.
        fault = errors.exited(invocation.request_id, self._child.status)
        return Crashed(fault=fault, payload=errors.payload(fault.type, fault.message))

    def _send(self, frame: bytes) -> None:
        try:
            sent = self._socket.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The process is about to be reported gone, with the reason; the handler never began.
            if self._served:
                self._ending = lambda usage: Interrupted(usage=usage)
            self._hush()
            return
        if sent < len(frame):
            self._unsent = memoryview(frame)[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = memoryview(b"")
            self._hush()
        if not self._unsent:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> bool:
        """Take what has come; return whether there may be more."""
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            self._hush()
            return False
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
        except frames.Malformed as error:
            self._break(str(error))
            return False
        return True

    def _take(self, frame: Frame) -> None:
        kind, header = frame.kind, frame.header
        if not self._alive:
            return
        if not self._ready.done():
            self._start(frame)
        elif self._call is None:
            self._break(f"got a {kind.name} frame while no request was running")
        elif header.get("id") != self._request:
            self._break(f"expected an answer to {self._request}, got one to {header.get('id', '')[:80]!r}")
        elif kind is Kind.RESULT:
            self._end(lambda usage: Returned(payload=frame.payload, usage=usage))
        elif kind is Kind.ERROR:
            if "last" in header:
                self._alive = False
            fault = _fault(header)
            self._end(lambda usage: Raised(fault=fault, payload=frame.payload, usage=usage))
        else:
            self._break(f"expected an answer, got a {kind.name} frame")

    def _start(self, frame: Frame) -> None:
        self._lines.end()
        if frame.kind is Kind.READY:
            self._ready.set_result(None)
        elif frame.kind is Kind.UNLOADABLE:
            fault = _fault(frame.header)
            self._ready.set_exception(StartFailed(fault.type, fault.message, frame.payload))
        else:
            self._break(f"expected to hear that the code is loaded, got a {frame.kind.name} frame")

    def _end(self, outcome: Ending) -> None:
        """Complete the running call."""
        call, self._call, self._request = self._call, None, None
        # All that the handler wrote is in the pipe by now: it is written before the answer.
        self._lines.end()
        memory = self._watch.end()
        usage = Usage(duration_ms=(time.perf_counter() - self._began) * 1000, init_ms=self._init_ms, memory=memory)
        self._init_ms = None
        self._served = True
        if self._watch.overgrown:
            self._kill(None)
        if call is not None and not call.done():
            call.set_result(outcome(usage))

    def _late(self) -> None:
        limit = self._function.timeout
        if self._call is None:
            self._kill(timed_out(errors.start_timed_out(max(INIT_LIMIT * 1000, limit))))
        else:
            self._kill(timed_out(errors.timed_out(self._request or "", limit)))

    def _over(self) -> None:
        self._kill(crashed(errors.out_of_memory(self._request)))

    def _break(self, why: str) -> None:
        self._kill(crashed(errors.broken(self._request, why)))

    def _hush(self) -> None:
        """The worker no longer speaks: it is dying, or else it shall."""
        self._alive = False
        if self._silence is None and self._child.alive:
            self._silence = self._loop.call_later(_SILENT, self._break, "the worker closed its socket")

    def _kill(self, ending: Ending | None) -> None:
        self._alive = False
        if self._ending is None:
            self._ending = ending
        self._child.kill()
        if self._child.alive and self._stubborn is None:
            self._stubborn = self._loop.call_later(STUBBORN, self._give_up)

    def _give_up(self) -> None:
        # The kernel cannot end a process that waits for a dead disk; its caller need not wait as well.
        if self._call is not None:
            self._end(self._ending or crashed(errors.exited(self._request, None)))

    def _exited(self, status: int) -> None:
        """The process and its group are gone; what they still said is taken first."""
        while self._alive and self._readable():
            pass
        self._alive = False
        for timer in (self._silence, self._stubborn):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._socket.close()
        fault = self._child.fault or errors.exited(self._request, status)
        if not self._ready.done():
            self._lines.drain()
            fault = last_words(fault, self._lines.tail)
        ending = self._ending or crashed(fault)
        if not self._ready.done():
            self._ready.set_exception(start_failed(ending))
            # Nobody may be waiting for it any more.
            self._ready.exception()
        if self._call is not None:
            self._end(ending)
        self._watch.close()
        self._lines.close()
        self._gone.set()


def _header(invocation: Invocation, function: Function) -> dict[str, str]:
    header = {
        "id": invocation.request_id,
        "arn": invocation.arn,
        "attempt": str(invocation.attempt),
        "deadline": str(invocation.deadline),
        "remaining": str(function.timeout),
    }
    if invocation.trace is not None:
        header["trace"] = invocation.trace
    if invocation.client_context is not None:
        header["client"] = invocation.client_context
    return header


def _fault(header: Mapping[str, str]) -> Fault:
    # A lone surrogate is legal in a worker's JSON, and in no store and on no terminal.
    kind, message = (header.get(name, "").encode("utf-8", "replace").decode() for name in ("type", "message"))
    return Fault(type=kind, message=message)
