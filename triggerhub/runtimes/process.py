"""Start workers as plain processes of the hub's own user: level ``trusted``, well kept but not isolated.

Each has its own session, temporary directory, limits and a clean environment. What is not here is
isolation: such a handler can read and kill whatever the hub's user can.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from triggerhub.aws import errors
from triggerhub.errors import StartFailed
from triggerhub.runtime import Output, Worker
from triggerhub.runtimes import listener
from triggerhub.runtimes.environment import environment
from triggerhub.runtimes.program import ProgramWorker
from triggerhub.runtimes.provided import ProvidedWorker
from triggerhub.runtimes.snapshot import remove_tree
from triggerhub.runtimes.warm import WarmWorker
from triggerhub.settings import MB, Function

_BOOTSTRAP = Path(__file__).parent / "bootstrap"
_PATIENCE = 10.0
"""Seconds that the kernel may take to end what was killed."""
_OWN_HEAP = 32 * MB
"""What Node needs beside its heap."""


class ProcessRuntime:
    """A ``runtime.Runtime`` for Python, Node and executables."""

    def __init__(
        self,
        output: Output,
        scratch: Path,
        *,
        python: str | None = None,
        node: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """*scratch* takes the workers' temporary directories; what a hub that was killed left there goes.

        *python* and *node* are interpreters, by default the hub's own Python and the first ``node`` on its PATH.
        *more* are variables that every worker gets, as they stand when it starts; a function's own win.
        """
        self._more = {} if more is None else more
        self._output = output
        self._scratch = scratch.absolute()
        self._python = python or sys.executable
        self._node = node or shutil.which("node")
        for folder in self._scratch.glob("worker-*"):
            remove_tree(folder)

    @asynccontextmanager
    async def start(self, function: Function) -> AsyncGenerator[Worker]:
        """See ``runtime.Runtime``. Raises OSError, too, when the host has no room for a process or a folder."""
        if function.needs is not None and not function.needs.folder.is_dir():
            message = "the packages that it depends on are not there yet; `triggerhub status` says why"
            raise StartFailed(errors.NOT_READY, message, errors.payload(errors.NOT_READY, message))
        stream = secrets.token_hex(16)
        tmp = self._scratch / f"worker-{function.name}-{stream[:12]}"
        tmp.mkdir(parents=True, mode=0o700)
        try:
            if function.runtime == "executable":
                program = self._program(function, tmp, stream)
                try:
                    yield program
                finally:
                    await _surely(program.close)
                return
            if function.runtime == "provided":
                async with self._provided(function, tmp, stream) as provided:
                    yield provided
                return
            interpreter, command = self._command(function)
            env = environment(function, self._more, tmp=tmp, stream=stream, interpreter=interpreter)
            worker = WarmWorker(function, self._output, command, cwd=function.code, env=env)
            try:
                await worker.ready()
                yield worker
            finally:
                await _surely(worker.close)
        finally:
            await _remove(tmp)

    @asynccontextmanager
    async def _provided(self, function: Function, tmp: Path, stream: str) -> AsyncGenerator[Worker]:
        with listener.listen() as listening:
            host, port = listening.getsockname()
            env = environment(function, self._more, tmp=tmp, stream=stream, api=f"{host}:{port}")
            _require(function, env["PATH"])
            worker = ProvidedWorker(function, self._output, function.command, cwd=function.code, env=env)
            try:
                await worker.ready(listening, listener.same_user)
                yield worker
            finally:
                await _surely(worker.close)

    def _command(self, function: Function) -> tuple[str, list[str]]:
        chosen = function.interpreter
        if chosen is not None and not chosen.program:
            raise _no_entry(f"{chosen.name} is not installed on this host")
        if function.runtime == "python":
            python = chosen.program if chosen else self._python
            bootstrap = str(_BOOTSTRAP / "worker.py")
            # -B: the code is read-only, and a cache in it would change what the version is.
            return python, [python, "-I", "-B", bootstrap, function.handler]
        node = chosen.program if chosen else self._node
        if node is None:
            raise _no_entry("node is not installed on this host; install Node 18 or later")
        heap = max(function.memory - _OWN_HEAP, function.memory // 2) // MB
        bootstrap = str(_BOOTSTRAP / "worker.mjs")
        return node, [node, f"--max-old-space-size={heap}", bootstrap, function.handler]

    def _program(self, function: Function, tmp: Path, stream: str) -> ProgramWorker:
        env = environment(function, self._more, tmp=tmp, stream=stream)
        _require(function, env["PATH"])
        return ProgramWorker(function, self._output, env=env)


def _require(function: Function, path: str) -> None:
    name = function.command[0] if function.command else ""
    # A path without a slash in front is found from the code's folder, where the program is started.
    if not shutil.which(function.code / name if "/" in name else name, path=path):
        raise _no_entry(f"the command {name!r} is no executable file")


def _no_entry(message: str) -> StartFailed:
    return StartFailed(errors.NO_ENTRY, message, errors.payload(errors.NO_ENTRY, message))


async def _surely(close: Callable[[], Awaitable[None]]) -> None:
    with anyio.move_on_after(_PATIENCE, shield=True):
        await close()


async def _remove(tmp: Path) -> None:
    try:
        tmp.rmdir()  # noqa: ASYNC240 - it is empty nearly always, and a thread would cost more
    except OSError:
        with anyio.CancelScope(shield=True):
            await asyncio.to_thread(remove_tree, tmp)
