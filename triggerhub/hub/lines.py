"""Keep each line of an ordering key to one call: what was cancelled leaves it when its call is over, not before."""

from __future__ import annotations

import asyncio

from triggerhub.hub.group import Group
from triggerhub.store import Lane


class Lines:
    """The lines in which calls are under way: the store frees one at once, while a killed worker takes its time."""

    def __init__(self) -> None:
        self._busy: set[tuple[Lane, str]] = set()
        self._left = asyncio.Event()

    async def enter(self, group: Group) -> None:
        """Wait until no other call is under way in the group's lines, and take them all."""
        lines = frozenset(
            (group.plan.lane, one.delivery.ordering_key)
            for one in group.claimed
            if one.delivery.ordering_key is not None
        )
        while not self._busy.isdisjoint(lines):
            await self._left.wait()
        self._busy |= lines
        group.lines = lines

    def leave(self, group: Group) -> None:
        """Let others into the lines that the group took, if it came to that."""
        if group.lines:
            self._busy -= group.lines
            group.lines = frozenset()
            self._left.set()
            self._left = asyncio.Event()
