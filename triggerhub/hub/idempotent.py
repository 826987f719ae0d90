"""Answer repeated deliveries from what their idempotency key is known to have returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from triggerhub.model import Millis, Outcome, Returned
from triggerhub.settings import Function
from triggerhub.store import Answered, Claimed, Store

LOOK_AGAIN: Millis = 250
"""How long a delivery steps back while another one with its key runs."""


class Idempotent:
    """Keeps one function's deliveries of one key from running side by side."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: dict[str, str] = {}
        """Idempotency keys under way, by the delivery that holds each."""
        self._held: dict[str, str] = {}

    async def sift(
        self, claimed: Sequence[Claimed], *, now: Millis
    ) -> tuple[list[Claimed], list[tuple[Claimed, Millis]], list[Claimed]]:
        """Return those already answered, those to look at again at a moment, and those to run."""
        if not any(one.delivery.idempotency_key for one in claimed):
            return [], [], list(claimed)
        keyed = [one for one in claimed if one.delivery.idempotency_key]
        answers = await self._store.answer(
            [(one.delivery.function, one.delivery.idempotency_key or "") for one in keyed], now=now
        )
        known = {one.delivery.id for one, answer in zip(keyed, answers, strict=True) if answer is not None}
        done, later, run = [], [], []
        for one in claimed:
            key = one.delivery.idempotency_key
            if one.delivery.id in known:
                done.append(one)
            elif key is None or self.hold(key, one.delivery.id):
                run.append(one)
            else:
                later.append((one, now + LOOK_AGAIN))
        return done, later, run

    async def once(
        self,
        function: Function,
        key: str,
        holder: str,
        call: Callable[[], Awaitable[tuple[Outcome, str]]],
        *,
        now: Callable[[], Millis],
    ) -> tuple[Outcome, str]:
        """Make a call that somebody waits for, or repeat the stored answer; waits while its key is under way."""
        while True:
            (answer,) = await self._store.answer([(function.name, key)], now=now())
            if answer is not None:
                return Returned(payload=answer), function.version
            if self.hold(key, holder):
                break
            await anyio.sleep(LOOK_AGAIN / 1000)
        try:
            outcome, version = await call()
            if isinstance(outcome, Returned) and function.idempotency:
                until = now() + function.idempotency.keep
                kept = Answered(function=function.name, key=key, payload=outcome.payload, until=until)
                await self._store.keep_answer(kept)
            return outcome, version
        finally:
            self.done(holder)

    def hold(self, key: str, holder: str) -> bool:
        """Take a key for a call; False while another call has it."""
        if self._busy.setdefault(key, holder) != holder:
            return False
        self._held[holder] = key
        return True

    def done(self, holder: str) -> None:
        """Free what a call held: its outcome is committed."""
        key = self._held.pop(holder, None)
        if key is not None:
            self._busy.pop(key, None)
