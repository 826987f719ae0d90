"""Keep one lane's records in order: from waiting, by way of batches that are tried, to done."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from triggerhub.model import Millis
from triggerhub.policy.retry import backoff
from triggerhub.policy.streaming.plan import Plan
from triggerhub.policy.streaming.step import (
    Condition,
    Failed,
    FailedFrom,
    GiveUp,
    Record,
    Succeeded,
    Unheard,
    Verdict,
)
from triggerhub.settings import SECOND, RetryPolicy

ENVELOPE = 512
"""Bytes that stand around the records of a call, besides a window's state."""
PATIENCE = RetryPolicy(initial=SECOND // 4, max=30 * SECOND)
"""How long to rest after calls that did not come about."""


@dataclass(slots=True)
class Item:
    """A record on its way."""

    sequence: str
    number: int
    """Its sequence number, to compare by."""
    read: Millis
    record: Record | None
    """None once it is done."""

    @property
    def pending(self) -> Record:
        """The record of one that is not done."""
        assert self.record is not None, "a lane's record is not done"
        return self.record


@dataclass(slots=True)
class Piece:
    """Records that are called with together."""

    items: list[Item]
    failed: int = 0
    """Counted attempts that failed with the first of these records at the front."""
    calls: int = 0
    last: Failed | FailedFrom | None = None
    doomed: Condition | None = None


class Lane:
    """The records of one lane, oldest first; at most one step of it is under way."""

    def __init__(self, index: int, plan: Plan, done: int) -> None:
        self.index = index
        self.waiting: deque[Item] = deque()
        self.bytes = 0
        """Of what waits …"""
        self.held = 0
        """… and of all that is not done."""
        self.undone = 0
        self.pieces: deque[Piece] = deque()
        self.busy = False
        self.due: Millis = 0
        """Nothing is to be done before."""
        self.done = done
        """The greatest sequence number that is done; everything of the lane before it is, too."""
        self.plan = plan
        self._unheard = 0

    @property
    def empty(self) -> bool:
        return not self.waiting and not self.pieces

    def add(self, item: Item) -> None:
        """Append a record that was read."""
        size = len(item.pending.data)
        self.waiting.append(item)
        self.bytes += size
        self.held += size
        self.undone += 1

    def set_back(self, now: Millis) -> None:
        """Shorten waits that no policy would have made: the clock was set back."""
        self.due = min(self.due, now + max(self.plan.retry.max, PATIENCE.max))
        if self.waiting and self.waiting[0].read > now:
            self.waiting[0].read = now

    def form(self, until: Millis | None) -> Piece:
        """Take a batch off the front of what waits; with *until*, only records that arrived before."""
        items: list[Item] = []
        room = self.plan.bytes - ENVELOPE
        while self.waiting and len(items) < self.plan.size:
            record = self.waiting[0].pending
            size = len(record.data) + 1
            if items and (size > room or (until is not None and record.arrived >= until)):
                break
            room -= size
            items.append(self.waiting.popleft())
            self.bytes -= size - 1
        piece = Piece(items)
        self.pieces.append(piece)
        return piece

    def age(self, now: Millis) -> None:
        """Split what has become too old off the front of the foremost batch."""
        piece = self.pieces[0]
        if piece.doomed is not None:
            return
        old = 0
        while old < len(piece.items) and self._aged(piece.items[old], now):
            old += 1
        if old:
            doomed = Piece(piece.items[:old], piece.failed, piece.calls, piece.last, "RecordAgeExceeded")
            self._replace(doomed, Piece(piece.items[old:]))

    def give_up(self) -> GiveUp | None:
        """Return the step that gives the foremost batch up, if it is to be."""
        piece = self.pieces[0]
        if piece.doomed is None:
            return None
        records = [item.pending for item in piece.items]
        return GiveUp(self.index, records, piece.doomed, piece.calls, piece.last)

    def gave_up(self) -> None:
        """Take the foremost batch for done: it is stored as dead."""
        self._finish(self.pieces.popleft().items)

    def settle(self, verdict: Verdict, now: Millis, draw: float) -> None:
        """Decide what becomes of the foremost batch, which was called with."""
        if isinstance(verdict, Unheard):
            self._unheard += 1
            self.due = now + backoff(self._unheard, PATIENCE, draw=draw)
            return
        self._unheard = 0
        self.due = now
        piece = self.pieces[0]
        piece.calls += 1
        match verdict:
            case Succeeded():
                self._finish(self.pieces.popleft().items)
            case Failed():
                piece.last = verdict
                if self.plan.bisect and len(piece.items) > 1:
                    self._halve(piece)
                else:
                    self._retry(piece, now, draw)
            case FailedFrom():
                self._resume(piece, verdict, now, draw)

    def _resume(self, piece: Piece, verdict: FailedFrom, now: Millis, draw: float) -> None:
        """Go on at the record that failed; where its attempts are spent, it alone is given up."""
        self._finish(piece.items[: verdict.index])
        failed = piece.failed if verdict.index == 0 else 0
        rest = Piece(piece.items[verdict.index :], failed, piece.calls, verdict)
        self._replace(rest)
        self._retry(rest, now, draw)
        if rest.doomed is not None and len(rest.items) > 1:
            self._replace(Piece(rest.items[:1], rest.failed, rest.calls, verdict, rest.doomed), Piece(rest.items[1:]))

    def _retry(self, piece: Piece, now: Millis, draw: float) -> None:
        policy = self.plan.retry
        piece.failed += 1
        due = now + backoff(piece.failed, policy, draw=draw)
        if piece.failed >= policy.attempts:
            piece.doomed = "RetryAttemptsExhausted"
        elif policy.max_age is not None and due - piece.items[0].read > policy.max_age:
            piece.doomed = "RecordAgeExceeded"
        else:
            self.due = due

    def _halve(self, piece: Piece) -> None:
        middle = (len(piece.items) + 1) // 2
        halves = (piece.items[:middle], piece.items[middle:])
        self._replace(*(Piece(items, 0, piece.calls, piece.last) for items in halves))

    def _replace(self, *pieces: Piece) -> None:
        """Put *pieces* in the place of the foremost one."""
        self.pieces.popleft()
        self.pieces.extendleft(piece for piece in reversed(pieces) if piece.items)

    def _finish(self, items: list[Item]) -> None:
        for item in items:
            self.held -= len(item.pending.data)
            item.record = None
            self.done = item.number
        self.undone -= len(items)

    def _aged(self, item: Item, now: Millis) -> bool:
        return self.plan.max_age is not None and now - item.pending.arrived > self.plan.max_age
