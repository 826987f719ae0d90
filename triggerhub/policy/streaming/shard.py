"""Decide what to do with one shard's records: what to read, call with, try again, give up, and remember.

Pure: time and randomness are arguments, and nothing here waits. Whoever drives it feeds it what was read,
carries out the steps that it hands out and tells it what came of them. Each lane has one step under way at a
time, so that records of one partition key are handled in order whatever fails.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import replace

from triggerhub.model import Millis
from triggerhub.policy.retry import backoff
from triggerhub.policy.streaming.beginning import Beginning
from triggerhub.policy.streaming.lane import Item, Lane
from triggerhub.policy.streaming.plan import STATE_LIMIT, Plan
from triggerhub.policy.streaming.position import Position, Window
from triggerhub.policy.streaming.step import (
    Call,
    FailedFrom,
    GiveUp,
    Record,
    Step,
    Succeeded,
    Unheard,
    Verdict,
    Windowed,
)
from triggerhub.settings import MB, SECOND, RetryPolicy

AHEAD = 1000
"""At least so many records are read ahead, whatever the size of a batch …"""
AHEAD_BYTES = 16 * MB
"""… and no more once what is not done comes to so many bytes."""
REMEMBERED = 100_000
"""Records that may be behind one that is not done yet; more are not read."""
LATE: Millis = SECOND
"""How long after the end of a window one that belongs into it may still be read: streams stamp whole seconds."""


class Shard:
    """One shard, from a position on."""

    def __init__(self, plan: Plan, position: Position, *, latest: bool = False) -> None:
        """*latest* says that reading begins where the shard ends now, so that ``since`` need not be looked at."""
        self._plan = plan
        self._after = position.after
        self._beginning = Beginning(position.since, latest=latest)
        self._ended_at = position.ended
        behind = int(position.after) if position.after else -1
        kept = position.lanes if len(position.lanes) == plan.parallel else (None,) * plan.parallel
        self._lanes = [Lane(at, plan, int(one) if one else behind) for at, one in enumerate(kept)]
        self._read = behind
        self._read_after = position.after
        self._open: deque[Item] = deque()
        """What was read, from the first that is not done."""
        self._ended = position.ended is not None
        self._quiet: Millis = 0
        """What arrived before this moment was read."""
        self._window = position.window if plan.tumbling else None
        self._closing = 0
        """How often the call that closes the window failed."""
        self._closed: Millis = 0
        """The end of the last window that was closed: what arrives late joins the next one."""

    @property
    def read_after(self) -> str | None:
        """The sequence number to read on after; None while nothing was read."""
        return self._read_after

    @property
    def since(self) -> Millis | None:
        """The moment from which records are wanted, while none of them was read."""
        return self._beginning.since

    @property
    def finished(self) -> bool:
        """Whether the shard was closed and read, and all of it is done."""
        return self._ended and not self._open and self._window is None

    @property
    def drained(self) -> bool:
        """Whether nothing of what was read is left to do."""
        return all(lane.empty and not lane.busy for lane in self._lanes)

    @property
    def bytes(self) -> int:
        """The bytes of what was read and is not done."""
        return sum(lane.held for lane in self._lanes)

    def room(self) -> int:
        """Return how many more records may be read now."""
        if self._ended or self.bytes >= AHEAD_BYTES or len(self._open) >= REMEMBERED:
            return 0
        undone = sum(lane.undone for lane in self._lanes)
        return max(0, max(AHEAD, 2 * self._plan.size * self._plan.parallel) - undone)

    def anew(self) -> None:
        """Say that a shard whose latest records were to be read is begun at ``since`` instead; nothing was read."""
        self._beginning.anew()

    def feed(self, records: Iterable[Record], now: Millis) -> None:
        """Take what was read, in order; what was read before is passed over."""
        for record in records:
            number = int(record.sequence)
            if number <= self._read:
                continue
            self._read, self._read_after = number, record.sequence
            lane = self._lanes[zlib.crc32(record.key.encode("utf-8", "surrogatepass")) % len(self._lanes)]
            item = Item(record.sequence, number, now, None)
            self._open.append(item)
            if self._beginning.wants(record) and record.wanted and number > lane.done:
                item.record = record
                lane.add(item)
        self._advance()

    def quiet(self, since: Millis) -> None:
        """Say that a read that began at this moment found nothing more."""
        self._quiet = max(self._quiet, since)

    def obey(self, retry: RetryPolicy) -> None:
        """Try again under another policy from now on."""
        if retry != self._plan.retry:
            self._plan = replace(self._plan, retry=retry)
            for lane in self._lanes:
                lane.plan = self._plan

    def end(self) -> None:
        """Say that the shard is closed and was read to its end."""
        self._ended = True

    def take(self, now: Millis, held: Container[int] = ()) -> list[Step]:
        """Return what is to be done now, but in the lanes *held*; a lane has no other step before its end is told."""
        steps: list[Step] = []
        for lane in self._lanes:
            lane.set_back(now)
            if lane.busy or lane.index in held or lane.due > now or (lane.empty and self._window is None):
                continue
            step = self._step(lane, now)
            if step is not None:
                lane.busy = True
                steps.append(step)
        return steps

    def settle(self, step: Step, verdict: Verdict, now: Millis, draw: float) -> None:
        """Say what came of a call; *draw*, in [0, 1), spreads the waits."""
        lane = self._lanes[step.lane]
        lane.busy = False
        if isinstance(step, Call) and not step.records:
            self._close(lane, verdict, now, draw)
            return
        if self._plan.tumbling and isinstance(verdict, Succeeded | FailedFrom):
            self._keep(verdict.state)
        lane.settle(verdict, now, draw)
        self._advance()

    def gave_up(self, step: GiveUp) -> None:
        """Say that a step's records are stored as dead."""
        lane = self._lanes[step.lane]
        lane.busy = False
        lane.gave_up()
        self._advance()

    def position(self, now: Millis) -> Position:
        """Return how far the shard is handled; *now* is when, should this be its end."""
        if self.finished and self._ended_at is None:
            self._ended_at = now
        if self._ended_at is not None:
            return Position(ended=self._ended_at)
        behind = int(self._after) if self._after else -1
        lanes = tuple(str(lane.done) if lane.done > behind else None for lane in self._lanes)
        return Position(
            after=self._after,
            since=self._beginning.since,
            lanes=lanes if len(lanes) > 1 and any(lanes) else (),
            window=self._window,
        )

    def next(self, held: Container[int] = ()) -> Millis | None:
        """Return when :meth:`take` may find something without being fed; None is never."""
        moments = []
        for lane in self._lanes:
            if lane.busy or lane.index in held:
                continue
            if lane.pieces or self._closing:
                moments.append(lane.due)
            elif lane.waiting:
                moments.append(max(lane.due, lane.waiting[0].read + self._plan.window))
        return min(moments, default=None)

    # steps

    def _step(self, lane: Lane, now: Millis) -> Step | None:
        window = self._window
        if window is not None and (window.early or (not lane.pieces and self._over(lane, window))):
            return Call(lane.index, (), self._closing + 1, self._windowed(window, final=True))
        if not lane.pieces:
            if not lane.waiting or not self._ready(lane, now):
                return None
            lane.form(self._start_of(lane.waiting[0]) + self._plan.tumbling if self._plan.tumbling else None)
        lane.age(now)
        if (given_up := lane.give_up()) is not None:
            return given_up
        piece = lane.pieces[0]
        records = [item.pending for item in piece.items]
        return Call(lane.index, records, piece.failed + 1, self._opened(piece.items[0]))

    def _ready(self, lane: Lane, now: Millis) -> bool:
        """Whether what waits makes a batch."""
        plan, first = self._plan, lane.waiting[0]
        if len(lane.waiting) >= plan.size or now - first.read >= plan.window or self._ended:
            return True
        if lane.bytes >= plan.bytes or not self.room():
            return True
        if not plan.tumbling:
            return False
        end = self._start_of(first) + plan.tumbling
        return self._quiet >= end + LATE or lane.waiting[-1].pending.arrived >= end

    # tumbling windows

    def _start_of(self, item: Item) -> Millis:
        """Return the start of the window that a record belongs into."""
        arrived = item.pending.arrived
        start = max(arrived - arrived % self._plan.tumbling, self._closed)
        return max(start, self._window.start) if self._window is not None else start

    def _opened(self, first: Item) -> Windowed | None:
        """Return the window of a batch that begins with this record, opened if it is not."""
        if not self._plan.tumbling:
            return None
        if self._window is None:
            self._window = Window(start=self._start_of(first))
        return self._windowed(self._window, final=False)

    def _over(self, lane: Lane, window: Window) -> bool:
        """Whether the window is to be closed before anything else."""
        end = window.start + self._plan.tumbling
        if lane.waiting:
            return lane.waiting[0].pending.arrived >= end
        return self._ended or self._quiet >= end + LATE

    def _windowed(self, window: Window, *, final: bool) -> Windowed:
        return Windowed(window, window.start + self._plan.tumbling, final)

    def _keep(self, state: str) -> None:
        if self._window is not None:
            early = len(state.encode()) > STATE_LIMIT
            self._window = Window(start=self._window.start, state=state, early=early)

    def _close(self, lane: Lane, verdict: Verdict, now: Millis, draw: float) -> None:
        """Close the window; a function that fails to is called again until it does, as Lambda calls it."""
        if isinstance(verdict, Succeeded) and self._window is not None:
            window, self._window = self._window, None
            self._closing = 0
            lane.due = now
            if not window.early:
                self._closed = window.start + self._plan.tumbling
            return
        self._closing += not isinstance(verdict, Unheard)
        lane.due = now + max(1, backoff(max(self._closing, 1), self._plan.retry, draw=draw))

    # what is done

    def _advance(self) -> None:
        """Move the position past what is done."""
        while self._open and self._open[0].record is None:
            self._after = self._open.popleft().sequence
            if self._beginning.over:
                self._beginning.since = None
