"""Decide which shards of a stream to read: parents before their children, so that order survives resharding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from triggerhub.model import Millis
from triggerhub.policy.streaming.position import Position
from triggerhub.settings import DAY, SECOND

Start = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]

FORGOTTEN: Millis = DAY
"""How long an ended shard that the stream no longer lists is remembered, should it be listed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A shard as the stream lists it."""

    id: str
    parents: tuple[str, ...] = ()
    """The shard, or the two, that it was made of."""
    closed: bool = False


def beginning(listed: Sequence[Listed], start: Start, at: Millis) -> dict[str, Position]:
    """Return where reading of a stream that was never read begins.

    *at* is the moment of AT_TIMESTAMP, or of LATEST the present by the stream's own clock: a shard of which no
    record was handled yet can then be taken up again without a gap. A closed shard has nothing later than that.
    """
    match start:
        case "TRIM_HORIZON":
            return {one.id: Position() for one in listed}
        case "AT_TIMESTAMP":
            return {one.id: Position(since=at) for one in listed}
        case "LATEST":
            since = at - at % SECOND - SECOND
            return {one.id: Position(ended=at) if one.closed else Position(since=since) for one in listed}


def grown(listed: Sequence[Listed], known: Mapping[str, Position]) -> dict[str, Position]:
    """Return where reading of shards begins that came into being since: at their oldest record."""
    return {one.id: Position() for one in listed if one.id not in known}


def readable(listed: Sequence[Listed], known: Mapping[str, Position]) -> list[str]:
    """Name the shards to read now: those not handled whole, whose parents are, or are no longer listed."""
    open_ = {one.id for one in listed if known[one.id].ended is None}
    return [one.id for one in listed if one.id in open_ and not open_.intersection(one.parents)]


def undone(listed: Sequence[Listed], known: Mapping[str, Position]) -> bool:
    """Whether a listed shard is not handled whole; what is left of one that is no longer listed never will be."""
    return any(one.id not in known or known[one.id].ended is None for one in listed)


def forgotten(listed: Sequence[Listed], known: Mapping[str, Position], now: Millis) -> list[str]:
    """Name the handled shards whose positions need not be kept."""
    there = {one.id for one in listed}
    return [
        id_
        for id_, position in known.items()
        if id_ not in there and position.ended is not None and now - position.ended > FORGOTTEN
    ]


def trimmed(listed: Sequence[Listed], known: Mapping[str, Position]) -> list[str]:
    """Name the shards that are gone with what was not read of them: their records outlived the retention."""
    there = {one.id for one in listed}
    return [id_ for id_, position in known.items() if id_ not in there and position.ended is None]
