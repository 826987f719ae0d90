"""Tell afterwards what became of an event: who saw it, which leaf refused it, what it waited for, where it went."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from triggerhub import ids
from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.clock import Clock
from triggerhub.hub.gate import Gate
from triggerhub.hub.outlet import function_of, refusal
from triggerhub.hub.pause import Paused
from triggerhub.hub.unstored import FILTERED, Again, Refusal, Unstored
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Delivery, Event, Millis, State, destination_trigger
from triggerhub.policy import naming, selecting
from triggerhub.settings import MB, Destination, Function, Trigger
from triggerhub.source import Filtered
from triggerhub.store import Intake, Lane, Query, Store

EXAMINED = 20
"""Triggers of one type whose filters are asked, those first that read the same."""
SEARCHED = 100
"""Deliveries that are looked at for a destination's, or for one that has the same ordering key."""
WALKED = 2000
"""Deliveries whose events are read for a name that is no key, the newest …"""
READ = 32 * MB
"""… and so much of what they carry, at most."""
_AROUND = 5000
"""How far from the end of a delivery what it sent on was made, in milliseconds."""
_PLACES = ("path", "name", "queue", "table", "stream", "bucket", "schedule")
"""The options that say what a source reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one trigger makes of an event, by the configuration in force."""

    trigger: str
    place: str
    """What it reads."""
    here: bool
    """Whether the event came by what it reads."""
    event: str | None
    """The event that it stored of this; None where there is none."""
    leaf: str | None
    """Where its filter refuses the event; None where it would take it."""
    filters: bool
    """Whether it has a filter."""
    off: str | None
    """Why it takes nothing at the moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """One destination of a finished delivery."""

    to: str
    delivery: str | None
    """What was queued for it; None where none is kept, or it is not the hub's to know."""
    state: State | None
    taken: bool = True
    """Whether it took the record of the outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known of one event."""

    since: Millis
    """From when on it is known what was filtered and what came again."""
    event: Event | None = None
    deliveries: Sequence[Delivery] = ()
    sights: Sequence[Sight] = ()
    again: Again | None = None
    refused: Sequence[Refusal] = ()
    waits: dict[str, str] = field(default_factory=dict)
    """By delivery, why it has not begun."""
    limits: dict[str, str] = field(default_factory=dict)
    """By delivery, what its calls are held to now; what held it back once is not kept."""
    further: dict[str, list[Further]] = field(default_factory=dict)


