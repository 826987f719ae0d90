"""Fire on a schedule: each slot once, also over restarts, downtime and steps of the clock.

The last slot is stored in the commit of its event, so neither a crash nor a second hub fires it again.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import anyio
from pydantic import AfterValidator, Field

from triggerhub import settings, source
from triggerhub.aws import arn, eventbridge
from triggerhub.model import Event, Millis
from triggerhub.policy import schedule
from triggerhub.policy.schedule import Policy
from triggerhub.settings import DAY, SECOND

LATE: Millis = 10 * SECOND
"""A slot that is later than this was missed: the hub was down, or the clock was put forward."""
AHEAD: Millis = DAY
"""A last slot further ahead than this was fired by a clock that was wrong: waiting for it could take years."""
LOOK = 600.0
"""Seconds after which the clock is looked at while waiting for a slot."""
CHECKPOINT = "last"
_NAMESPACE = uuid.UUID("6f0f4a5e-6b5c-5f5e-9d6b-2f6f5d1c7a10")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f'{name!r} is not a time zone; expected a name like "Europe/Berlin"') from None
    return name


class Options(source.Options):
    """What ``type = "cron"`` takes."""

    schedule: str
    """Five fields, ``@daily`` and the like, ``cron(…)``, ``rate(…)`` or ``at(…)``."""
    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    """Whose clock the schedule is by; the hub's by default."""
    missed: Policy = "once"
    """What to run of the slots that passed while the hub was down: the newest, all, or none."""
    overlap: Literal["allow", "skip", "queue"] = "queue"
    """What to do with a slot while an earlier one still runs."""
    jitter: Annotated[source.Duration, Field(ge=0, le=DAY)] = 0
    """Each slot is late by a part of this: always the same part for the same trigger and slot."""
    seconds_first: bool = False
    """Take a sixth field, the seconds, in front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is stored between runs."""

    schedule: str
    """The schedule and its zone: after a change of either, what passed under it is not missed."""
    anchor: Millis
    """When the schedule was first seen: ``rate`` counts from here."""
    last: Millis
    """All slots up to here are dealt with."""

    def store(self) -> Mapping[str, str]:
        return {CHECKPOINT: json.dumps({"schedule": self.schedule, "anchor": self.anchor, "last": self.last})}


async def run(ctx: source.Context, options: Options) -> None:
    """Emit one event per slot until cancelled."""
    zone = _zone_of(options, ctx.timezone)
    memory = await _recall(ctx, f"{options.schedule.strip()} {zone}")
    ctx.begun()
    name = ctx.trigger.name
    plan = schedule.parse(
        options.schedule, timezone=zone, seconds_first=options.seconds_first, name=name
    ).anchored(memory.anchor)  # fmt: skip
    ticker = _Ticker(ctx, options, plan, memory)
    while await ticker.tick():
        pass
    ctx.log.info("the schedule has no slot any more", schedule=options.schedule)
    await anyio.sleep_forever()


async def _recall(ctx: source.Context, text: str) -> Memory:
    stored = await ctx.checkpoint(CHECKPOINT)
    if stored is not None and (memory := Memory(**json.loads(stored))).schedule == text:
        return memory
    now = ctx.now()
    memory = Memory(schedule=text, anchor=now, last=now)
    await ctx.set_checkpoints(memory.store())
    return memory


