"""Start workers: in a sandbox, or at level ``trusted`` as plain processes of the hub's own user.

Each has its own session, temporary directory, limits and a clean environment. At ``trusted`` isolation
is missing: such a handler can read and kill whatever the hub's user can.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from socket import socket

import anyio

from triggerhub.aws import errors
from triggerhub.errors import StartFailed
from triggerhub.policy.sandbox import shares, view
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.runtime import Output, Worker
from triggerhub.runtimes import egress, installation, listener, reach, sandbox, startup
from triggerhub.runtimes.child import Child, Spawn
from triggerhub.runtimes.door import Door
from triggerhub.runtimes.environment import environment, reveal
from triggerhub.runtimes.groups import Group, Groups
from triggerhub.runtimes.launch import BOOTSTRAP, Launcher, spawner
from triggerhub.runtimes.launcher.plan import Bind
from triggerhub.runtimes.levels import Levels, decided
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.program import ProgramWorker
from triggerhub.runtimes.provided import ProvidedWorker
from triggerhub.runtimes.sandbox import Extra, Planner
from triggerhub.runtimes.snapshot import remove_tree
from triggerhub.runtimes.uids import Uids
from triggerhub.runtimes.warm import WarmWorker
from triggerhub.settings import GIVEN_UIDS, MB, Function, Interpreter, Level

_PATIENCE = 10.0
"""Seconds that the kernel may take to end what was killed."""
_OWN_HEAP = 32 * MB
"""What Node needs beside its heap."""
_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
API_PORT = 9001
"""Where a sandbox finds the Runtime API, as in Lambda."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a worker runs, and how its paths are called there."""

    task: str
    runtime: str
    tmp: str
    spawn: Spawn
    opt: str | None = None
    uid: int | None = None
    """Of its processes, where that is not the hub's own."""
    door: Door | None = None
    """By which the socket comes that its Runtime API is served at."""


