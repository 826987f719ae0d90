"""Run an executable of any kind, a process for each invocation.

The event is its stdin, a file in memory, so a program that never reads it blocks nobody and fails
nowhere; its stdout is the answer and its stderr goes to the logs.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import anyio

from triggerhub.aws import errors
from triggerhub.crash import crash_point
from triggerhub.errors import scarce
from triggerhub.model import Crashed, Fault, Interrupted, Invocation, Outcome, Raised, Returned, TimedOut, Usage
from triggerhub.policy.strict import refuse
from triggerhub.runtime import Output
from triggerhub.runtimes.child import Child, Process, Spawn
from triggerhub.runtimes.ending import crashed, last_words
from triggerhub.runtimes.environment import of_invocation
from triggerhub.runtimes.lines import pipe
from triggerhub.runtimes.watch import Watch
from triggerhub.settings import KB, Function

_READ = 64 * KB
_LARGE = 256 * KB
"""A longer answer is looked through in a thread, in bytes."""


class ProgramWorker:
    """A ``runtime.Worker`` that has no process while it is idle."""

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
        self._function = function
        self._start = partial(spawn, command, cwd=cwd)
        self._output = output
        self._env = env
        self._alive = True
        self._run: _Run | None = None

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def pid(self) -> int | None:
        return self._run.child.pid if self._run else None

    async def invoke(self, invocation: Invocation) -> Outcome:
        if self._run is not None:
            raise RuntimeError("a worker runs one invocation at a time")
        if not self._alive:
            return Interrupted()
        try:
            run = self._run = _Run(self._function, self._output, invocation, self._env, self._start)
        except OSError as error:
            fault = Fault(type=errors.NO_ENTRY, message=f"RequestId: {invocation.request_id} Error: {error}")
            payload = errors.payload(fault.type, fault.message)
            return Crashed(fault=fault, payload=payload, scarce=scarce(error))
        crash_point("mid-handler")
        try:
            await run.begin()
            await asyncio.shield(run.gone)
        except asyncio.CancelledError:
            # Closing waits for its end.
            self._alive = False
            run.kill()
            raise
        self._run = None
        return await run.outcome()

    async def close(self) -> None:
        """Kill a running process with its group; returns when it is gone."""
        self._alive = False
        if run := self._run:
            run.kill()
            await asyncio.shield(run.gone)


class _Run:
    """One process and what it says."""

    def __init__(
        self, function: Function, output: Output, invocation: Invocation, env: dict[str, str], start: Spawn
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._function = function
        self._id = invocation.request_id
        self._answer = bytearray()
        self._doom: TimedOut | Crashed | None = None
        self._status = 0
        self._usage = Usage()
        self._open = True
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._watch = Watch(function.memory, late=self._late, over=self._over)
        self._began = time.perf_counter()
        with ExitStack() as ours, ExitStack() as lent:
            # What is the process's is closed here in any case, what is ours where none could be made.
            self._end, answers = os.pipe()
            ours.callback(os.close, self._end)
            stdout: IO[bytes] = lent.enter_context(os.fdopen(answers, "wb", buffering=0))
            self._lines, complaints = pipe(function, output, "stderr")
            ours.callback(self._lines.close)
            lent.callback(complaints.close)
            self._lines.begin(invocation.request_id)
            event = _in_memory(invocation.payload)
            lent.callback(os.close, event)
            self.child: Process = start(
                env=env | of_invocation(invocation),
                stdin=event,
                stdout=stdout,
                stderr=complaints,
                exited=self._exited,
            )
            ours.pop_all()
        os.set_blocking(self._end, False)
        self._loop.add_reader(self._end, self._readable)

    async def begin(self) -> None:
        """Watch over it as soon as there is something to watch."""
        with anyio.move_on_after(self._function.timeout / 1000) as starting:
            pid = await self.child.started()
            if not self.gone.done():
                self._watch.begin(pid, self._function.timeout / 1000, self.child.group)
                self._watch.look()
        if starting.cancelled_caught:
            self._late()

    def kill(self) -> None:
        self.child.thorough = True
        self.child.kill()

    async def outcome(self) -> Outcome:
        """Return what the process came to, once it is gone."""
        if self._doom is not None:
            return self._doom
        if self.child.fault is not None:
            return crashed(self.child.fault, severed=self.child.severed)(self._usage)
        if self._status:
            fault = last_words(errors.exited(self._id, self._status), self._lines.last_words)
            outcome = Raised if self._status > 0 else Crashed
            return outcome(fault=fault, payload=errors.payload(fault.type, fault.message), usage=self._usage)
        if len(self._answer) > errors.MAX_RESPONSE:
            fault = errors.too_large()
            return Raised(fault=fault, payload=errors.payload(fault.type, fault.message), usage=self._usage)
        said = bytes(self._answer)
        payload = await asyncio.to_thread(answer, said) if len(said) > _LARGE else answer(said)
        if len(payload) > errors.MAX_RESPONSE:
            fault = errors.too_large()
            return Raised(fault=fault, payload=errors.payload(fault.type, fault.message), usage=self._usage)
        return Returned(payload=payload, usage=self._usage)

    def _readable(self) -> int:
        try:
            data = os.read(self._end, _READ)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._shut()
        elif len(self._answer) <= errors.MAX_RESPONSE:
            self._answer += data
        return len(data)

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end)
            os.close(self._end)

    def _late(self) -> None:
        fault = errors.timed_out(self._id, self._function.timeout)
        self._doom = TimedOut(fault=fault, payload=errors.payload(fault.type, fault.message))
        self.kill()

    def _over(self) -> None:
        fault = errors.out_of_memory(self._id)
        self._doom = Crashed(fault=fault, payload=errors.payload(fault.type, fault.message))
        self.kill()

    def _exited(self, status: int) -> None:
        # The group is dead, so a pipe's worth is all that can still come; a stray may hold the pipe open.
        taken = 0
        while self._open and taken < _READ and (size := self._readable()):
            taken += size
        self._shut()
        self._lines.close()
        self._status = status
        memory = self._watch.end(self.child.peak)
        self._watch.close()
        self._usage = Usage(duration_ms=(time.perf_counter() - self._began) * 1000, memory=memory)
        if self._doom is not None:
            self._doom = type(self._doom)(fault=self._doom.fault, payload=self._doom.payload, usage=self._usage)
        self.gone.set_result(None)


def answer(said: bytes) -> bytes:
    """Return the JSON that a program's stdout means: nothing is null, JSON is itself, other text is a string."""
    stripped = said.strip()
    if not stripped:
        return b"null"
    try:
        # Numbers stay text: only whether it is JSON is asked, and no number is too long to be one.
        json.loads(stripped, parse_int=str, parse_float=str, parse_constant=refuse)
    except (ValueError, RecursionError):
        return json.dumps(said.decode("utf-8", "replace").removesuffix("\n"), ensure_ascii=False).encode()
    return stripped


def _in_memory(payload: bytes) -> int:
    """Return a descriptor that reads *payload* and cannot be written."""
    file = os.memfd_create("event", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(payload)
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(file)
