"""Take messages from an SQS queue, and delete only what the hub has, stored or handled."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from triggerhub import source
from triggerhub.awsclient import Connection
from triggerhub.awsfault import AwsFault, Trouble
from triggerhub.awsmessage import Message, Part, given, sorted_out
from triggerhub.awsreceipt import REQUEST, Receipts
from triggerhub.crash import crash_point
from triggerhub.errors import BadInput
from triggerhub.model import Event, Millis
from triggerhub.policy import receiving
from triggerhub.policy.batching import fit
from triggerhub.policy.quiet import Quiet
from triggerhub.policy.retry import backoff
from triggerhub.settings import MB, SECOND

PAYLOAD = 6 * MB
"""What one call may carry."""
STORING = 8
"""How many receivers there are at most where messages are stored at once."""
CLOSING, CLOSING_BYTES = 32, 16 * MB
"""How many batches at most have been run, and are being written and deleted: that takes as long as the disk does. Past
so many bytes of them none is begun."""
AGAIN = 0.5
"""Seconds after which a message that could not be run yet is tried again."""
TOLD = 60
"""Seconds between lines of the log of messages that cannot be taken."""
SHORTEST = 30
"""Seconds that a message is hidden for where its queue says less: a beat must not come too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue that was found."""

    url: str
    arn: str
    fifo: bool
    visibility: int
    """Seconds that it hides a received message for."""
    redrives: bool
    """Whether it moves away what is received too often."""


EventsOf = Callable[[dict[str, Any], "Queue"], Sequence[Event]]
"""Which events a message holds: none is a message of no use, which is deleted. Whatever it raises leaves that one
to the queue; BadInput says why in words."""


@dataclass(slots=True)
class _Turn:
    """A batch on its way, and the place that it takes among those that ask or run."""

    batch: list[Message] = field(default_factory=list)
    placed: bool = True

    @property
    def size(self) -> int:
        return sum(one.size for one in self.batch)


@dataclass(slots=True, kw_only=True)
class Consumer:
    """Takes messages from one queue for one trigger."""

    ctx: source.Context
    connection: Connection
    trouble: Trouble
    queue: Queue
    events_of: EventsOf
    wait: Millis
    visibility: Millis | None = None
    """How long a received message is hidden unless that is renewed; the queue's own where absent."""
    _askers: int = field(default=1, init=False)
    """How many may ask at once."""
    _limit: int = field(default=1, init=False)
    """How many may be under way, asking or running."""
    _asking: int = field(default=0, init=False)
    _running: int = field(default=0, init=False)
    _closing: int = field(default=0, init=False)
    _closing_bytes: int = field(default=0, init=False)
    """How many batches have been run, and are being written and told to the queue: meanwhile others may ask."""
    _under_way: list[list[Message]] = field(default_factory=list, init=False)
    _last: dict[str | None, Part] = field(default_factory=dict, init=False)
    """Of a FIFO queue: what came last of each group that is being handled."""
    _unanswered: list[str] = field(default_factory=list, init=False)
    """Of a FIFO queue: requests that may have been carried out, and are to be repeated."""
    _untaken: Quiet = field(default_factory=lambda: Quiet(every=TOLD), init=False)
    _receipts: Receipts = field(init=False)
    _tasks: TaskGroup = field(init=False)

    def __post_init__(self) -> None:
        self._receipts = Receipts(self.ctx.log, self.connection, self.trouble, self.queue.url)

    async def run(self) -> None:
        """Receive until cancelled; a stop lets what was received be handled, at most as long as the drain is."""
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._beat)
            self._start()

    # receiving

    @property
    def _handles(self) -> bool:
        return self.ctx.trigger.ack == "handled"

    @property
    def _hidden(self) -> int:
        """Seconds that messages are hidden for."""
        if self.visibility is not None:
            return max(1, self.visibility // SECOND)
        return max(self.queue.visibility, SHORTEST)

    @property
    def _most(self) -> int:
        return self.ctx.places if self._handles else STORING

    def _start(self) -> None:
        while (
            self._asking < self._askers
            and self._running < self._limit
            and self._closing < CLOSING
            and self._closing_bytes < CLOSING_BYTES
        ):
            self._asking += 1
            self._running += 1
            self._tasks.start_soon(self._receive, name=f"receive:{self.ctx.trigger.name}")

    async def _receive(self) -> None:
        """Ask and handle by turns, for as long as one more is wanted."""
        turn = _Turn()
        try:
            while True:
                try:
                    await self._turn(turn)
                except AwsFault as fault:
                    self._reckon("failed")
                    await self.trouble.rest(fault)
                    continue
                if not turn.placed:
                    return  # another took the place
                if self._running > self._limit or self._asking >= self._askers:
                    return
                self._asking += 1
                turn = _Turn()
        finally:
            if turn.placed:
                self._running -= 1
            else:
                self._closing -= 1
                self._closing_bytes -= turn.size
                self._start()

    def _ran(self, turn: _Turn) -> None:
        """Give the place of a batch to another: it has been run, and what is left of its way takes no worker."""
        if turn.placed:
            turn.placed = False
            self._running -= 1
            self._closing += 1
            self._closing_bytes += turn.size
            self._start()

    def _reckon(self, turn: receiving.Turn) -> None:
        """Let there be as many as the turn of one of them makes worthwhile."""
        self._askers = receiving.askers(self._askers, turn, most=self._most)
        self._limit = receiving.batches(self._limit, turn, running=self._running, most=self._most)

    async def _turn(self, turn: _Turn) -> None:
        """Take one batch on its whole way. Raises AwsFault where nothing was received."""
        if self._handles:
            await self.ctx.free()
        batch = turn.batch
        async with self.ctx.finish():
            self._under_way.append(batch)
            try:
                asked = await self._gather(batch)
                self._asking -= 1
                # SQS looks at a part of its servers only: a request that is half filled tells of a backlog.
                self._reckon("empty" if not batch else "full" if len(batch) * 2 >= asked else "some")
                if not batch:
                    return
                self._start()
                crash_point("received")
                failed = await self._take(turn)
            finally:
                self._under_way = [one for one in self._under_way if one is not batch]
        if failed and not self.ctx.trigger.batch.partial_failures:
            self._reckon("failed")

    async def _gather(self, got: list[Message]) -> int:
        """Receive until a batch has its size, its window is over, or it is as large as a call may be.

        Returns how many were asked for.
        """
        batch = self.ctx.trigger.batch
        size, window = (batch.size, batch.window) if self._handles else (REQUEST, 0)
        got += await self._request(min(size, REQUEST), self.wait)
        if not got or not window:
            return min(size, REQUEST)
        until = anyio.current_time() + window / 1000
        weight = sum(one.size for one in got)
        while len(got) < size and weight < PAYLOAD and not self.ctx.ending:
            left = until - anyio.current_time()
            if left <= 0:
                break
            wait = min(self.wait, int(left * 1000))
            try:
                more = await self._request(min(size - len(got), REQUEST), wait)
            except AwsFault:
                break  # what there is goes its way; the next turn meets the trouble
            got += more
            weight += sum(one.size for one in more)
            if not more and wait < SECOND:
                await anyio.sleep(max(0.0, until - anyio.current_time()))
        return size

    async def _request(self, count: int, wait: Millis) -> list[Message]:
        asked: dict[str, Any] = {
            "QueueUrl": self.queue.url,
            "MaxNumberOfMessages": count,
            "WaitTimeSeconds": wait // SECOND,
            "VisibilityTimeout": self._hidden,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        if self.queue.fifo:
            # An answer that is lost would keep a group's messages hidden: the same attempt gets the same answer.
            asked["ReceiveRequestAttemptId"] = self._unanswered.pop() if self._unanswered else str(uuid4())
        try:
            answer = await self.connection.call("receive_message", **asked)
        except AwsFault as fault:
            if self.queue.fifo and fault.kind == "unreachable":
                self._unanswered.append(asked["ReceiveRequestAttemptId"])
            raise
        got = [self._read(raw) for raw in given(answer)]
        self.trouble.well()
        renew = anyio.current_time() + receiving.hidden(self._hidden)
        for one in got:
            one.renew = renew
        return got

    def _read(self, raw: dict[str, Any]) -> Message:
        try:
            return Message(raw, self.events_of(raw, self.queue))
        except BadInput as error:
            return Message(raw, refused=error)
        except Exception as error:  # a source's code: the message bears it, not the others
            return Message(raw, refused=BadInput(f"it could not be read: {error!a}"))

    async def _beat(self) -> None:
        """Keep hidden what is under way: each message by its own time, whatever keeps the others."""
        every = receiving.hidden(self._hidden)
        while True:
            await anyio.sleep(every / 4)
            now = anyio.current_time()
            late = [one for batch in self._under_way for one in batch if one.renew <= now and not one.settled]
            for start in range(0, len(late), REQUEST):
                part = late[start : start + REQUEST]
                for one in part:
                    one.renew = math.inf  # until it was
                self._tasks.start_soon(partial(self._receipts.renew, part, self._hidden, every=every))

    # handling

    async def _take(self, turn: _Turn) -> bool:
        """Store or handle a batch and acknowledge it; whether every call of it failed."""
        batch = turn.batch
        behind: set[str | None] = set()
        for one in batch:
            if one.refused is not None:
                await self._singly([one], one.refused, self._store)
                behind.add(one.group)
            elif self.queue.fifo and one.group in behind:
                await self._receipts.give_back([one], 0)
        left = [one for one in batch if not one.settled]
        await self._receipts.delete([one for one in left if not one.events])
        rest = [one for one in left if one.events]
        if not self._handles:
            await self._store(rest)
            return False
        if not self.queue.fifo:
            return await self._handle(rest, turn)
        groups: dict[str | None, list[Message]] = {}
        for one in rest:
            groups.setdefault(one.group, []).append(one)
        ends: list[bool] = []

        async def handle(name: str | None, part: Part, before: Part | None) -> None:
            try:
                if await self._follows(part, before):
                    ends.append(await self._handle(part.messages))
                    part.stuck = next((one.id for one in part.messages if not one.done), None)
            finally:
                part.over.set()
                if self._last.get(name) is part:
                    del self._last[name]

        async with anyio.create_task_group() as tasks:
            for name, group in groups.items():
                part, before = Part(group, group[0].id), self._last.get(name)
                self._last[name] = part
                tasks.start_soon(handle, name, part, before)
        return bool(ends) and all(ends)

    async def _follows(self, part: Part, before: Part | None) -> bool:
        """Wait for what came before of the same group, and say whether this may come after it.

        It was given before that was handled: its time in hiding could not be renewed, or the service gave one group to
        two requests at once. Where that failed, this is not to overtake it.
        """
        if before is None:
            return True
        await before.over.wait()
        if before.stuck is None or before.stuck in {one.id for one in part.messages}:
            return True
        part.stuck = before.stuck
        if self.ctx.ending:
            await self._receipts.give_back(part.messages, 0)
        else:
            await self._back_off(part.messages)
        return False

    async def _store(self, batch: Sequence[Message]) -> bool:
        """Store a batch and delete it; whether all of it was."""
        events = [event for one in batch for event in one.events]
        try:
            if events:
                await self.ctx.emit(*events)
        except BadInput as error:
            return await self._singly(batch, error, self._store)
        crash_point("stored")
        await self._receipts.delete(batch)
        return True

    async def _singly(
        self, batch: Sequence[Message], error: BadInput, take: Callable[[Sequence[Message]], Awaitable[bool]]
    ) -> bool:
        """Take one message after the other where one of them cannot be taken; what is behind it in its group waits."""
        if len(batch) == 1:
            if count := self._untaken.due(anyio.current_time()):
                self.ctx.log.warning("a message cannot be taken", message=batch[0].id, why=error.message, count=count)
            # Its redrive policy knows where to.
            await self._back_off(batch)
            return False
        waiting: set[str | None] = set()
        whole = True
        for one in batch:
            if self.queue.fifo and one.group in waiting:
                await self._receipts.give_back([one], 0)
            elif not await take([one]):
                whole = False
                waiting.add(one.group)
        return whole

    async def _handle(self, batch: list[Message], turn: _Turn | None = None) -> bool:
        """Call the function for a batch, in several calls where one cannot carry it; whether none of it was done.

        The last of them gives the place of the *turn* away once it has been made.
        """
        some_done = some_failed = False
        while batch:
            count = fit([one.size for one in batch], PAYLOAD)
            part, batch = batch[:count], batch[count:]
            done, failed = await self._call(part, turn if not batch else None)
            some_done, some_failed = some_done or done > 0, some_failed or failed > 0
            if self.queue.fifo and done < len(part):
                # What comes after it waits for it.
                await self._receipts.give_back(batch, 0)
                break
        return some_failed and not some_done

    async def _call(self, batch: Sequence[Message], turn: _Turn | None = None) -> tuple[int, int]:
        """Have a batch run and tell the queue what became of each message; how many are done, and how many failed.

        What is not run, for another call has its key or the function was paused, stays here, hidden, and is tried
        again. Were it left to the queue, it would be received until its queue gives it up.
        """

        def ran(_: source.Handled) -> dict[str, str | None]:
            if turn is not None:
                self._ran(turn)
            return {}

        some_done = some_failed = 0
        while True:
            try:
                handled = await self.ctx.handle(*[event for one in batch for event in one.events], checkpoints=ran)
            except BadInput as error:
                done_one = await self._call_singly(batch, error)
                return some_done + done_one, some_failed + len(batch) - done_one
            done, failed, undecided = sorted_out(batch, handled)
            if self.queue.fifo and failed:
                failed, undecided = failed + undecided, []  # what is behind it is not to overtake it
            await self._receipts.delete(done)
            await self._back_off(failed)
            some_done, some_failed = some_done + len(done), some_failed + len(failed)
            if not undecided or self.ctx.ending:
                await self._receipts.give_back(undecided, 0)
                return some_done, some_failed
            batch = undecided
            await anyio.sleep(AGAIN)

    async def _call_singly(self, batch: Sequence[Message], error: BadInput) -> int:
        """Have the messages of a batch run that has one of which no event can be made; how many are done."""
        done_one = 0

        async def take(part: Sequence[Message]) -> bool:
            nonlocal done_one
            done, _ = await self._call(part)
            done_one += done
            return done == len(part)

        await self._singly(batch, error, take)
        return done_one

    async def _back_off(self, failed: Sequence[Message]) -> None:
        """Hide failed messages the longer the oftener they came; a group's together, for they wait for the first."""
        retry, draw = self.ctx.retry, random.random()
        times = {self._times(one, failed) for one in failed}
        for count in times:
            delay = backoff(count, retry, draw=draw)
            await self._receipts.give_back([one for one in failed if self._times(one, failed) == count], delay / 1000)

    def _times(self, one: Message, failed: Sequence[Message]) -> int:
        return failed[0].received if self.queue.fifo else one.received
