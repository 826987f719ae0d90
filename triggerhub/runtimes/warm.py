"""Hold a process that has loaded a function's code and serves one request after the other.

The way of a call is a send, a reader's callback and a future: no task, no thread and no stream.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from triggerhub.aws import errors, runtimeapi
from triggerhub.errors import StartFailed
from triggerhub.model import Fault, Interrupted, Invocation, Raised, Returned
from triggerhub.runtime import Output
from triggerhub.runtimes import frames
from triggerhub.runtimes.child import Child, Process, Spawn
from triggerhub.runtimes.ending import Ending, crashed
from triggerhub.runtimes.frames import Frame, Kind
from triggerhub.runtimes.held import Held
from triggerhub.runtimes.lines import pipe
from triggerhub.runtimes.streamed import Streamed
from triggerhub.settings import Function

_SILENT = 1.0
"""Seconds that a worker may live on after it closed its socket."""
_READ = 256 * 1024
_PIECE = 16 * 1024
"""What is read at once of a stream, which may come in parts of a byte: others have their turn in between."""
_STATUS = re.compile(r"-?[0-9]{1,3}", re.ASCII)
_BYTES = re.compile(r"[0-9]{1,15}", re.ASCII)


class WarmWorker(Held):
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
        super().__init__(function, output)
        self._unsent = memoryview(b"")
        self._decoder = frames.Decoder()
        self._silence: asyncio.TimerHandle | None = None
        self._paused = False
        """Whether what the worker says waits until there is room for it."""
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

    async def ready(self) -> None:
        """Wait until the user's code is loaded. Raises StartFailed."""
        await self._starting()
        await self._started()

    def _hand(self, invocation: Invocation) -> None:
        self._send(frames.encode(Kind.INVOKE, _header(invocation, self._function), invocation.payload))

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
            data = self._socket.recv(_READ if self._streamed is None else _PIECE)
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
            payload = frame.payload if self._streamed is None else self._streamed.payload()
            self._end(lambda usage: Returned(payload=payload, usage=usage), self._used(header))
        elif kind is Kind.PART:
            self._take_part(frame)
        elif kind is Kind.ERROR:
            if "last" in header:
                self._alive = False
            fault = _fault(header)
            self._end(lambda usage: Raised(fault=fault, payload=frame.payload, usage=usage), self._used(header))
        elif kind is Kind.EXITED and self._function.reuse == "fork":
            self._fork_ended(header)
        else:
            self._break(f"expected an answer, got a {kind.name} frame")

    def _take_part(self, frame: Frame) -> None:
        if self._streamed is None:
            told = frame.header.get("type", "")
            self._streamed = Streamed(self._sink, told, room=self._listen, leave=partial(self._leave, self._request))
        if not self._part(frame.payload) and not self._paused:
            # What is not taken stays in the socket, and the handler's stream waits for it.
            self._paused = True
            self._loop.remove_reader(self._fd)

    def _listen(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)

    def _leave(self, request: str | None) -> None:
        self._listen()
        if self._alive and request is not None and request == self._request and not self._unsent:
            self._send(frames.encode(Kind.LEFT, {"id": request}))
            self._left()

    def _end(self, outcome: Ending, told: int | None = None) -> None:
        """Complete the running call; whoever reads its stream more slowly than it came has all of it here."""
        self._listen()
        super()._end(outcome, told)

    def _used(self, header: Mapping[str, str]) -> int | None:
        """Return the bytes that a fork held, as its worker tells; None where it tells nothing, or no number."""
        told = header.get("memory", "")
        return int(told) if self._function.reuse == "fork" and _BYTES.fullmatch(told) else None

    def _start(self, frame: Frame) -> None:
        self._lines.end()
        if frame.kind is Kind.READY:
            self._ready.set_result(None)
        elif frame.kind is Kind.UNLOADABLE:
            fault = _fault(frame.header)
            self._ready.set_exception(StartFailed(fault.type, fault.message, frame.payload))
        else:
            self._break(f"expected to hear that the code is loaded, got a {frame.kind.name} frame")

    def _fork_ended(self, header: Mapping[str, str]) -> None:
        """The process of this one call ended without an answer; the worker goes on, unless its memory is spent."""
        status = header.get("status", "")
        if not _STATUS.fullmatch(status):
            self._break(f"expected an exit status, got {status[:80]!r}")
        elif int(status) == -signal.SIGKILL and self._child.starved:
            self._over()
        else:
            self._end(crashed(errors.exited(self._request, int(status))), self._used(header))

    def _break(self, why: str) -> None:
        self._kill(crashed(errors.broken(self._request, why)))

    def _hush(self) -> None:
        """The worker no longer speaks: it is dying, or else it shall."""
        self._alive = False
        if self._silence is None and self._child.alive:
            self._silence = self._loop.call_later(_SILENT, self._break, "the worker closed its socket")

    def _exited(self, status: int) -> None:
        """The process and its group are gone; what they still said is taken first."""
        while self._alive and self._readable():
            pass
        self._alive = self._paused = False
        if self._silence is not None:
            self._silence.cancel()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._socket.close()
        self._bury(status)


def _header(invocation: Invocation, function: Function) -> dict[str, str]:
    header = {
        "id": invocation.request_id,
        "arn": invocation.arn,
        "attempt": str(invocation.attempt),
        "deadline": str(invocation.deadline),
        "remaining": str(function.timeout),
        # At AWS there always is one: X-Ray's SDK throws away what it is told without.
        "trace": invocation.trace or runtimeapi.trace(invocation),
    }
    if invocation.client_context is not None:
        header["client"] = invocation.client_context
    return header


def _fault(header: Mapping[str, str]) -> Fault:
    # A lone surrogate is legal in a worker's JSON, and in no store and on no terminal.
    kind, message = (header.get(name, "").encode("utf-8", "replace").decode() for name in ("type", "message"))
    return Fault(type=kind, message=message)