class Explainer:
    """Reads; changes nothing."""

    def __init__(self, wiring: Wiring, store: Store, paused: Paused, clock: Clock, unstored: Unstored) -> None:
        self._wiring, self._store, self._paused, self._clock = wiring, store, paused, clock
        self._unstored = unstored

    async def explain(self, own: Sequence[str], names: Sequence[str]) -> Story:
        """Return what is known of an event by its *own* id here, or by *names* that its source has for it. NotFound."""
        found = await self._found(own, names)
        refused = self._unstored.find(own, names)
        if found is None:
            if not refused:
                asked = [*names, *own][0]
                stored = f"no event {asked!r} is stored" if asked in own else f"no stored event is called {asked!r}"
                raise NotFound(
                    f"{stored}, and none was filtered lately",
                    hint="Its history may be pruned; see [hub] keep. For a name that is no key, the newest "
                    f"{WALKED:,} deliveries are searched. Of what filters refuse, the latest {FILTERED}"
                    " since the hub's start are known. To see which leaf fails, paste the event on its trigger's page"
                    " in the console.",
                )
            return Story(since=self._unstored.since, refused=refused)
        event, rows = found
        view = selecting.view(event.data)
        known = naming.names(view, event.dedup_key)
        return Story(
            since=self._unstored.since,
            event=event,
            deliveries=rows,
            sights=await self._sights(event, known),
            again=self._unstored.again(event.id),
            refused=self._unstored.find([event.id], known),
            waits={row.id: why for row in rows if (why := await self._wait(row))},
            limits={row.id: self.limits(row) for row in rows},
            further={row.id: await self._further(row) for row in rows},
        )

    async def _found(self, own: Sequence[str], names: Sequence[str]) -> tuple[Event, list[Delivery]] | None:
        for name in own:
            if (found := await self._store.event(name)) is not None:
                return found
        for name in names:
            rows = await self._store.page(Query(key=name, limit=SEARCHED))
            for row in rows:
                if row.dedup_key == name and (found := await self._store.event(row.event_id)) is not None:
                    return found
        return await self._walked(names) if names else None

    async def _walked(self, names: Sequence[str]) -> tuple[Event, list[Delivery]] | None:
        """Look through the newest stored events for one that its source calls by one of the names."""
        seen, size, before, last = 0, 0, None, ""
        while seen < WALKED:
            rows = await self._store.page(Query(before=before, limit=SEARCHED))
            for row in rows:
                seen, before = seen + 1, row.id
                if row.event_id == last or (found := await self._store.event(row.event_id)) is None:
                    continue
                event, last = found[0], row.event_id
                size += len(event.data)
                if not {*names}.isdisjoint(naming.names(selecting.view(event.data), event.dedup_key)):
                    return found
                if size > READ:
                    return None
            if len(rows) < SEARCHED:
                break
        return None

    # who saw it

    async def _sights(self, event: Event, names: Sequence[str]) -> list[Sight]:
        triggers = self._wiring.project.triggers
        own = triggers.get(event.trigger)
        if own is None:
            return []
        others = [one for one in triggers.values() if one.type == own.type and one is not own]
        others.sort(key=lambda one: not _reads(one, own, names))
        return [await self._sight(one, own, event, names) for one in [own, *others][:EXAMINED]]

    async def _sight(self, trigger: Trigger, own: Trigger, event: Event, names: Sequence[str]) -> Sight:
        leaf, stored = None, event.id if trigger is own else None
        try:
            made = await self._gate(trigger).admitted(event.stamped(event.id, trigger.name))
        except BadInput as error:
            leaf = error.message
        else:
            if isinstance(made, Filtered):
                leaf = made.leaf
            elif stored is None:
                stored = await self._stored(trigger, own, made)
        off = "disabled" if not trigger.enabled else "paused" if self._paused("trigger", trigger.name) else None
        return Sight(
            trigger=trigger.name,
            place=_place(trigger),
            here=_reads(trigger, own, names),
            event=stored,
            leaf=leaf,
            filters=trigger.filter is not None,
            off=off,
        )

    def _gate(self, trigger: Trigger) -> Gate:
        return self._wiring.gates[trigger.name]

    async def _stored(self, trigger: Trigger, own: Trigger, made: Intake) -> str | None:
        """Return the event that another trigger stored of the same: by the key, which both have from one source."""
        key = made.event.dedup_key
        if key is None or (trigger.key is None and own.key is not None):
            return None
        known = await self._store.known(trigger.name, [key], now=self._clock.now())
        return known[key].event_id if key in known else None

    # what it waits for

    async def _wait(self, row: Delivery) -> str | None:
        if row.state.finished or (row.state is State.QUEUED and row.due > self._clock.now()):
            return None
        dispatcher = self._wiring.dispatchers.get(row.function)
        if dispatcher is None:
            return f"the configuration has no function {row.function}"
        if not dispatcher.serves(Lane(row.trigger, row.function)):
            return f"the configuration no longer joins trigger {row.trigger} and function {row.function}"
        if self._paused("function", row.function):
            return f"function {row.function} is paused"
        if dispatcher.halting():
            return f"nothing of function {row.function} may begin; see: triggerhub functions show {row.function}"
        if row.state is State.QUEUED and row.ordering_key is not None and (first := await self._before(row)):
            return f"delivery {first} has the same ordering key and goes first"
        return dispatcher.limit(Lane(row.trigger, row.function), row)

    async def _before(self, row: Delivery) -> str | None:
        query = Query(key=row.ordering_key, trigger=row.trigger, function=row.function, before=row.id, limit=SEARCHED)
        rows = [one for one in await self._store.page(query) if one.ordering_key == row.ordering_key]
        return next((one.id for one in reversed(rows) if not one.state.finished), None)

    def limits(self, row: Delivery) -> str:
        """Return what calls for a delivery are held to, by the configuration in force."""
        function = self._wiring.project.functions.get(row.function)
        trigger = self._wiring.project.triggers.get(row.trigger)
        if function is None:
            return ""
        found = [f"concurrency {function.concurrency}"]
        if function.rate is not None:
            found.append(f"rate {function.rate.count} in {function.rate.per // 1000} s")
        if trigger is not None and trigger.maximum_concurrency is not None:
            found.append(f"maximum_concurrency {trigger.maximum_concurrency}")
        return ", ".join(found)

    # where it went on to

    async def _further(self, row: Delivery) -> list[Further]:
        function = self._wiring.project.functions.get(row.function)
        if function is None or row.finished is None or row.state is State.CANCELLED:
            return []
        return [await self._sent(row, to) for to in self._destinations(row, function)]

    def _destinations(self, row: Delivery, function: Function) -> tuple[Destination, ...]:
        if row.state is State.SUCCEEDED:
            return function.on_success
        trigger = self._wiring.project.triggers.get(row.trigger)
        return function.on_failure if trigger is None or trigger.on_failure is None else trigger.on_failure

    async def _sent(self, row: Delivery, to: Destination) -> Further:
        made_by = destination_trigger(row.function)
        if to.kind == "queue":
            try:
                made_by = self._wiring.consumer(to.target)[0].name
            except NotFound:
                return Further(to=str(to), delivery=None, state=None)
        assert row.finished is not None, "only what is finished was sent on"
        query = Query(
            trigger=made_by,
            since=row.finished - _AROUND,
            before=ids.first_at(row.finished + _AROUND),
            limit=SEARCHED,
        )
        for one in await self._store.page(query):
            fits = to.kind == "queue" or one.function == function_of(to)
            if fits and (found := await self._store.event(one.event_id)) and row.id.encode() in found[0].data:
                return Further(to=str(to), delivery=one.id, state=one.state)
        refused = refusal(to, "") in (row.reason or "") or self._filtered(row, made_by)
        return Further(to=str(to), delivery=None, state=None, taken=not refused)

    def _filtered(self, row: Delivery, trigger: str) -> bool:
        """Whether the filter of a queue's trigger refused what came of a delivery."""
        assert row.finished is not None, "only what is finished was sent on"
        refused = self._unstored.find([row.event_id], ())
        return any(one.trigger == trigger and abs(one.time - row.finished) <= _AROUND for one in refused)


def _place(trigger: Trigger) -> str:
    """Say what a trigger reads, as far as an option says it."""
    found = ((name, getattr(trigger.options, name, None)) for name in _PLACES)
    places = [f"{name} {value}" for name, value in found if isinstance(value, str) and value]
    return ", ".join([*places, *([f"methods {' '.join(methods)}"] if (methods := _methods(trigger)) else [])])


def _methods(trigger: Trigger) -> tuple[str, ...]:
    """Return what requests a webhook takes; no two take the same of one path."""
    return tuple(getattr(trigger.options, "methods", ()))


def _reads(one: Trigger, own: Trigger, names: Sequence[str]) -> bool:
    """Whether a trigger reads what the event came by: the same, or a folder that its file is in."""
    if one is own or _place(one) == _place(own):
        return True
    folder = getattr(one.options, "path", None)
    if not isinstance(folder, str) or not folder.startswith("/"):
        return False
    inside = f"{os.path.normpath(folder)}/"
    return any(name.startswith(inside) for name in names)
