"""Watch the measures of alarms, and tell destinations when one goes off and when it is over.

What an alarm is told of is an event of the built-in trigger ``alarm:NAME``, stored and retried like any other. Its
standing is kept in the store, so that a restart neither forgets a recovery nor tells of the same trouble twice.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TypeAlias

import anyio
import structlog

from triggerhub.aws import cloudwatch
from triggerhub.errors import NotFound, StoreBroken
from triggerhub.hub.feed import Happening
from triggerhub.hub.gate import Gate
from triggerhub.hub.intake import Inlet
from triggerhub.hub.outlet import function_of
from triggerhub.hub.services import Services
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Event, Json, Millis, State, alarm_trigger
from triggerhub.policy import alarm, units
from triggerhub.policy.alarm import Standing
from triggerhub.policy.quantile import quantile
from triggerhub.settings import MINUTE, Alarm, Condition, Destination
from triggerhub.source import Filtered
from triggerhub.store import Intake, Lane, Owed, Query
from triggerhub.telemetry.durations import between
from triggerhub.telemetry.metrics import Totals

log = structlog.get_logger("alarm")

LOOK = 10.0
"""Seconds between looks."""
READINGS = 60
"""How many readings a window is made of at most: it is exact to a sixtieth."""
SCOPE = "alarm"

Stamp: TypeAlias = Callable[[Event, str], Event]
Queue: TypeAlias = Callable[[str, bytes], tuple[Gate, Event]]
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class _Watched:
    """One alarm: where it stands, who is told, and what was read within its window."""

    def __init__(self, name: str, text: str, standing: Standing) -> None:
        self.name = name
        self.text = text
        self.standing = standing
        self.kept = ""
        """Its checkpoint, as the store has it."""
        self.then: tuple[Destination, ...] = ()
        self.value: float | None = None
        self._of: tuple[str, str] | None = None
        self._readings: deque[tuple[Millis, Totals]] = deque()

    @property
    def begun(self) -> Millis:
        """Since when its window is measured: at the earliest since this process began."""
        return self._readings[0][0] if self._readings else 0

    def since(self, when: Condition, totals: Totals, now: Millis) -> Totals:
        """Return what was counted before the window, and remember *totals* for later."""
        readings, window, of = self._readings, when.window or MINUTE, (when.measure, when.name)
        if of != self._of or (readings and readings[-1][0] > now):  # the clock was put back
            readings.clear()
            self._of = of
        if not readings or now - readings[-1][0] >= window // READINGS:
            # What did not change shares the memory of the reading before.
            readings.append((now, readings[-1][1] if readings and readings[-1][1] == totals else totals))
        while len(readings) > 1 and readings[1][0] <= now - window:
            readings.popleft()
        return readings[0][1]


class Alarms:
    """Looks every few seconds until cancelled; the memory is bounded by the alarms of the configuration."""

    def __init__(self, wiring: Wiring, services: Services, inlet: Inlet, stamp: Stamp, queue: Queue) -> None:
        """*stamp* and *queue* are as an Outlet's."""
        self._wiring, self._inlet, self._stamp, self._queue = wiring, inlet, stamp, queue
        self._store, self._metrics, self._feed = services.store, services.metrics, services.feed
        self._clock = services.clock
        self._watched: dict[str, _Watched] = {}

    async def watch(self) -> None:
        """Raises StoreBroken; any other trouble is logged, and looked at again."""
        await self._recall()
        while True:
            alarms = self._wiring.project.alarms
            for name in {**self._watched, **alarms}:
                try:
                    await (self._look(name, alarms[name]) if name in alarms else self._leave(self._watched[name]))
                except StoreBroken:
                    raise
                except Exception as error:  # one alarm's trouble is not the others'
                    log.error("an alarm could not be looked at", alarm=name, exc_info=error)
            self._metrics.alarms = {name: one.standing.state == "alarm" for name, one in self._watched.items()}
            await anyio.sleep(LOOK)

    def rows(self) -> list[dict[str, Json]]:
        """One row per alarm of the configuration."""
        rows = []
        for name, one in self._wiring.project.alarms.items():
            watched = self._watched.get(name)
            rows.append(
                {
                    "name": name,
                    "when": one.when.text,
                    "state": watched.standing.state if watched else "ok",
                    "since": watched.standing.since if watched else None,
                    "value": None if watched is None or watched.value is None else _shown(one.when, watched.value),
                    "then": [str(to) for to in one.then],
                }
            )
        return rows

    def on(self) -> list[dict[str, Json]]:
        """Return the rows of those alarms that are on, the latest first."""
        return sorted(
            (row for row in self.rows() if row["state"] == "alarm"), key=lambda row: row["since"], reverse=True
        )

    async def _recall(self) -> None:
        for name, kept in (await self._store.checkpoints(SCOPE)).items():
            try:
                fields = json.loads(kept)
                self._watched[name] = _Watched(name, fields.pop("when"), Standing(**fields))
            except (ValueError, LookupError, TypeError) as error:  # of another version of the hub
                log.error("where an alarm stood cannot be read; it begins anew", alarm=name, exc_info=error)

    async def _look(self, name: str, one: Alarm) -> None:
        now = self._clock.now()
        watched = self._watched.setdefault(name, _Watched(name, one.when.text, alarm.begin(now)))
        if watched.text != one.when.text:
            watched.text, watched.standing = one.when.text, alarm.changed(watched.standing, now)
        watched.then = one.then
        watched.value = await self._measured(one.when, watched, now)
        holds = alarm.judge(one.when, watched.standing, watched.value, now, begun=watched.begun)
        standing, change = alarm.step(watched.standing, holds, now, hold=one.hold, repeat=one.repeat)
        if change is not None:
            await self._tell(watched, change, _found(one.when, watched, now), now)
        watched.standing = standing
        kept = json.dumps({"when": watched.text, **asdict(standing)})
        if kept != watched.kept:
            await self._store.set_checkpoints(SCOPE, {name: kept})
            watched.kept = kept

    async def _leave(self, watched: _Watched) -> None:
        """Forget an alarm that was removed; whoever was told that it is on, and is there, is told that it is over."""
        if watched.standing.state == "alarm":
            watched.then = tuple(filter(self._there, watched.then))
            await self._tell(watched, "ok", "the alarm was removed", self._clock.now())
        await self._store.set_checkpoints(SCOPE, {watched.name: None})
        del self._watched[watched.name]

    # measuring

    async def _measured(self, when: Condition, watched: _Watched, now: Millis) -> float | None:
        match when.measure:
            case "queued":
                return float(sum(counts.get(State.QUEUED, 0) for counts in (await self._lanes(when.name)).values()))
            case "lag":
                due = await self._store.earliest(list(await self._lanes(when.name)))
                return 0.0 if due is None else float(max(now - due, 0))
            case "degraded":
                return float(self._degraded(when.name))
            case "succeeded":
                query = Query(
                    state=State.SUCCEEDED, function=when.name, since=now - (when.window or 0), limit=int(when.bound) + 2
                )
                return float(len(await self._store.page(query)))
        if when.measure == "accepted":
            totals = Totals(accepted=self._metrics.accepted(when.name))
        else:
            totals = self._metrics.totals(when.name)
        return _difference(when.measure, watched.since(when, totals, now), totals)

    async def _lanes(self, name: str) -> Mapping[Lane, Mapping[State, int]]:
        stats = await self._store.stats()
        own = name in self._wiring.project.triggers
        return {
            lane: counts for lane, counts in stats.by_lane.items() if (lane.trigger if own else lane.function) == name
        }

    def _degraded(self, trigger: str) -> bool:
        supervised = self._wiring.sources.get(trigger)
        return supervised is not None and supervised.why is not None

    # telling

    async def _tell(self, watched: _Watched, change: alarm.Change, found: str, now: Millis) -> None:
        name, reason = watched.name, f"{watched.text}: {found}"
        words = {"alarm": "an alarm went off", "again": "an alarm is still on", "ok": "an alarm is over"}
        say = log.info if change == "ok" else log.warning
        say(words[change], alarm=name, why=reason, on_screen=True)
        self._feed.publish(Happening(time=now, kind=f"alarm-{'ok' if change == 'ok' else 'on'}", text=reason))
        body = cloudwatch.alarm_state_change(
            name=name,
            state="OK" if change == "ok" else "ALARM",
            previous="ALARM" if change in ("ok", "again") else "OK",
            reason=reason,
            since=watched.standing.since,
            time=now,
            description=watched.text,
        )
        intakes = [made for to in watched.then if (made := self._intake(name, to, body, now))]
        if intakes:
            await self._inlet.put(intakes)

    def _there(self, to: Destination) -> bool:
        if to.kind != "queue":
            return function_of(to) in self._wiring.dispatchers
        with suppress(NotFound):
            return bool(self._wiring.consumer(to.target))
        return False

    def _intake(self, name: str, to: Destination, body: bytes, now: Millis) -> Intake | None:
        if to.kind == "queue":
            gate, event = self._queue(to.target, body)
            admitted = gate.admit(self._stamp(event, gate.trigger.name))
            return None if isinstance(admitted, Filtered) else admitted
        event = self._stamp(Event(data=body, time=now), alarm_trigger(name))
        return Intake(event=event, owed=(Owed(function=function_of(to)),))


def _difference(measure: str, before: Totals, now: Totals) -> float | None:
    calls, errors = now.invocations - before.invocations, now.errors - before.errors
    if measure == "error_rate":
        return 100 * errors / calls if calls else None
    if measure in _QUANTILES:
        return quantile(_QUANTILES[measure], between(before.durations, now.durations))
    return float(getattr(now, measure) - getattr(before, measure))


def _found(when: Condition, watched: _Watched, now: Millis) -> str:
    if watched.value is not None:
        return f"{_shown(when, watched.value)} now"
    window = when.window or 0
    return "no calls measured " + ("yet" if now - watched.begun < window else f"in {units.show_duration(window)}")


def _shown(when: Condition, value: float) -> str:
    match alarm.MEASURES[when.measure].kind:
        case "time":
            return units.took(value)
        case "share":
            return f"{value:.3g}%"
        case _:
            return f"{value:,.0f}"
