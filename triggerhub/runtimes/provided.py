"""Hold a process that fetches its invocations from the Lambda Runtime API, as a ``bootstrap`` does.

The hub is the server: it hands an invocation to whoever asks for the next one, and what the runtime
posts is the outcome.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from triggerhub.aws import errors, runtimeapi
from triggerhub.aws.runtimeapi import Ask, Call, Refusal
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Fault, Interrupted, Invocation, Raised, Returned
from triggerhub.runtime import Output
from triggerhub.runtimes import extensions
from triggerhub.runtimes.bounds import MOST, Bounds
from triggerhub.runtimes.child import Child, Process, Spawn
from triggerhub.runtimes.ending import Ending
from triggerhub.runtimes.extensions import Extensions
from triggerhub.runtimes.held import Held
from triggerhub.runtimes.lines import pipe
from triggerhub.runtimes.listener import Connection, Request
from triggerhub.runtimes.streamed import Streamed
from triggerhub.settings import Function

TORN = 0.5
"""Seconds from the loss of an answer's connection until the answer is given up: the runtime may just be ending."""


class ProvidedWorker(Held):
    """A ``runtime.Worker`` whose process speaks the Runtime API; made by its runtime, then :meth:`ready`."""

    def __init__(
        self,
        function: Function,
        output: Output,
        command: Sequence[str],
        *,
        cwd: Path,
        env: dict[str, str],
        opt: str | None = None,
        spawn: Spawn = Child,
    ) -> None:
        """Start the process, and beside it the extensions of its layers; *opt* is where it sees those.

        Raises OSError when none can be made.
        """
        external = extensions.of_layers(function.opt)
        if external:
            command = extensions.beside(opt or str(function.opt), command)
        super().__init__(function, output)
        self._state: Literal["Started", "Ready", "Running", "RuntimeResponseSentState"] = "Started"
        """As AWS's emulator names it."""
        self._invocation: Invocation | None = None
        """What runs, or is to be handed out."""
        self._handed = False
        """Whether it was handed out: then an answer to it is one."""
        self._waiting: Connection | None = None
        """Who asked for the next invocation."""
        self._bounds = Bounds(large=self._awaits, crowded=self._crowded)
        self._told = False
        """Whether the function's log has it that there were too many connections."""
        self._server: asyncio.Server | None = None
        self._streaming: Connection | None = None
        """By which the running call's answer comes, where it is passed on as it comes."""
        self._extensions = Extensions(function, external, settled=self._settle_start, failed=self._extension_failed)
        with ExitStack() as ours, ExitStack() as lent:
            self._lines, outputs = pipe(function, output, "stdout")
            ours.callback(self._lines.close)
            lent.callback(outputs.close)
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            lent.callback(os.close, nothing)
            self._child: Process = spawn(
                command, cwd=cwd, env=env, stdin=nothing, stdout=outputs, stderr=outputs, exited=self._exited
            )
            ours.pop_all()
        self._child.thorough = True

    async def ready(self, listening: socket.socket | None, trusts: Callable[[asyncio.Transport], bool]) -> None:
        """Serve the API on *listening* until the runtime asks for its first invocation. Raises StartFailed.

        None is where the process ended before there was anything to listen on.
        """

        def made() -> Connection:
            return Connection(self._take, self._lost, trusts, self._bounds, self._opens)

        await self._starting()
        if listening is not None:
            self._server = await self._loop.create_server(made, sock=listening, backlog=MOST)
        await self._started()

    async def close(self) -> None:
        """Kill the process and all of its session, once extensions had their time; returns when it is gone."""
        if self._child.alive and self._ready.done():
            self._alive = False
            await self._extensions.shut_down("spindown")
        await super().close()
        if self._server is not None:
            self._server.close()
        for connection in self._bounds:
            connection.close()

    def _hand(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._hand_out()

    # the API

    def _take(self, connection: Connection, request: Request) -> None:
        if self._extensions.take(connection, request, starting=not self._ready.done()):
            return
        call = runtimeapi.route(request.method, request.target)
        refusal = call if isinstance(call, Refusal) else self._answer(connection, request, call)
        if refusal is not None:
            connection.answer(refusal.status, refusal.body)

    def _awaits(self, request: Request) -> bool:
        """Whether *request* is one whose body may be as large as an answer."""
        call = runtimeapi.route(request.method, request.target)
        if isinstance(call, Refusal):
            return False
        if call.ask is Ask.INIT_ERROR:
            return self._state == "Started" and not self._ready.done()
        return self._handed and self._invocation is not None and call.id == self._invocation.request_id

    def _crowded(self) -> None:
        if not self._told:
            self._told = True
            self._tell(f"refused a connection to the Runtime API: {MOST} are open, and a request waits on each")

    def _opens(self, connection: Connection, request: Request) -> Callable[[bytes], None] | None:
        """Let an answer that is streamed, and wanted so, go on as it comes."""
        invocation = self._invocation
        if invocation is None or invocation.sink is None or not self._handed or self._streamed is not None:
            return None
        if request.headers.get(runtimeapi.MODE, "").lower() != "streaming":
            return None
        if runtimeapi.route(request.method, request.target) != Call(Ask.RESPONSE, invocation.request_id):
            return None

        def leave() -> None:
            connection.abort()
            self._left()

        streamed = Streamed(
            invocation.sink, request.headers.get("content-type", ""), room=connection.resume, leave=leave
        )
        self._streamed, self._streaming = streamed, connection

        def part(data: bytes) -> None:
            if self._streamed is streamed and not self._part(data):
                connection.pause()

        return part

    def _answer(self, connection: Connection, request: Request, call: Call) -> Refusal | None:
        """Do what is asked and answer it, or return why not."""
        match call.ask:
            case Ask.NEXT:
                return self._next(connection)
            case Ask.INIT_ERROR:
                if self._state != "Started" or self._ready.done():
                    return runtimeapi.not_allowed(self._state, call.ask)
                fault, payload = runtimeapi.described(request.headers, bytes(request.body))
                connection.answer(202, runtimeapi.ACCEPTED)
                self._alive = False
                self._lines.end()
                self._ready.set_exception(StartFailed(fault.type, fault.message, payload))
                return None
            case _:
                return self._settle(connection, request, call)

    def _next(self, connection: Connection) -> Refusal | None:
        if self._state == "Running" and self._handed:
            return runtimeapi.not_allowed(self._state, Ask.NEXT)
        if self._waiting is not None:
            # Who asks again has given the first request up, whatever became of its connection.
            refusal = runtimeapi.not_allowed(self._state, Ask.NEXT)
            self._waiting.answer(refusal.status, refusal.body)
        self._waiting = connection
        self._state = "Ready"
        self._settle_start()
        self._hand_out()
        return None

    def _settle_start(self) -> None:
        """The start is over once the runtime and all extensions have asked for something to do."""
        if self._state == "Ready" and not self._ready.done() and self._extensions.started:
            self._lines.end()
            self._ready.set_result(None)

    def _extension_failed(self, fault: Fault, payload: bytes) -> None:
        if not self._ready.done():
            self._ready.set_exception(StartFailed(fault.type, fault.message, payload))
        self._kill(lambda usage: Crashed(fault=fault, payload=payload, usage=usage))

    def _hand_out(self) -> None:
        """Give the invocation to the runtime, once both are there."""
        if self._invocation is None or self._waiting is None or self._handed:
            return
        connection, self._waiting = self._waiting, None
        self._state, self._handed = "Running", True
        self._extensions.invoke(self._invocation)
        self._bounds.hands(connection)
        connection.answer(200, self._invocation.payload, runtimeapi.next_head(self._invocation))

    def _settle(self, connection: Connection, request: Request, call: Call) -> Refusal | None:
        if self._state != "Running" or not self._handed or self._invocation is None:
            return runtimeapi.not_allowed(self._state, call.ask)
        if call.id != self._invocation.request_id:
            return runtimeapi.unknown_id()
        if call.ask is Ask.RESPONSE and self._streaming not in (None, connection):
            return runtimeapi.not_allowed(Ask.RESPONSE.value, call.ask)
        mode = request.headers.get(runtimeapi.MODE, "streaming")
        if call.ask is Ask.RESPONSE and mode.lower() != "streaming":
            refusal, fault = runtimeapi.odd_mode(mode)
            self._end(_raised(fault, errors.payload(fault.type, fault.message)))
            return refusal
        if request.oversize:
            fault = errors.too_large()
            self._end(_raised(fault, errors.payload(fault.type, fault.message)))
            return runtimeapi.too_large()
        body = bytes(request.body)
        broken = runtimeapi.torn(request.trailers)
        if call.ask is Ask.ERROR:
            broken = runtimeapi.described(request.headers, body)
        connection.answer(202, runtimeapi.ACCEPTED)
        if broken is not None:
            self._end(_raised(*broken))
            return None
        if self._streamed is not None:
            body = self._streamed.payload()
            self._end(lambda usage: Returned(payload=body, usage=usage))
            return None
        if request.headers.get("content-type", "").partition(";")[0].strip() == runtimeapi.INTEGRATION:
            body = runtimeapi.integrated(body)
        self._end(lambda usage: Returned(payload=body or b"null", usage=usage))
        return None

    def _lost(self, connection: Connection) -> None:
        self._extensions.lost(connection)
        if connection is self._streaming and self._parting is not None:
            # Who was to take the answer has left, and the runtime was told by this.
            self._end(lambda usage: Returned(payload=b"", usage=usage))
        elif connection is self._streaming:
            # Where the runtime is about to be reported gone, that says more.
            self._loop.call_later(TORN, self._torn, connection)
        if connection is self._waiting:
            self._waiting = None

    def _torn(self, connection: Connection) -> None:
        """The connection by which the answer came was lost in the middle, and the runtime lives on."""
        if connection is self._streaming and self._alive:
            fault = errors.truncated(self._request)
            self._end(_raised(fault, errors.payload(fault.type, fault.message)))

    # ends

    def _end(self, outcome: Ending, told: int | None = None) -> None:
        """Complete the running call."""
        self._invocation = None
        if self._state == "Running":
            self._state = "RuntimeResponseSentState"
        self._handed = False
        if self._streaming is not None:
            # Whoever reads more slowly than it came has all of it, and the runtime goes on by this connection.
            self._streaming.resume()
            self._streaming = None
        super()._end(outcome, told)

    def _exited(self, status: int) -> None:
        """The process and its group are gone."""
        # What it posted with its last breath may still be in a socket's buffer, which is read by the loop.
        self._alive = False
        self._loop.call_soon(self._buried, status)

    def _buried(self, status: int) -> None:
        if any(connection.behind for connection in self._bounds):
            self._loop.call_soon(self._buried, status)
            return
        if self._ending is None and self._invocation is not None and not self._handed and self._served:
            # The handler never began.
            self._ending = lambda usage: Interrupted(usage=usage)
        self._bury(status)


def _raised(fault: Fault, payload: bytes) -> Ending:
    return lambda usage: Raised(fault=fault, payload=payload, usage=usage)