class ProcessRuntime:
    """A ``runtime.Runtime`` for Python, Node, executables and bootstraps."""

    def __init__(
        self,
        output: Output,
        scratch: Path,
        *,
        python: str | None = None,
        node: str | None = None,
        more: Mapping[str, str] | None = None,
        launcher: Launcher | None = None,
        found: Callable[[], object] = lambda: None,
        data: Path | None = None,
        project: Path | None = None,
    ) -> None:
        """*scratch* takes the workers' temporary directories; what a hub that was killed left there goes.

        *python* and *node* are interpreters, by default the hub's own Python and the first ``node`` on its PATH.
        *more* are variables that every worker gets, as they stand when it starts; a function's own win.
        *launcher* makes the sandboxes; without one it is started for the first and ends with the last.
        *data* is the hub's folder, by default the one that *scratch* is in; *project* is what it serves.
        *found* is called whenever it was found out what the host gives.
        """
        self._more = {} if more is None else more
        self._output = output
        self._scratch = scratch.absolute()
        self._data = data or self._scratch.parent
        self._python = python or installation.OWN
        self._node = node or shutil.which("node")
        self._launcher = launcher or Launcher()
        self._planner = Planner(self._data, project, Uids(self._data / GIVEN_UIDS if self._launcher.rooted else None))
        self._room = egress.Room()
        self.levels = Levels(self._launcher, self._planner, found)
        for folder in self._scratch.glob("worker-*"):
            remove_tree(folder)

    def level(self, function: Function) -> Level | Refusal:
        """See ``runtime.Runtime``."""
        return self.levels.level(function)

    @asynccontextmanager
    async def start(self, function: Function) -> AsyncGenerator[Worker]:
        """See ``runtime.Runtime``. Raises OSError, too, when the host has no room for a process or a folder."""
        if function.lost:
            raise _refused(function.lost, host=True)
        if function.faulty:
            payload = errors.payload(errors.INVALID_METADATA, function.faulty)
            raise StartFailed(errors.INVALID_METADATA, function.faulty, payload)
        if function.needs is not None and not function.needs.folder.is_dir():
            message = "the packages that it depends on are not there yet; `triggerhub status` says why"
            raise StartFailed(errors.NOT_READY, message, errors.payload(errors.NOT_READY, message))
        if function.reuse == "fork" and function.runtime != "python":
            # The configuration refuses it; what was deployed has inherited it.
            raise _no_entry('reuse = "fork" is for Python: set it to "fresh" or "warm" where the function gets it from')
        stream = secrets.token_hex(16)
        place = self._trusted if function.level == "trusted" else self._sandboxed
        async with place(function, stream) as where:
            if function.runtime == "executable":
                env = self._environment(function, where, stream)
                command = _command_of(function, where, env["PATH"])
                program = ProgramWorker(
                    function, self._output, command, cwd=Path(where.task), env=env, spawn=where.spawn
                )
                self._launcher.prepare()
                try:
                    yield program
                finally:
                    await _surely(program.close)
                return
            if function.runtime == "provided":
                async with self._provided(function, where, stream) as provided:
                    yield provided
                return
            interpreter, command = self._command(function, where)
            env = self._environment(function, where, stream, interpreter=interpreter)
            command = _wrapped(command, env.get(_WRAPPER), where)
            worker = WarmWorker(function, self._output, command, cwd=Path(where.task), env=env, spawn=where.spawn)
            try:
                await worker.ready()
                if function.runtime == "python":
                    self._launcher.grow()
                self._launcher.prepare()
                yield worker
            finally:
                await _surely(worker.close)

    @asynccontextmanager
    async def enclosed(self, function: Function) -> AsyncGenerator[Spawn]:
        """Enter with what starts processes where a worker of *function* would be, each in a sandbox of its own.

        Raises StartFailed where the host cannot give the function's level.
        """
        async with self._sandboxed(function, secrets.token_hex(16)) as where:
            yield where.spawn

    @asynccontextmanager
    async def _trusted(self, function: Function, stream: str) -> AsyncGenerator[_Place]:
        tmp = self._scratch / f"worker-{function.name}-{stream[:12]}"
        tmp.mkdir(parents=True, mode=0o700)
        try:
            yield _Place(task=str(function.code), runtime=str(BOOTSTRAP), tmp=str(tmp), spawn=Child)
        finally:
            await _remove(tmp)

    @asynccontextmanager
    async def _sandboxed(self, function: Function, stream: str) -> AsyncGenerator[_Place]:
        findings = await self.levels.findings()
        level = decided(function, findings)
        if isinstance(level, Refusal):
            raise _refused(f"{level.message}; {level.hint}", host=True)
        if self._launcher.rooted and not self._planner.uids.knows(function.name):
            await asyncio.to_thread(self._planner.uids.of, function.name)
        if level == "confined":
            async with self._confined(function, stream) as place:
                yield place
            return
        held = findings.groups if level == "contained" else None
        async with self._way_out(function, stream, findings) as extra, self._group(function, held) as group:
            try:
                plan = self._planner.plan(function, replace(extra, group=group))
            except sandbox.Missing as error:
                raise _refused(str(error)) from None
            door = None if plan.listen is None else Door()
            try:
                async with self._launcher.held():
                    yield _Place(
                        task=view.TASK,
                        runtime=view.RUNTIME,
                        tmp="/tmp",
                        spawn=spawner(self._launcher, plan, door, group),
                        opt=None if function.opt is None else view.LAYERS,
                        uid=plan.uid if self._launcher.rooted else None,
                        door=door,
                    )
            finally:
                if door is not None:
                    door.close()

    @asynccontextmanager
    async def _confined(self, function: Function, stream: str) -> AsyncGenerator[_Place]:
        """Lend a place at the host's own paths, for there are no others."""
        tmp = self._scratch / f"worker-{function.name}-{stream[:12]}"
        tmp.mkdir(parents=True, mode=0o700)
        try:
            try:
                if self._launcher.rooted:
                    reach.give(tmp, self._planner.uid(function))
                    needed = (function.code, tmp, BOOTSTRAP, *map(Path, self._planner.python))
                    for path in (*needed, *([function.needs.folder] if function.needs else [])):
                        reach.let_through(path, self._data)
                plan = self._planner.confined(function, self._extra(function), tmp)
            except (sandbox.Missing, reach.OutOfReach) as error:
                raise _refused(str(error)) from None
            async with self._launcher.held():
                yield _Place(
                    task=str(function.code),
                    runtime=str(BOOTSTRAP),
                    tmp=str(tmp),
                    spawn=spawner(self._launcher, plan),
                    uid=plan.uid if self._launcher.rooted else None,
                )
        finally:
            await _remove(tmp)

    @asynccontextmanager
    async def _group(self, function: Function, groups: Groups | None) -> AsyncGenerator[Group | None]:
        """Make the control groups of a worker, where the host has some; they go with it."""
        if groups is None:
            yield None
            return
        limit = shares.limit(function.memory, function.tmp, sandbox.PROCESSES)
        with anyio.CancelScope(shield=True):  # what a thread has made is there, whether anybody still waits or not
            group = await asyncio.to_thread(groups.make, limit)
        try:
            yield group
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(group.remove)

    @asynccontextmanager
    async def _way_out(self, function: Function, stream: str, findings: Findings) -> AsyncGenerator[Extra]:
        """Return what is added to the sandbox, the proxy of a network that is a list served meanwhile."""
        extra = self._extra(function, carried=findings.carried)
        if not isinstance(function.network, tuple):
            yield extra
            return
        folder = self._scratch / f"worker-{function.name}-{stream[:12]}"
        folder.mkdir(parents=True, mode=0o700)
        try:
            path = os.path.realpath(folder / "egress.sock")  # noqa: ASYNC240 - a thread would cost more
            tell = partial(self._output.write, function, None, "hub")
            with self._room.share(function.name) as share:
                async with egress.serve(Path(path), function.network, tell, share):
                    bind = Bind(source=path, target=egress.SOCKET)
                    yield replace(extra, binds=(*extra.binds, bind), forwards=((egress.PORT, egress.SOCKET),))
        finally:
            await _remove(folder)

    def _extra(self, function: Function, *, carried: bool = False) -> Extra:
        """Return what the function's runtime adds to its sandbox; *carried* as in ``Extra``."""
        extra = self._of_runtime(function, sandbox.network_of(function, carried=carried) == "host")
        return replace(extra, carried=carried)

    def _of_runtime(self, function: Function, shares_host: bool) -> Extra:
        chosen = function.interpreter
        match function.runtime:
            case "python":
                program = self._python_of(chosen)
                return (
                    Extra(template=True)
                    if _forked(function, program)
                    else Extra(prefixes=self._made_of(program, chosen))
                )
            case "node":
                return Extra(prefixes=self._made_of(chosen.program if chosen else self._node, chosen))
            case "provided" if not shares_host:
                return Extra(listen=API_PORT)
        return Extra()

    def _python_of(self, chosen: Interpreter | None) -> str:
        if chosen is None:
            return self._python
        return installation.program(chosen.program) if chosen.program else ""

    def _made_of(self, program: str | None, chosen: Interpreter | None) -> tuple[str, ...]:
        return self._planner.of_program(program, chosen.folders if chosen else ()) if program else ()

    def _environment(
        self,
        function: Function,
        where: _Place,
        stream: str,
        *,
        interpreter: str | None = None,
        api: str | None = None,
    ) -> dict[str, str]:
        # What the hub offers is on the host's network.
        reachable = function.network or function.level == "trusted"
        return environment(
            function,
            self._more if reachable else None,
            tmp=where.tmp,
            stream=stream,
            interpreter=interpreter,
            api=api,
            task=where.task,
            runtime=where.runtime,
            opt=where.opt,
        )

    @asynccontextmanager
    async def _provided(self, function: Function, where: _Place, stream: str) -> AsyncGenerator[Worker]:
        listening: socket | None = None if where.door else listener.listen()
        host, port = listening.getsockname() if listening else ("127.0.0.1", API_PORT)
        try:
            env = self._environment(function, where, stream, api=f"{host}:{port}")
            command = _command_of(function, where, env["PATH"])
            worker = ProvidedWorker(
                function, self._output, command, cwd=Path(where.task), env=env, opt=where.opt, spawn=where.spawn
            )
            try:
                if where.door is not None:
                    # Nobody but the sandbox's own processes can reach what listens there.
                    listening = await where.door.listening()
                    await worker.ready(listening, lambda transport: True)
                else:
                    await worker.ready(listening, listener.of_user(where.uid))
                self._launcher.prepare()
                yield worker
            finally:
                await _surely(worker.close)
        finally:
            if listening is not None:
                listening.close()

    def _command(self, function: Function, where: _Place) -> tuple[str, list[str]]:
        chosen = function.interpreter
        if chosen is not None and not chosen.program:
            raise _no_entry(f"{chosen.name} is not installed on this host")
        if function.runtime == "python":
            python = self._python_of(chosen)
            if where.spawn is not Child and _forked(function, python):
                # The launcher's own interpreter goes on: it needs the worker's arguments only.
                return python, [function.handler]
            return python, [python, *startup.flags(function.env), f"{where.runtime}/worker.py", function.handler]
        node = chosen.program if chosen else self._node
        if node is None:
            raise _no_entry("node is not installed on this host; install Node 18 or later")
        heap = startup.heap(reveal(function.env), max(function.memory - _OWN_HEAP, function.memory // 2))
        return node, [node, *heap, f"{where.runtime}/worker.cjs", function.handler]


def _forked(function: Function, program: str) -> bool:
    """Whether the launcher's own Python goes on as the worker: where nothing is to be there before it starts."""
    libraries = startup.libraries(function.code) or (function.opt is not None and (function.opt / "lib").is_dir())
    before = libraries or function.env.get(_WRAPPER) or startup.from_the_start(function.env)
    return program in (sys.executable, installation.OWN) and not before


def _wrapped(command: list[str], wrapper: str | None, where: _Place) -> list[str]:
    """Return the command by which AWS_LAMBDA_EXEC_WRAPPER starts the runtime. Raises StartFailed where it is not there.

    What is within a sandbox only, the sandbox itself finds missing.
    """
    if not wrapper:
        return command
    if where.spawn is Child and not shutil.which(wrapper, path=where.task):
        raise _no_entry(f"{_WRAPPER} is {wrapper}, which is no executable file")
    return [wrapper, *command]


def _command_of(function: Function, where: _Place, path: str) -> list[str]:
    """Return a function's own command as it reads where it runs. Raises StartFailed where there is no such program."""
    name = function.command[0] if function.command else ""
    # A path without a slash in front is found from the code's folder, where the program is started.
    if not shutil.which(function.code / name if "/" in name else name, path=path):
        raise _no_entry(f"the command {_moved(name, str(function.code), where.task)!r} is no executable file")
    return [_moved(word, str(function.code), where.task) for word in function.command]


def _moved(word: str, code: str, task: str) -> str:
    return task + word[len(code) :] if view.within(word, code) else word


def _refused(message: str, *, host: bool = False) -> StartFailed:
    """Return the error of a sandbox that cannot be; *host*: what lacks is the host's, and may come."""
    return StartFailed(errors.SANDBOX, message, errors.payload(errors.SANDBOX, message), scarce=host)


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
