"""Hold a sandbox that a launcher has made: its beginning, its end, and why it came to that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from triggerhub.aws import errors
from triggerhub.model import Fault
from triggerhub.runtimes.groups import Group


class Sandboxed:
    """A sandbox as ``child.Child`` is a process: ``exited`` is called once, when nothing of it is left."""

    def __init__(
        self, exited: Callable[[int], None], group: Group | None = None, end: Callable[[], None] | None = None
    ) -> None:
        """*end* ends it, where this process may not."""
        self._end = end
        self._exited = exited
        self.group = group
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[int] = self._loop.create_future()
        self._handle: int | None = None
        self._doomed = False
        self._watched = False
        self.pid: int | None = None
        """Of its process 1, on the host."""
        self.alive = True
        self.status: int | None = None
        self.fault: Fault | None = None
        """Why it could not be made, where that is so."""
        self.severed = False
        self.peak: int | None = None
        self.thorough = True
        """Its end is always everybody's."""

    @property
    def starved(self) -> bool:
        """Whether the kernel has killed a process of its control groups over their memory."""
        return self.group is not None and self.group.killed()

    async def started(self) -> int:
        """Return the pid as soon as there is one; 0 where there never was."""
        return await asyncio.shield(self._started)

    def kill(self) -> None:
        """Kill all of it; the end is reported when it has come."""
        self._doomed = True
        if self._handle is None:
            return
        if self._end is not None:
            self._end()
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def begin(self, pid: int, handle: int) -> None:
        """Process 1 is there."""
        os.set_inheritable(handle, False)
        self.pid, self._handle = pid, handle
        self._started.set_result(pid)
        if self._doomed:
            self.kill()

    def unseen(self) -> None:
        """Process 1 is there, and this one has no descriptor left to hold it by."""
        self.severed = True
        self.fault = Fault(type=errors.SANDBOX, message="the hub has too many open files to hold it")

    def end(self, told: Mapping[str, Any]) -> None:
        """It is gone, as the launcher tells."""
        self.peak = told.get("peak")
        if "missing" in told:
            self.fault = Fault(type=errors.NO_ENTRY, message=f"{told['missing']}")
        elif "error" in told:
            self.fault = Fault(type=errors.SANDBOX, message=f"the sandbox could not be made: {told['error']}")
        elif told.get("status") == -signal.SIGKILL and not self._doomed and self.starved:
            self.fault = errors.out_of_memory(None)
        self._finish(told.get("status", 1))

    def orphan(self) -> None:
        """The launcher is gone, so that nobody will tell."""
        self.severed = True
        self.fault = Fault(type=errors.SANDBOX, message="the launcher of sandboxes ended, and this one with it")
        if self._handle is None:
            self._loop.call_soon(self._finish, -signal.SIGKILL)
            return
        self.kill()
        self._watched = True
        self._loop.add_reader(self._handle, self._finish, -signal.SIGKILL)

    def _finish(self, status: int) -> None:
        if not self.alive:
            return
        self.alive = False
        self.status = status
        if self._handle is not None:
            if self._watched:
                self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None
        if not self._started.done():
            self._started.set_result(0)
        self._exited(status)
