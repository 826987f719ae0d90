"""Bear with a service that fails: rest longer and longer, for ever, and say so once and not in a flood."""

from __future__ import annotations

import random
from collections.abc import Collection

import anyio

from triggerhub.awsfault import AwsFault
from triggerhub.policy.quiet import Quiet
from triggerhub.policy.retry import backoff
from triggerhub.settings import MINUTE, SECOND, RetryPolicy
from triggerhub.source import Context
from triggerhub.stream.endpoint import GoneError

RESTS = RetryPolicy(initial=SECOND // 4, max=15 * SECOND)
BORNE = {"unreachable": 2, "throttled": 20}
"""Failures in a row, of each kind, that are nobody's business."""


class Trouble:
    """What ails a trigger's stream, by part: a shard, or the stream as a whole under an empty name."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._failures: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._quiet = Quiet(every=MINUTE)
        self._shown: str | None = None

    async def rest(self, part: str, error: AwsFault | GoneError) -> None:
        """Count a failure and sleep; what does not pass soon makes the trigger degraded."""
        count = self._failures[part] = self._failures.get(part, 0) + 1
        if count > BORNE.get(error.kind if isinstance(error, AwsFault) else "missing", 0):
            self._told[part] = f"{error.message}; {error.hint}" if error.hint else error.message
            self._show()
        await anyio.sleep(backoff(count, RESTS, draw=0.5 + random.random() / 2) / 1000)

    def over(self, part: str) -> None:
        """Say that a part is well."""
        self._failures.pop(part, None)
        if self._told.pop(part, None) is not None:
            self._show()

    def only(self, parts: Collection[str]) -> None:
        """Forget what ailed other parts than these: they are no more."""
        for part in self._failures.keys() - set(parts):
            self.over(part)

    def _show(self) -> None:
        """Show one of the reasons; each change of it is a line in the log."""
        reasons = sorted(self._told.items())
        if not reasons:
            self._shown = None
        elif self._shown in self._told.values() or (self._shown and not self._quiet.due(self._ctx.now())):
            return
        else:
            self._shown = reasons[0][1]
        self._ctx.degraded(self._shown)
