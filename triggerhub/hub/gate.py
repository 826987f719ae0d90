"""Decide what of an event a trigger accepts: filter, key, order, one delivery per function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import anyio

from triggerhub.model import Event
from triggerhub.policy import filtering, naming, selecting
from triggerhub.settings import KB, Function, Trigger
from triggerhub.source import Filtered
from triggerhub.store import Intake, Owed

LARGE = 64 * KB
"""A record above this size is looked into off the loop."""


class Gate:
    """A trigger's policies, compiled once; pure from then on."""

    def __init__(self, trigger: Trigger, functions: Mapping[str, Function]) -> None:
        self.trigger = trigger
        self._pattern = None if trigger.filter is None else filtering.compile(trigger.filter)
        self._key = selecting.compile(trigger.key) if trigger.key else None
        self._order = selecting.compile(trigger.order) if trigger.order else None
        self._idempotency = {
            name: selecting.compile(function.idempotency.key)
            for name in trigger.functions
            if (function := functions.get(name)) and function.idempotency
        }
        self._owed = tuple(Owed(function=name) for name in trigger.functions)
        self.looks = bool(self._pattern or self._key or self._order or self._idempotency)
        """Whether a record is looked into, which may take long."""

    async def admitted(self, event: Event) -> Intake | Filtered:
        """As :meth:`admit`, a large record in a thread: a stranger may have built it to take long."""
        if self.looks and len(event.data) > LARGE:
            return await anyio.to_thread.run_sync(self.admit, event)
        return self.admit(event)

    def failing(self, event: Event) -> list[str]:
        """Return a sentence for each leaf of the filter that refuses *event*."""
        return self._pattern.failing(selecting.view(event.data)) if self._pattern else []

    def admit(self, event: Event) -> Intake | Filtered:
        """Return what to store of *event* (already stamped with its id), or why the filter refuses it.

        Raises KeyTooLong (a BadInput) for a key over 1 KB.
        """
        owed = self._owed
        if self.looks:
            view = selecting.view(event.data)
            if self._pattern and not self._pattern.matches(view):
                return Filtered(
                    why=self._pattern.why(view) or "the filter does not match",
                    leaf=self._pattern.why(view, told=False) or "",
                    names=naming.names(view, event.dedup_key),
                    id=event.id,
                )
            if self._key:
                event = replace(event, dedup_key=self._key.select(view))
            if self._order:
                event = replace(event, ordering_key=self._order.select(view))
            if self._idempotency:
                owed = tuple(
                    Owed(function=name, idempotency_key=selector.select(view))
                    if (selector := self._idempotency.get(name))
                    else Owed(function=name)
                    for name in self.trigger.functions
                )
        if event.dedup_key is not None:
            selecting.limit(event.dedup_key)
        return Intake(event=event, owed=owed, keep=self.trigger.keep)
