"""Run one shard's records through the trigger's function while the stream keeps them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import anyio
import anyio.lowlevel

from triggerhub.crash import crash_point
from triggerhub.model import Interrupted, Outcome
from triggerhub.policy import streaming
from triggerhub.policy.streaming import (
    Call,
    FailedFrom,
    GiveUp,
    Plan,
    Position,
    Shard,
    Step,
    Succeeded,
    Unheard,
    Verdict,
)
from triggerhub.source import Context, Handled
from triggerhub.stream import shape
from triggerhub.stream.cursor import Cursor
from triggerhub.stream.endpoint import After, At, Described, Endpoint, GoneError, Latest, Oldest, Place
from triggerhub.stream.reading import records
from triggerhub.stream.trouble import Trouble


class ShardHandling:
    """One shard on its way through the function."""

    def __init__(
        self,
        ctx: Context,
        endpoint: Endpoint,
        described: Described,
        shard: str,
        key: str,
        plan: Plan,
        position: Position,
        trouble: Trouble,
        *,
        fresh: bool,
    ) -> None:
        """*key* is where the position is stored; *fresh* says that reading begins at the shard's end."""
        self._ctx = ctx
        self._endpoint = endpoint
        self._described = described
        self._id = shard
        self._key = key
        self._plan = plan
        self._position = position
        self._stored = position.encode()
        self._fresh = fresh
        self._shard = Shard(plan, position, latest=fresh)
        self._cursor = Cursor(ctx, endpoint, described, shard, self._place, trouble)
        self._committing: set[int] = set()
        """Lanes whose last step is on its way into the store."""
        self._unheard: set[int] = set()
        """Lanes whose last call did not come about: the function is paused, or the hub stops."""
        self._running = 0
        """Steps under way."""
        self._gone: GoneError | None = None
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Return once the shard is closed and all of it done. GoneError where it is not there any more."""
        if self._position.window is not None and not self._plan.tumbling:
            self._ctx.log.warning("the state of an open window is dropped: there are no windows now", shard=self._id)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fill)
            while not self._over():
                self._changed = anyio.Event()
                for step in self._shard.take(self._ctx.now(), self._committing):
                    self._running += 1
                    tasks.start_soon(self._do, step)
                if not self._running:
                    await self._remember()
                await self._rest()
            tasks.cancel_scope.cancel()
        await self._remember()
        if not self._shard.finished:
            raise self._gone or AssertionError("a shard is over when it is finished, or gone")

    def _over(self) -> bool:
        """Whether there is nothing more to do, nor under way."""
        return not self._running and (self._shard.finished or (self._gone is not None and self._shard.drained))

    def _stir(self) -> None:
        self._changed.set()

    async def _rest(self) -> None:
        moment = self._shard.next(self._committing)
        if moment is None:
            await self._changed.wait()
            return
        # A clock that is set is noticed within a second.
        with anyio.move_on_after(min(1.0, max(0.001, (moment - self._ctx.now()) / 1000))):
            await self._changed.wait()

    # reading

    def _place(self) -> Place:
        if self._shard.read_after is not None:
            return After(self._shard.read_after)
        if self._fresh:
            # Once: what arrives until the service is asked a second time would be passed over.
            self._fresh = False
            return Latest()
        self._shard.anew()
        return Oldest() if self._shard.since is None else At(self._shard.since)

    async def _fill(self) -> None:
        while True:
            while not (room := self._shard.room()):
                await self._changed.wait()
                await anyio.lowlevel.checkpoint()
            began = self._ctx.now()
            try:
                page = await self._cursor.page(room)
            except GoneError as error:
                self._gone = error
                self._stir()
                return
            crash_point("records-read")
            self._shard.feed(await records(self._ctx, self._endpoint, self._described, self._id, page), self._ctx.now())
            if page.next is None:
                self._shard.end()
            elif not page.records and not page.more:
                # By the clock that stamps records, if it is told: this host's may be ahead of it.
                self._shard.quiet(began if page.now is None else page.now)
            self._stir()
            if page.next is None:
                return

    # what is done

    async def _do(self, step: Step) -> None:
        try:
            if step.lane in self._unheard:
                await self._ctx.free()
            async with self._ctx.finish():
                if isinstance(step, Call):
                    await self._call(step)
                else:
                    await self._give_up(step)
        finally:
            self._running -= 1
            self._stir()

    async def _call(self, step: Call) -> None:
        events = [shape.event(record) for record in step.records]
        payload = None
        if step.windowed is not None:
            payload = shape.payload(step.records, step.windowed, self._described, self._id)
        found: list[Verdict] = []

        def judge(outcome: Outcome, request_id: str, carried: Sequence[int]) -> list[Outcome]:
            verdict, why = streaming.verdict(step, outcome, self._plan, request_id)
            found.append(verdict)
            return shape.outcomes(verdict, outcome, why, carried)

        def settle(handled: Handled) -> dict[str, str | None]:
            self._settle(step, _verdict(step, handled, found))
            self._committing.add(step.lane)
            return self._checkpoint(besides=step.lane)

        try:
            await self._ctx.handle(*events, payload=payload, judge=judge, checkpoints=settle)
            if step.lane not in self._committing:
                self._settle(step, Unheard())  # the function is not there any more
        finally:
            self._committing.discard(step.lane)
        crash_point("position-stored")

    def _settle(self, step: Call, verdict: Verdict) -> None:
        (self._unheard.add if isinstance(verdict, Unheard) else self._unheard.discard)(step.lane)
        self._shard.obey(self._ctx.retry)
        self._shard.settle(step, verdict, self._ctx.now(), random.random())

    async def _give_up(self, step: GiveUp) -> None:
        ctx = self._ctx
        why = shape.reason(step)
        body = shape.failure(step, self._endpoint, self._described, self._id, ctx.trigger.functions[0], now=ctx.now())
        events = [shape.event(record) for record in step.records]
        # The position passes them only afterwards; killed in between, they are known as dead, and passed over.
        await ctx.bury(*events, why=why, outcome=Interrupted(), body=body)
        crash_point("given-up")
        self._shard.gave_up(step)

    # the position

    def _checkpoint(self, besides: int | None = None) -> dict[str, str | None]:
        """Return what to store now: nothing while another lane's step is on its way, which may yet get lost."""
        if self._committing - {besides}:
            return {}
        position = self._shard.position(self._ctx.now()).encode()
        if position == self._stored:
            return {}
        self._stored = position
        return {self._key: position}

    async def _remember(self) -> None:
        """Store how far the shard is handled, where no step did."""
        if values := self._checkpoint():
            await self._ctx.set_checkpoints(values)


def _verdict(step: Call, handled: Handled, found: list[Verdict]) -> Verdict:
    """Return what came of a step: a record that was withheld from its call is not passed over.

    Of one whose records the hub had already, there was no call.
    """
    verdict: Verdict = found[-1] if found else Succeeded() if step.records else Unheard()
    match verdict:
        case Succeeded():
            passed = handled.done
        case FailedFrom(index=index):
            passed = handled.done[:index]
        case _:
            return verdict
    return verdict if all(passed) else Unheard()
