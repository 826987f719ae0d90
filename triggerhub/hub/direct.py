"""Make calls whose callers wait for the answer: no queue, no retry, and an end when the hub's time is up."""

from __future__ import annotations

import asyncio

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
        self._under_way: set[asyncio.Task[object]] = set()
        self._over = False

    def end_in(self, seconds: float) -> None:
        """Cut after so long what is under way then; nothing begins any more."""
        asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self._over = True
        for call in self._under_way:
            call.cancel()

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
        task = asyncio.current_task()
        assert task is not None, "who waits for an answer is a task"
        if self._over:
            return Interrupted(), function.version
        # Not a cancel scope of anyio's: it costs more than all else here, and this is done for every call.
        self._under_way.add(task)
        try:
            if function.idempotency or dispatcher.throttle.limits:
                return await self._once(dispatcher, function, invocation, record)
            return await self._caller.call(function, invocation, patience=function.timeout)
        except asyncio.CancelledError:
            if not self._over or task.uncancel():
                raise
            return Interrupted(), function.version
        finally:
            self._under_way.discard(task)

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
        if dispatcher.throttle.limits:
            with anyio.move_on_after(function.timeout / 1000) as patience:
                await dispatcher.throttle.pass_()
            if patience.cancelled_caught:
                return self._caller.throttled(function), function.version
        return await self._caller.call(function, invocation, patience=function.timeout)
