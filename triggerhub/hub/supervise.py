"""Keep every trigger's source running, for as long as it takes."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import structlog

from triggerhub.errors import StoreBroken
from triggerhub.hub.context import SourceContext
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.grace import Grace
from triggerhub.model import Millis
from triggerhub.policy.retry import backoff
from triggerhub.settings import MINUTE, SECOND, RetryPolicy, Trigger
from triggerhub.source import Source

log = structlog.get_logger("source")

RESTARTS = RetryPolicy(initial=SECOND, max=MINUTE)
"""How long a failing source rests: 1 s, doubled up to a minute, with jitter, for ever."""
WELL: Millis = MINUTE
"""A source that ran this long starts counting its failures anew."""
ACKNOWLEDGE = 2.0
"""Seconds beyond the drain in which a source may tell the outside what became of calls that were cut."""
STUBBORN = 3.0
"""Seconds after its cancellation in which a source has to end; then it is waited for no longer."""
STUCK = "its former source does not end, although it was cancelled; a restart of the hub ends it"
STEADY = 5.0
"""Seconds after which a source that was started again is shown as well."""


@dataclass(slots=True)
class Supervised:
    """One trigger's source and how it does."""

    trigger: Trigger
    source: Source
    timezone: str
    after: Supervised | None = None
    """The one before it, of which nothing may run beside it."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    peace: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the run; shielded, no cancellation reaches the source."""
    why: str | None = None
    """Why it is degraded; None is well."""
    begun: anyio.Event = field(default_factory=anyio.Event)
    """Set once the source misses nothing any more, or has said what keeps it."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    left: bool = False
    """Whether it was left behind, since it did not end when it had to."""
    released: anyio.Event = field(default_factory=anyio.Event)
    """Set once it has ended or was left behind."""
    grace: Grace = field(init=False)

    @property
    def stuck(self) -> bool:
        """Whether it, or the one before it, was left behind and has not ended yet."""
        return (self.left and not self.ended.is_set()) or (self.after is not None and self.after.stuck)

    def __post_init__(self) -> None:
        self.grace = Grace(self.scope.cancel)

    def end(self, drain: float) -> None:
        """Cancel the source, which may finish within *drain* seconds what it has fetched."""
        until = anyio.current_time() + drain
        self.scope.deadline = until + ACKNOWLEDGE
        self.grace.end(until)
        self._wait_until(self.scope.deadline + STUBBORN)

    async def stop(self, drain: float) -> None:
        """End the source and wait for its end, or until it is left behind."""
        self.end(drain)
        await self.released.wait()

    def _wait_until(self, moment: float) -> None:
        asyncio.get_running_loop().call_at(moment, self._leave)

    def _leave(self) -> None:
        if not self.released.is_set():
            self.left = True
            log.error("a source does not end; it is left behind", trigger=self.trigger.name, on_screen=True)
            self.released.set()
            self._calm()

    def _calm(self) -> None:
        """Cancel it now and then only: at each of its steps it would take all of a processor."""
        if not self.ended.is_set():
            self.peace.shield = True
            asyncio.get_running_loop().call_later(STUBBORN, self._remind)

    def _remind(self) -> None:
        # It may have been busy in a thread, and hear of it now.
        self.peace.shield = False
        asyncio.get_running_loop().call_soon(self._calm)

    async def keep(self, make: Callable[[Callable[[str | None], None]], SourceContext], feed: Feed) -> None:
        """Run the source until stopped; whatever it raises, run it again after a rest.

        Returns without a source that does not end.
        """
        # In no group, which would wait for it for ever.
        task = asyncio.ensure_future(self._keep(make, feed))
        task.add_done_callback(self._over)
        try:
            await self.released.wait()
        except anyio.get_cancelled_exc_class():
            self.scope.cancel()
            self._wait_until(anyio.current_time() + STUBBORN)
            with anyio.CancelScope(shield=True):
                await self.released.wait()
            raise
        if task.done():
            task.result()

    def _over(self, task: asyncio.Task[None]) -> None:
        self.ended.set()
        self.released.set()
        if not task.cancelled():
            # Of one that was left behind, nobody asks for it.
            task.exception()

    async def _keep(self, make: Callable[[Callable[[str | None], None]], SourceContext], feed: Feed) -> None:

        def report(why: str | None) -> None:
            if why == self.why:
                return
            self.why = why
            self.begun.set()
            kind = "degraded" if why else "recovered"
            if why:
                log.warning("a trigger is degraded", trigger=self.trigger.name, why=why, on_screen=True)
            else:
                log.info("a trigger is well again", trigger=self.trigger.name)
            feed.publish(Happening(time=ctx.now(), kind=kind, trigger=self.trigger.name, text=why or ""))

        ctx = make(report)
        failures = 0
        try:
            with self.scope:
                if self.after is not None:
                    await self.after.released.wait()
                    if self.after.stuck:
                        report(STUCK)
                    await self.after.ended.wait()
                    self.after = None
                    report(None)
                while True:
                    began = ctx.now()
                    async with anyio.create_task_group() as beside:
                        beside.start_soon(self._recover, self.why, report)
                        error = await self._once(ctx)
                        beside.cancel_scope.cancel()
                    failures = 1 if ctx.now() - began > WELL else failures + 1
                    rest = backoff(failures, RESTARTS, draw=0.5 + random.random() / 2)
                    report(f"{error}; it is started again in {rest / 1000:.1f} s")
                    await anyio.sleep(rest / 1000)
        finally:
            self.begun.set()

    async def _recover(self, why: str | None, report: Callable[[str | None], None]) -> None:
        """Take back that the last run failed, unless the source itself says by then how it does."""
        await anyio.sleep(STEADY)
        if self.why == why:
            report(None)

    async def _once(self, ctx: SourceContext) -> str:
        """Run the source once; return why it ended."""
        self.peace = anyio.CancelScope()
        try:
            with self.peace:
                await self.source.run(ctx, self.trigger.options)
        except (Exception, SystemExit, KeyboardInterrupt, anyio.get_cancelled_exc_class()) as raised:
            # A source is anybody's code; it must not take the hub down, nor end unseen by a cancellation of its own.
            error = innermost(raised)
            if isinstance(error, anyio.get_cancelled_exc_class()):
                if anyio.current_effective_deadline() == -math.inf:
                    raise
                return "it was cancelled from within"
            if isinstance(error, StoreBroken):
                raise
            log.error("a source failed", trigger=self.trigger.name, exc_info=error)
            return f"{type(error).__name__}: {error}"
        return "its source returned, which none should"


def innermost(error: BaseException) -> BaseException:
    """Return the first error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
