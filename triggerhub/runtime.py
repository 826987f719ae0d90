"""Say what runs a function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from triggerhub.model import Invocation, Outcome
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.settings import Function, Level


class Output(Protocol):
    """Takes what a worker writes; never blocks and never raises."""

    def write(
        self, function: Function, request_id: str | None, stream: Literal["stdout", "stderr", "hub"], text: str
    ) -> None:
        """Keep *text* (whole lines, without the last newline) under the request that was running, if any."""
        ...


class Worker(Protocol):
    """One live process of a function's version; runs one invocation at a time."""

    @property
    def alive(self) -> bool:
        """Whether another invocation may be given to it."""
        ...

    @property
    def pid(self) -> int | None: ...

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Never raises for what the function did: every fault is an ``Outcome``.

        At the deadline the whole process group is killed and the outcome is TimedOut. Cancelled: the
        same kill, then the cancellation goes on; the worker is no longer alive.
        """
        ...


class Environments(Protocol):
    """Builds what functions depend on, ahead of their first start."""

    def ready(self, function: Function) -> bool:
        """Whether all is there that the function depends on."""
        ...

    async def build(self, function: Function, tell: Callable[[str], None]) -> None:
        """Build what is missing; takes as long as the network does. Raises ConfigError.

        *tell* is called with lines that say how far it is, for people.
        """
        ...


class Runtime(Protocol):
    """Starts workers."""

    def level(self, function: Function) -> Level | Refusal:
        """Return the level at which the host runs a function, or why it does not run it."""
        ...

    def start(self, function: Function) -> AbstractAsyncContextManager[Worker]:
        """Enter with a worker that has imported the user's code; leave with no process of it alive.

        Raises StartFailed when the code cannot be loaded; its payload is the error the caller sees.
        """
        ...
