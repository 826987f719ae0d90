"""Let people look before they act: what a trigger would make of an event, and events to try handlers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import anyio

from triggerhub.hub import handmade
from triggerhub.hub.clock import Clock
from triggerhub.hub.lane import envelope_of
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Delivery, Event
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

    def payload(self, row: Delivery, record: bytes) -> bytes:
        """Return what the function of a delivery gets for its event's *record* alone, by the configuration in force."""
        dispatcher = self._wiring.dispatchers.get(row.function)
        plan = dispatcher.plan(Lane(row.trigger, row.function)) if dispatcher else None
        if plan is None:
            return record
        return plan.input if plan.input is not None else plan.envelope([record])

    def samples(self, trigger: str) -> Mapping[str, bytes]:
        """Return the records that the trigger's source makes for trying out, by name. NotFound."""
        found, module = self._wiring.trigger(trigger)
        if not hasattr(module, "samples"):
            return {}
        made: Mapping[str, Event] = module.samples(found.options, trigger, self._clock.now())
        envelope = envelope_of(module)
        return {name: envelope([event.data]) for name, event in made.items()}

    def fires(self, trigger: str) -> bool:
        """Whether the trigger's source has something to fire by hand. NotFound."""
        return hasattr(self._wiring.trigger(trigger)[1], "fire")
