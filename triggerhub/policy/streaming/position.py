"""Say how far a shard is handled, in the words that the store keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass

from triggerhub.model import Json, Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A tumbling window that is open."""

    start: Millis
    state: str = "{}"
    """JSON: what the last call that succeeded answered as its state."""
    early: bool = False
    """Whether the state outgrew its limit, so that the window is closed before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a shard is handled: what a hub that starts anew needs to know of it.

    Without any field the shard is to be read from its oldest record.
    """

    after: str | None = None
    """Every record up to the one with this sequence number is done."""
    since: Millis | None = None
    """What arrived before this moment is not wanted; counts while there is no ``after``."""
    ended: Millis | None = None
    """When the shard, closed, was handled whole."""
    lanes: tuple[str | None, ...] = ()
    """By lane, the sequence number up to which its records are done, where that is further than ``after``."""
    window: Window | None = None

    def encode(self) -> str:
        """Return the position as JSON."""
        known: dict[str, Json] = {}
        for name in ("after", "since", "ended"):
            if (value := getattr(self, name)) is not None:
                known[name] = value
        if self.lanes:
            known["lanes"] = self.lanes
        if self.window is not None:
            known["window"] = [self.window.start, self.window.state, self.window.early]
        return json.dumps(known, separators=(",", ":"))


def decode(text: str) -> Position:
    """Return the position that :meth:`Position.encode` wrote."""
    known = json.loads(text)
    window = known.pop("window", None)
    return Position(
        after=known.get("after"),
        since=known.get("since"),
        ended=known.get("ended"),
        lanes=tuple(known.get("lanes", ())),
        window=Window(start=window[0], state=window[1], early=window[2]) if window else None,
    )
