"""Look up dedup keys for many callers in one read.

A hop into a connection's thread costs more than the statement that it is made for. What arrives while a read runs joins
the next; a lone caller waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from triggerhub.model import Delivery, Millis

Asked = tuple[str, Sequence[str], Millis]
"""A trigger, dedup keys, and the moment at which they are to be known."""
Found = dict[str, Delivery]


@dataclass(eq=False, slots=True)
class _Caller:
    asked: Asked
    found: Found | None = None


@dataclass(slots=True)
class Lookup:
    """One reader's callers; each that gets its turn reads for all that wait."""

    read: Callable[[Sequence[Asked]], Awaitable[list[Found]]]
    _waiting: list[_Caller] = field(default_factory=list, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def ask(self, trigger: str, keys: Sequence[str], now: Millis) -> Found:
        """Return the deliveries by key. What goes wrong, or is cancelled, does so for nobody else."""
        caller = _Caller((trigger, keys, now))
        self._waiting.append(caller)
        try:
            async with self._turn:
                if caller.found is None:
                    group = self._waiting
                    self._waiting = []
                    try:
                        answers = await self.read([one.asked for one in group])
                    except BaseException:
                        self._waiting += group
                        raise
                    for one, found in zip(group, answers, strict=True):
                        one.found = found
        finally:
            if caller in self._waiting:
                self._waiting.remove(caller)
        assert caller.found is not None
        return caller.found
