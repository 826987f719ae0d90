"""Start the launcher, ask it for sandboxes, and hear of their ends: the hub's side of ``runtimes.launcher``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import structlog

from triggerhub.runtimes import groups
from triggerhub.runtimes.door import Door
from triggerhub.runtimes.groups import Group
from triggerhub.runtimes.launcher.plan import AHEAD, GROW, MAX, Beginning, Plan, encode, kill
from triggerhub.runtimes.sandboxed import Sandboxed

log = structlog.get_logger("launcher")

_MAIN = Path(__file__).parent / "launcher" / "main.py"
BOOTSTRAP = Path(__file__).parent / "bootstrap"
_ENVIRONMENT = {"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8", "TZ": ":UTC"}
"""All that it gets: what an interpreter reads once, at its start."""
# Threads' stacks count as a worker's memory: those of its Python begin with a megabyte instead of eight.
_STACK = 'ulimit -S -s 1024; exec "$@"'


class Started(Protocol):
    """A process of a launcher."""

    @property
    def pid(self) -> int | None: ...

    def kill(self) -> None: ...

    def wait(self) -> object: ...


class Starter(Protocol):
    """What starts launchers otherwise than as this process's own child, and of its user alone."""

    root: bool
    """Whether they are root, for a hub that is not."""

    def start(self, theirs: socket.socket) -> Started: ...


