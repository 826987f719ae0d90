"""Lay a delivery's life out in time: waiting, attempt, waiting, attempt, end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triggerhub.model import Attempt, Delivery, Millis, State
from triggerhub.settings import SECOND

WAITED: Millis = SECOND
"""What a first attempt waited beyond this is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of a delivery's life; the places are shares of the whole, from 0 to 1."""

    kind: str
    """``queued``, ``backoff``, ``running``, or an attempt's outcome."""
    number: int
    """Which attempt it is; 0 where it is none."""
    start: Millis
    length: float
    """Milliseconds."""
    left: float
    width: float
    text: str = ""
    """What an attempt failed with."""


def phases(delivery: Delivery, attempts: Sequence[Attempt], *, now: Millis) -> list[Phase]:
    """Return the phases in the order of time, without waits that took no time."""
    pieces: list[tuple[str, int, Millis, float, str]] = []
    at: float = delivery.created
    for number, one in enumerate(attempts, 1):
        if one.started > at:
            pieces.append(("queued" if number == 1 else "backoff", 0, round(at), one.started - at, ""))
        text = f"{one.error.type}: {one.error.message}" if one.error else ""
        pieces.append((one.outcome, number, one.started, one.duration_ms, text))
        at = max(at, one.started + one.duration_ms)
    if delivery.state is State.QUEUED:
        until = max(now, delivery.due)
        if until > at:
            pieces.append(("backoff" if attempts else "queued", 0, round(at), until - at, ""))
    elif delivery.state is State.RUNNING:
        if delivery.due > at:
            pieces.append(("backoff" if attempts else "queued", 0, round(at), delivery.due - at, ""))
            at = delivery.due
        pieces.append(("running", len(attempts) + 1, round(at), max(now - at, 0), ""))
    elif not attempts and delivery.finished is not None and delivery.finished > at:
        pieces.append(("queued", 0, round(at), delivery.finished - at, ""))
    return _placed(pieces)


def waited(delivery: Delivery, attempts: Sequence[Attempt]) -> bool:
    """Whether the first attempt began so late that people ask why; what was delayed was due later."""
    if not attempts:
        return False
    since = delivery.due if len(attempts) == 1 and delivery.state.finished else delivery.created
    return attempts[0].started - since >= WAITED


def _placed(pieces: Sequence[tuple[str, int, Millis, float, str]]) -> list[Phase]:
    if not pieces:
        return []
    begin = pieces[0][2]
    whole = max(max(start + length for _, _, start, length, _ in pieces) - begin, 0.001)
    return [
        Phase(
            kind=kind,
            number=number,
            start=start,
            length=length,
            left=min(max((start - begin) / whole, 0.0), 1.0),
            width=min(length / whole, 1.0),
            text=text,
        )
        for kind, number, start, length, text in pieces
    ]
