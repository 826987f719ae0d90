"""Hold the workers of one function."""

from __future__ import annotations

import asyncio

import anyio

from triggerhub.hub.room import Room, Share
from triggerhub.model import Millis
from triggerhub.policy.pooling import ahead_of_calls, pause
from triggerhub.runtime import Worker
from triggerhub.settings import Function


class Slot:
    """One worker and the wish for its end."""

    __slots__ = ("ahead", "bench", "function", "idle_since", "lent", "retired", "scope", "started", "worker")

    def __init__(self, function: Function, bench: Bench | None = None) -> None:
        self.function = function
        self.bench = bench
        """Whose it is, also once another bench has the function's name; None is a trial's."""
        self.worker: Worker
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.retired = asyncio.Event()
        self.scope = anyio.CancelScope()
        """What it is started and kept in."""
        self.idle_since: Millis = 0
        self.ahead = False
        """Whether it was there before a call needed it."""
        self.lent = False
        """Whether a call has ever had it."""

    def retire(self) -> None:
        """Let it end; one that is still being started does not go on with that."""
        self.retired.set()
        if not self.started.done():
            self.scope.cancel()


class Bench:
    """The workers of one function, and its share of what may run at once."""

    def __init__(self, function: Function, room: Room) -> None:
        self.function = function
        self.share = Share(room)
        self.idle: list[Slot] = []
        self.starting: list[Slot] = []
        """Those that are started ahead; a caller who finds none idle takes the first and waits for it."""
        self.forgotten = False
        """Whether its function was removed: who has a worker or waits for one is served to the end, and no more."""
        self.live = 0
        """Idle, lent and starting ones of the current version; retired ones do not count."""
        self.prepares = False
        """Whether workers may be started ahead of the calls that need them."""
        self.spare = function.runtime != "executable"
        """Whether one is to be idle while others are lent; not once one ended by ``idle``: there was one too many."""
        self.failures = 0
        """How many workers in a row, started ahead, were lost before a call had one."""
        self.resumes = 0.0
        """When one may be started ahead again, on the loop's clock."""
        self.trouble = ""
        """Why none can be started ahead."""

    @property
    def ready(self) -> int:
        """How many workers a caller may have without starting one: idle ones, and those that are started ahead."""
        return len(self.idle) + len(self.starting)

    def missing(self, *, spare: bool) -> int:
        """Return how many workers are to be started ahead now."""
        if not self.prepares or self.forgotten or asyncio.get_running_loop().time() < self.resumes:
            return 0
        function = self.function
        lent = self.live - self.ready
        return ahead_of_calls(
            ready=self.ready,
            lent=lent,
            limit=function.concurrency,
            warm=function.warm,
            spare=spare and self.spare,
            fresh=function.reuse == "fresh",
        )

    def lost(self) -> float:
        """Take note of a worker that was started ahead in vain; returns the seconds until the next may be started."""
        self.failures += 1
        wait = pause(self.failures)
        self.resumes = asyncio.get_running_loop().time() + wait
        return wait

    def proved(self) -> None:
        """Take note of a worker that served."""
        self.failures, self.resumes, self.trouble = 0, 0.0, ""

    def clear(self) -> list[Slot]:
        """Give up, and return, the workers that are not lent."""
        slots = [*self.idle, *self.starting]
        self.idle, self.starting = [], []
        return slots
