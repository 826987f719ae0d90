"""Make calls whose callers wait for the answer: no queue, no retry, and an end when the hub's time is up."""

from __future__ import annotations

import math

import anyio

from triggerhub.hub.call import Caller
from triggerhub.hub.clock import Clock
from triggerhub.hub.dispatch import Dispatcher
from triggerhub.model import Interrupted, Invocation, Outcome
from triggerhub.policy import selecting
from triggerhub.settings import Function


class Direct:
    """The direct calls under way."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self._caller = caller
        self._clock = clock
        self._under_way: set[anyio.CancelScope] = set()
        self._until = math.inf

    def end_by(self, until: float) -> None:
        """Cut at *until*, on the loop's clock, what is under way then."""
        self._until = until
        for call in self._under_way:
            call.deadline = until

    async def ended(self) -> None:
        """Wait until none is under way."""
        while self._under_way:
            await anyio.sleep(0.01)

    async def call(self, dispatcher: Dispatcher, invocation: Invocation, record: bytes) -> tuple[Outcome, str]:
        """Return the outcome and the version that ran; *record* is where an idempotency key is read.

        Interrupted when the hub ends before the call does. Who waits longer than the function's timeout
        for his turn (rate, worker, another call with his key) is throttled.
        """
        function = dispatcher.function
        with anyio.CancelScope(deadline=self._until) as scope:
            self._under_way.add(scope)
            try:
                return await self._once(dispatcher, function, invocation, record)
            finally:
                self._under_way.discard(scope)
        return Interrupted(), function.version

    async def _once(
        self, dispatcher: Dispatcher, function: Function, invocation: Invocation, record: bytes
    ) -> tuple[Outcome, str]:
        key = None
        if function.idempotency:
            key = selecting.compile(function.idempotency.key).select(selecting.view(record))
        if key is None:
            return await self._in_turn(dispatcher, function, invocation)
        answered = await dispatcher.idempotent.once(
            function,
            key,
            invocation.request_id,
            lambda: self._in_turn(dispatcher, function, invocation),
            now=self._clock.now,
        )
        return answered or (self._caller.throttled(function), function.version)

    async def _in_turn(self, dispatcher: Dispatcher, function: Function, invocation: Invocation) -> tuple[Outcome, str]:
        with anyio.move_on_after(function.timeout / 1000) as patience:
            await dispatcher.throttle.pass_()
        if patience.cancelled_caught:
            return self._caller.throttled(function), function.version
        return await self._caller.call(function, invocation, patience=function.timeout)
