"""Let people look before they act: what a trigger would make of an event, and events to try handlers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import anyio

from triggerhub.hub import handmade
from triggerhub.hub.clock import Clock
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Event
from triggerhub.source import Filtered
from triggerhub.store import Intake, Lane


class Trial:
    """Takes no event and calls no function."""

    def __init__(self, wiring: Wiring, mint: Callable[[], str], clock: Clock) -> None:
        self._wiring, self._mint, self._clock = wiring, mint, clock

    async def examine(self, trigger: str, body: bytes, *, whole: bool = False) -> Intake | Filtered:
        """Say what the trigger would make of an event, and take nothing. NotFound, BadInput.

        *body* is what a sender sends, or with *whole* the record as a handler sees it. A filter that refuses it says
        why of each of its leaves that do not match.
        """
        found, module = self._wiring.trigger(trigger)
        now = self._clock.now()
        if whole:
            handmade.require_json(body)
        event = Event(data=body, time=now) if whole else handmade.sent(found, module, body, None, now)
        gate, event = self._wiring.gates[trigger], event.stamped(self._mint(), trigger)
        given = await gate.admitted(event)
        if isinstance(given, Filtered):
            failing = await anyio.to_thread.run_sync(gate.failing, event)  # a stranger may have built it to take long
            given = replace(given, why=", and ".join(failing) or given.why)
        return given

    def payload(self, trigger: str, function: str, record: bytes) -> bytes:
        """Return what a trigger's function gets for one event's *record*, by the configuration in force.

        SourceFailed.
        """
        dispatcher = self._wiring.dispatchers.get(function)
        plan = dispatcher.plan(Lane(trigger, function)) if dispatcher else None
        return record if plan is None else plan.payload([record])

    def samples(self, trigger: str) -> Mapping[str, bytes]:
        """Return what a function gets for each sample of the trigger's source, by name. NotFound, SourceFailed."""
        found, module = self._wiring.trigger(trigger)
        made = handmade.samples(found, module, self._clock.now())
        return {name: self.payload(trigger, found.functions[0], event.data) for name, event in made.items()}

    def fires(self, trigger: str) -> bool:
        """Whether the trigger's source has something to fire by hand. NotFound."""
        return hasattr(self._wiring.trigger(trigger)[1], "fire")
