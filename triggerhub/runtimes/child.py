"""Start a process of its own session, watch for its end, and end it with everything it started.

The child is started through ``/bin/sh``, which sets limits and the umask and then becomes the
program: no code of ours runs between fork and exec, so the hub is never forked and nothing races.
A tether (a pipe whose only writer is the hub) makes the kernel kill the child's group when the hub
is gone, however it went and whatever the child is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from triggerhub.model import Fault
from triggerhub.runtimes import memory
from triggerhub.runtimes.groups import Group

_LIMITS = "ulimit -c 0; ulimit -n 1024 2>/dev/null || :; umask 077"
# A shell dups only fds of one digit: the socket comes as stdin, the tether as stderr, and both move up.
_WARM = f'{_LIMITS}; exec "$@" 3<&0 4<&2 2>&1 0</dev/null'
_PROGRAM = f'{_LIMITS}; exec "$@"'
_F_SETSIG = 10
_SWEEPS = 20


class Process(Protocol):
    """A worker's process, plain or in a sandbox."""

    thorough: bool

    @property
    def pid(self) -> int | None: ...

    @property
    def alive(self) -> bool: ...

    @property
    def status(self) -> int | None: ...

    @property
    def fault(self) -> Fault | None:
        """Why it never began, where that is known."""
        ...

    @property
    def group(self) -> Group | None:
        """The control groups that hold it and all that it starts; None leaves that to be measured."""
        ...

    @property
    def peak(self) -> int | None:
        """The most bytes that the largest of its processes held, as the kernel tells once it is gone, where it does."""
        ...

    @property
    def starved(self) -> bool:
        """Whether the kernel has killed one of its processes over their memory."""
        ...

    @property
    def severed(self) -> bool:
        """Whether it ended because what had made it did."""
        ...

    async def started(self) -> int:
        """Return the pid once there is one; 0 where there never was."""
        ...

    def kill(self) -> None: ...


Spawn = Callable[..., Process]
"""Starts a process, called as :class:`Child` is."""


class Child:
    """A running process; ``exited`` is called once, from the loop, after the whole group was killed."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int,
        stdout: IO[bytes],
        stderr: IO[bytes] | None,
        exited: Callable[[int], None],
    ) -> None:
        """Raises OSError when no process can be made.

        *stderr* is None for a warm worker: then *stdin* becomes its fd 3, *stdout* takes both outputs
        and fd 4 is the tether. The caller keeps its own copies of the descriptors.
        """
        self._loop = asyncio.get_running_loop()
        self._exited = exited
        self._tether: int | None = None
        tail, self._tether = os.pipe()
        warm = stderr is None
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WARM if warm else _PROGRAM, "sh", *command],
                cwd=cwd,
                env=dict(env),
                stdin=stdin,
                stdout=stdout,
                stderr=tail if stderr is None else stderr,
                pass_fds=() if warm else (tail,),
                start_new_session=True,
                close_fds=True,
            )
            self.pid = self._process.pid
            try:
                fcntl.fcntl(tail, _F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(tail, fcntl.F_SETOWN, -self.pid)
                fcntl.fcntl(tail, fcntl.F_SETFL, os.O_ASYNC)
                self._pidfd = os.pidfd_open(self.pid)
            except BaseException:
                self.kill()
                self._process.wait()
                raise
        except BaseException:
            os.close(self._tether)
            raise
        finally:
            os.close(tail)
        self.alive = True
        self.fault: Fault | None = None
        self.status: int | None = None
        """The exit status once it is gone: minus the signal if one ended it."""
        self.group = None
        self.severed = False
        self.peak = None
        """The kernel tells, but counts what the hub held, out of which it was started."""
        self.starved = False
        """Nobody counts its memory but the hub."""
        self.thorough = warm
        """Whether its end includes a search for processes that left the group."""
        self._loop.add_reader(self._pidfd, self._gone)

    async def started(self) -> int:
        return self.pid

    def kill(self) -> None:
        """Kill the group; the end is reported when it has come."""
        # Until it is reaped the number is ours, so this can hit no stranger.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self.kill()
        if self.thorough:
            self._sweep()
        self.status = self._process.wait()
        self.alive = False
        os.close(self._pidfd)
        if self._tether is not None:
            os.close(self._tether)
        self._exited(self.status)

    def _sweep(self) -> None:
        for _ in range(_SWEEPS):
            left = [pid for pid in memory.session(self.pid) if pid != self.pid]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