class Launcher:
    """The launcher's process: started when first needed, again when it died, ended when nobody holds it."""

    def __init__(self, starter: Starter | None = None) -> None:
        """*starter* starts the process; without one it is this process's child, and of its user."""
        self._starter = starter
        self._holders = 0
        self._next = 0
        self._process: Started | None = None
        self._pid: int | None = None
        self._socket: socket.socket
        self._ready = False
        """Whether the process ever served: one that does not is not started again before somebody asks."""
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._sandboxes: dict[int, Sandboxed] = {}
        self._grows = self._keeps = False
        self.findings: Any = None
        """What sandboxes were found to be worth on this host; forgotten with the process that made them."""
        self.losses = 0
        """How often the process died by itself."""

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def rooted(self) -> bool:
        """Whether sandboxes are made by root, each function with a uid of its own."""
        return self._apart or os.geteuid() == 0

    @property
    def _apart(self) -> bool:
        """Whether it is root and this process is not."""
        return self._starter is not None and self._starter.root

    @property
    def starter(self) -> Starter | None:
        return self._starter

    def start_by(self, starter: Starter | None) -> None:
        """Have the process started otherwise from now on; one that runs is ended, with all its sandboxes."""
        self._starter = starter
        self._end()

    def open(self) -> None:
        """Hold it until :meth:`close`; for who has no loop."""
        self._holders += 1

    def close(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._end()

    @asynccontextmanager
    async def held(self, *, start: bool = False) -> AsyncGenerator[Launcher]:
        """Keep the process for as long as the context is open; *start*: do not wait for the first sandbox."""
        self.open()
        try:
            if start:
                self._ensure()
            yield self
        finally:
            self.close()

    def make(
        self,
        plan: Plan,
        beginning: Beginning,
        descriptors: Mapping[int, int],
        exited: Callable[[int], None],
        door: int | None = None,
        group: Group | None = None,
    ) -> Sandboxed:
        """Ask for a sandbox; *descriptors* map the worker's numbers to ours, of which copies are sent.

        *door* is the sending end of a :class:`Door`, where the plan listens. *group* is what holds it.

        Raises OSError when there is no room for a process or a descriptor.
        """
        self._ensure()
        self._next += 1
        plan = replace(plan, id=self._next, descriptors=tuple(descriptors))
        end = None
        if group is not None:
            plan = replace(plan, groups=tuple(map(str, group.folders)))
        if self._apart:
            # What root makes, this process cannot end.
            end = partial(self._queue, kill(self._next), [])
        packet = encode(plan)
        if len(packet) > MAX:
            raise OSError(f"the plan of the sandbox has {len(packet)} bytes, over {MAX}")
        sandbox = Sandboxed(exited, group, end)
        copies: list[int] = []
        try:
            copies += map(os.dup, descriptors.values())
            copies.append(_in_memory(encode(beginning)))
            if door is not None:
                copies.append(os.dup(door))
        except BaseException:
            _close(copies)
            raise
        self._sandboxes[plan.id] = sandbox
        self._queue(packet, copies)
        return sandbox

    def grow(self) -> None:
        """Let it import what handlers import most: functions are called, which is worth the memory."""
        if not self._grows:
            self._grows = True
            self._queue(GROW, [])

    def prepare(self) -> None:
        """Let it keep a sandbox ahead of the next plan: functions are called, which is worth the memory."""
        if not self._keeps:
            self._keeps = True
            self._queue(AHEAD, [])

    def _queue(self, packet: bytes, copies: list[int]) -> None:
        if self._process is None:
            return
        self._waiting.append((packet, copies))
        if len(self._waiting) == 1:
            self._send()

    def _ensure(self) -> None:
        if self._process is not None:
            if self._loop is not asyncio.get_running_loop():
                self._attend()
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = execute(theirs) if self._starter is None else self._starter.start(theirs)
                self._pid = self._process.pid
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        self._attend()
        if self._grows:
            self._queue(GROW, [])
        if self._keeps:
            self._queue(AHEAD, [])

    def _attend(self) -> None:
        """Listen from the running loop; the process may outlive one."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _send(self) -> None:
        while self._waiting:
            packet, copies = self._waiting[0]
            try:
                socket.send_fds(self._socket, [packet], copies)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except OSError:
                return  # it is gone: its socket says so to the reader
            self._waiting.popleft()
            _close(copies)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._send()

    def _readable(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, MAX, 1)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if not packet:
            self._lost()
            return
        told = json.loads(packet)
        if "ready" in told:
            self._ready, self._pid = True, told["pid"]
        sandbox = self._sandboxes.get(told.get("id", 0))
        if sandbox is None:
            _close(descriptors)
        elif descriptors:
            sandbox.begin(told["pid"], descriptors[0])
        elif "pid" in told:
            sandbox.unseen()
            self._queue(kill(told["id"]), [])
        else:
            del self._sandboxes[told["id"]]
            sandbox.end(told)

    def _lost(self) -> None:
        """The launcher died, and all sandboxes with it: the kernel sees to that."""
        log.error("the launcher of sandboxes ended; another one is started when it is needed", pid=self.pid)
        self.losses += 1
        served, self._ready = self._ready, False
        self._let_go()
        if self._holders and served:
            with contextlib.suppress(OSError):
                self._ensure()

    def _end(self) -> None:
        if self._process is not None:
            self._let_go()
        groups.leave()

    def _let_go(self) -> None:
        assert self._process is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        process, self._process, self._pid = self._process, None, None
        self.findings = None
        process.kill()
        process.wait()
        for _, copies in self._waiting:
            _close(copies)
        self._waiting.clear()
        orphans, self._sandboxes = self._sandboxes, {}
        for sandbox in orphans.values():
            sandbox.orphan()


def execute(theirs: socket.socket, *words: str, by: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Execute a launcher, or with the word ``keep`` what starts some, that is served at *theirs*. Raises OSError.

    *by* are the words of a program that executes it, whose own words are nobody's.
    """
    interpreter = [sys.executable, "-I", str(_MAIN), str(theirs.fileno()), str(BOOTSTRAP), *words]
    return subprocess.Popen(
        ["/bin/sh", "-c", _STACK, "sh", *by, *interpreter],
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if by else None,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
        cwd="/",
    )


def spawner(
    launcher: Launcher, plan: Plan, door: Door | None = None, group: Group | None = None
) -> Callable[..., Sandboxed]:
    """Return what starts a process in a sandbox, called as ``child.Child`` is."""

    def spawn(
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int,
        stdout: IO[bytes],
        stderr: IO[bytes] | None,
        exited: Callable[[int], None],
    ) -> Sandboxed:
        output = stdout.fileno()
        warm = {1: output, 2: output, 3: stdin}
        descriptors = warm if stderr is None else {0: stdin, 1: output, 2: stderr.fileno()}
        beginning = Beginning(argv=tuple(command), env=dict(env), cwd=str(cwd))
        theirs = None if door is None else door.theirs.fileno()
        return launcher.make(plan, beginning, descriptors, exited, theirs, group)

    return spawn


def _in_memory(content: bytes) -> int:
    file = os.memfd_create("beginning", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
    except BaseException:
        os.close(file)
        raise
    return file


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
