"""Answer repeated deliveries from what their idempotency key is known to have returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio
import structlog

from triggerhub.errors import StoreFull
from triggerhub.model import Millis, Outcome, Returned
from triggerhub.settings import Function
from triggerhub.store import Answered, Claimed, Store

log = structlog.get_logger("dispatch")

LOOK_AGAIN: Millis = 250
"""How long a delivery steps back while another one with its key runs."""


def holder(claimed: Claimed) -> str:
    """Name the claim: a delivery that was cancelled and redriven may be claimed again while its first call is cut."""
    return f"{claimed.delivery.id}/{claimed.fence.claim}"


_Key: TypeAlias = tuple[str, str]
"""A function's name, and an idempotency key of its own."""


class Idempotent:
    """Keeps a function's calls of one key from running side by side: also those of one that left, and came back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: dict[_Key, str] = {}
        """Keys under way, and who holds each: see :func:`holder`."""
        self._held: dict[str, _Key] = {}

    async def sift(
        self, claimed: Sequence[Claimed], *, now: Millis
    ) -> tuple[list[Claimed], list[tuple[Claimed, Millis]], list[Claimed]]:
        """Return those already answered, those to look at again at a moment, and those to run.

        Keys are taken before the answers are read: what was answered just before is then found.
        """
        keyed = [
            (holder(one), (one.delivery.function, key)) for one in claimed if (key := one.delivery.idempotency_key)
        ]
        if not keyed:
            return [], [], list(claimed)
        held = {name: key for name, key in keyed if self.hold(key, name)}
        waiting = {name for name, _ in keyed} - held.keys()
        answers = await self._store.answer(list(held.values()), now=now)
        known = {name for name, answer in zip(held, answers, strict=True) if answer is not None}
        done, later, run = [], [], []
        for one in claimed:
            if holder(one) in known:
                done.append(one)
            elif holder(one) in waiting:
                later.append((one, now + LOOK_AGAIN))
            else:
                run.append(one)
        return done, later, run

    async def once(
        self,
        function: Function,
        key: str,
        name: str,
        call: Callable[[], Awaitable[tuple[Outcome, str]]],
        *,
        now: Callable[[], Millis],
    ) -> tuple[Outcome, str] | None:
        """Make a call that somebody waits for, or repeat the stored answer.

        None where another call with its key went on for longer than the function's timeout.
        """
        with anyio.move_on_after(function.timeout / 1000) as patience:
            while not self.hold((function.name, key), name):
                await anyio.sleep(LOOK_AGAIN / 1000)
        if patience.cancelled_caught:
            return None
        try:
            (answer,) = await self._store.answer([(function.name, key)], now=now())
            if answer is not None:
                return Returned(payload=answer), function.version
            outcome, version = await call()
            if isinstance(outcome, Returned) and function.idempotency:
                until = now() + function.idempotency.keep
                await self._keep(Answered(function=function.name, key=key, payload=outcome.payload, until=until))
            return outcome, version
        finally:
            self.done(name)

    async def _keep(self, answer: Answered) -> None:
        try:
            await self._store.keep_answer(answer)
        except StoreFull:  # the call was made, and its answer is the caller's
            log.error("the disk is full: an answer could not be kept for its idempotency key", function=answer.function)

    def hold(self, key: _Key, name: str) -> bool:
        """Take a key for a call; False while another call has it."""
        if self._busy.setdefault(key, name) != name:
            return False
        self._held[name] = key
        return True

    def done(self, name: str) -> None:
        """Free what a call held: its outcome is committed."""
        key = self._held.pop(name, None)
        if key is not None:
            self._busy.pop(key, None)
