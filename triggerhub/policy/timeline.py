"""Lay a delivery's life out in time: waiting, attempt, waiting, attempt, end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triggerhub.model import Attempt, Delivery, Millis, State
from triggerhub.settings import SECOND

WAITED: Millis = SECOND
"""What a first attempt waited beyond this is told."""
ENDED = 0.1
"""What the time between an end and the next beginning is drawn as, of the rest, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of a delivery's life; the places are shares of the whole, from 0 to 1."""

    kind: str
    """``queued``, ``backoff``, ``ended`` (until it was queued again), ``running``, or an attempt's outcome."""
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
    again = queued_again(delivery.attempts, delivery.state, [one.outcome for one in attempts])

    def wait(before: int, until: float) -> None:
        if until > at:
            kind = "queued" if not before else "ended" if before == again else "backoff"
            pieces.append((kind, 0, round(at), until - at, ""))

    for number, one in enumerate(attempts):
        wait(number, one.started)
        text = f"{one.error.type}: {one.error.message}" if one.error else ""
        pieces.append((one.outcome, number + 1, one.started, one.duration_ms, text))
        at = max(at, one.started + one.duration_ms)
    if delivery.state is State.QUEUED:
        wait(len(attempts), max(now, delivery.due))
    elif delivery.state is State.RUNNING:
        wait(len(attempts), delivery.due)
        at = max(at, delivery.due)
        pieces.append(("running", len(attempts) + 1, round(at), max(now - at, 0), ""))
    elif not attempts and delivery.finished is not None:
        wait(0, delivery.finished)
    return _placed(pieces)


def queued_again(counted: int, state: str, outcomes: Sequence[str]) -> int:
    """Return before which attempt it was queued again after it had ended, 0 where it was not: counting began anew.

    *counted* are the attempts of its count, *outcomes* all that have ended.
    """
    own = counted - (state == State.RUNNING)
    place = len(outcomes)
    while place and own:
        place -= 1
        own -= outcomes[place] != "interrupted"
    return place


def waited(delivery: Delivery, attempts: Sequence[Attempt]) -> bool:
    """Whether the first attempt began so late that people ask why; what was delayed was due later."""
    if not attempts:
        return False
    since = delivery.due if len(attempts) == 1 and delivery.state.finished else delivery.created
    return attempts[0].started - since >= WAITED


def _placed(pieces: Sequence[tuple[str, int, Millis, float, str]]) -> list[Phase]:
    if not pieces:
        return []
    # What it lay there after its end may be days, beside which nothing else would be seen.
    rest = max(sum(length for kind, _, _, length, _ in pieces if kind != "ended"), 0.001) * ENDED
    begin, skipped, places = pieces[0][2], 0.0, list[tuple[float, float]]()
    for kind, _, start, length, _ in pieces:
        shown = min(length, rest) if kind == "ended" else length
        places.append((start - begin - skipped, shown))
        skipped += length - shown
    whole = max(max(left + shown for left, shown in places), 0.001)
    return [
        Phase(
            kind=kind,
            number=number,
            start=start,
            length=length,
            left=min(max(left / whole, 0.0), 1.0),
            width=min(shown / whole, 1.0),
            text=text,
        )
        for (kind, number, start, length, text), (left, shown) in zip(pieces, places, strict=True)
    ]
