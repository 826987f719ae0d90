"""Remember for a while what came and was not stored: what a filter refused, what was there already.

In memory, bounded and without anything that events carry but their names, so that neither a flood nor what is
seen here costs more than a few hundred rows; the hub's start forgets it.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from triggerhub.model import Millis, Returned
from triggerhub.source import Filtered

FILTERED = 500
"""How many refusals of filters are remembered, the latest."""
REPEATED = 1000
"""Of how many events it is remembered that they came again, the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An event that a trigger's filter refused."""

    own: tuple[str, ...]
    """The ids that the hub gave it, the first of which its sender may have been told, and what it came from."""
    trigger: str
    time: Millis
    names: tuple[str, ...]
    leaf: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """That an event came again."""

    count: int
    last: Millis


class Unstored:
    """Rings of what came lately and was not stored."""

    def __init__(self, now: Millis = 0) -> None:
        self.since = now
        """From when on it is remembered."""
        self._refused: deque[Refusal] = deque(maxlen=FILTERED)
        self._again: OrderedDict[str, Again] = OrderedDict()

    def refused(self, trigger: str, one: Filtered, now: Millis, *origin: str) -> None:
        """Note what a filter refused; *origin* are the ids of what it came from."""
        own = tuple(name for name in (one.id, *origin) if name)
        refusal = Refusal(own=own, trigger=trigger, time=now, names=one.names, leaf=one.leaf or one.why)
        self._refused.append(refusal)

    def answered(self, trigger: str, one: Filtered, now: Millis) -> Returned:
        """Note what a filter refused, and return what its sender gets who waits for a function's answer."""
        self.refused(trigger, one, now)
        return Returned(payload=json.dumps({"filtered": one.why, "id": one.id}).encode())

    def repeated(self, event: str, now: Millis) -> None:
        """Note that a stored event came again."""
        before = self._again.pop(event, None)
        self._again[event] = Again(count=1 + (before.count if before else 0), last=now)
        if len(self._again) > REPEATED:
            self._again.popitem(last=False)

    def again(self, event: str) -> Again | None:
        """Return how often a stored event came again; None where nothing is known of it."""
        return self._again.get(event)

    def find(self, own: Iterable[str], names: Iterable[str]) -> list[Refusal]:
        """Return the refusals of what has one of these ids of the hub's *own* or of these *names*, oldest first."""
        ids, wanted = set(own), set(names)
        return [one for one in self._refused if not (ids.isdisjoint(one.own) and wanted.isdisjoint(one.names))]