class _Ticker:
    """Goes from slot to slot; what is dealt with is remembered in the store."""

    def __init__(self, ctx: source.Context, options: Options, plan: schedule.Schedule, memory: Memory) -> None:
        self._ctx = ctx
        self._options = options
        self._plan = plan
        self._memory = memory
        self._name = ctx.trigger.name

    async def tick(self) -> bool:
        """Wait for the next slot and deal with it; False if there is none."""
        await self._put_right()
        slot = self._plan.next(self._memory.last)
        if slot is None:
            return False
        moment = slot + self._delay(slot)
        with anyio.move_on_after(LOOK):
            await self._ctx.sleep_until(moment)
        now = self._ctx.now()
        if now < moment:
            return True
        if now - moment <= LATE:
            await self._deal(slot)
        else:
            await self._make_up(now)
        return True

    async def _put_right(self) -> None:
        """Begin anew where the clock was put back by more than AHEAD; less is waited for."""
        now, memory = self._ctx.now(), self._memory
        if memory.last <= now + AHEAD:
            return
        self._ctx.log.warning("the clock was put back; the schedule begins anew", last=eventbridge.stamp(memory.last))
        self._memory = Memory(schedule=memory.schedule, anchor=min(memory.anchor, now), last=now)
        self._plan = self._plan.anchored(self._memory.anchor)
        await self._ctx.set_checkpoints(self._memory.store())

    async def _make_up(self, now: Millis) -> None:
        last = self._memory.last
        # A slot whose jitter is still running is not missed, nor is any after it; where the missed ones
        # are skipped, a slot that is just due must not go with them.
        due = now - LATE if self._options.missed == "skip" else now
        recent = schedule.missed(self._plan, max(last, due - self._options.jitter), now, "all")
        until = min((slot - 1 for slot in recent if slot + self._delay(slot) > due), default=now)
        slots = schedule.missed(self._plan, last, until, self._options.missed)
        self._ctx.log.warning(
            "slots were missed", since=eventbridge.stamp(last), missed=self._options.missed, made_up=len(slots)
        )  # fmt: skip
        for slot in slots:
            await self._deal(slot)
        await self._remember(until)

    async def _deal(self, slot: Millis) -> None:
        if self._options.overlap == "skip" and (unfinished := await self._ctx.unfinished()):
            self._ctx.log.info("a slot was skipped", slot=eventbridge.stamp(slot), unfinished=unfinished)
            await self._remember(slot)
            return
        event = _event(self._options, self._name, slot, key=f"cron:{self._name}:{eventbridge.stamp(slot)}")
        memory = self._at(slot)
        await self._ctx.emit(event, checkpoints=memory.store())
        self._memory = memory

    async def _remember(self, last: Millis) -> None:
        memory = self._at(last)
        await self._ctx.set_checkpoints(memory.store())
        self._memory = memory

    def _at(self, last: Millis) -> Memory:
        return Memory(schedule=self._memory.schedule, anchor=self._memory.anchor, last=last)

    def _delay(self, slot: Millis) -> Millis:
        return _delay(self._name, slot, self._options.jitter)


def _delay(trigger: str, slot: Millis, jitter: Millis) -> Millis:
    """Return a part of *jitter* that a trigger's slot always has."""
    if not jitter:
        return 0
    digest = hashlib.sha256(f"{trigger}:{slot}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (jitter + 1)


def _zone_of(options: Options, default: tzinfo) -> tzinfo:
    return ZoneInfo(options.timezone) if options.timezone is not None else default


def _event(options: Options, trigger: str, slot: Millis, *, key: str | None = None) -> Event:
    event_id = str(uuid.uuid5(_NAMESPACE, f"{trigger}:{slot}"))
    return Event(
        data=eventbridge.scheduled(event_id=event_id, time=slot, rule_arn=arn.rule(trigger)),
        time=slot,
        dedup_key=key,
        ordering_key=trigger if options.overlap == "queue" else None,
    )


def fire(options: Options, trigger: str, now: Millis) -> Event:
    """Make an event that is not of a slot: it neither replaces one nor is a duplicate of one."""
    return _event(options, trigger, now)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return the one event that there is."""
    return {"scheduled": fire(options, trigger, now)}


def upcoming(options: Options, trigger: settings.Trigger, now: Millis, timezone: tzinfo) -> Millis | None:
    """Return the next slot, with its jitter; None of a ``rate``: what it counts from is in the store."""
    plan = schedule.parse(
        options.schedule, timezone=_zone_of(options, timezone), seconds_first=options.seconds_first, name=trigger.name
    )  # fmt: skip
    if isinstance(plan.when, schedule.Rate):
        return None
    # A slot that passed may still have jitter to wait for.
    slots: list[Millis | None] = [*schedule.missed(plan, now - options.jitter, now, "all"), plan.next(now)]
    moments = (slot + _delay(trigger.name, slot, options.jitter) for slot in slots if slot is not None)
    return min((moment for moment in moments if moment > now), default=None)


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find a schedule that cannot be, and what in one is hardly meant."""
    try:
        plan = schedule.parse(options.schedule, timezone=UTC, seconds_first=options.seconds_first, name=trigger.name)
    except ValueError as error:
        yield source.Finding(option="schedule", code="bad-cron", message=str(error))
        return
    unused = {
        "seconds_first": options.seconds_first and not schedule.has_fields(options.schedule),
        "timezone": options.timezone is not None and isinstance(plan.when, schedule.Rate),
    }
    for option in (name for name, idle in unused.items() if idle):
        message = f'it does nothing with "{options.schedule}"'
        yield source.Finding(option=option, code="cron-unused", message=message, hint=f"leave {option} out")
    for warned in plan.warnings:
        yield source.Finding(option="schedule", code=warned.code, message=warned.message, warning=True)
    if plan.is_over(time.time_ns() // 1_000_000):
        message = f'"{options.schedule}" has no time to come'
        yield source.Finding(option="schedule", code="cron-over", message=message, warning=True)
