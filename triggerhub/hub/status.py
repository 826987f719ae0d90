"""Show how the hub does: plain values for the admin API, text for Prometheus."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo

import anyio

import triggerhub
from triggerhub import hooks
from triggerhub.errors import TriggerhubError
from triggerhub.hub.intake import Inlet
from triggerhub.hub.maintain import free_share
from triggerhub.hub.pause import Paused
from triggerhub.hub.pool import Pool
from triggerhub.hub.preparing import Preparation
from triggerhub.hub.services import Services
from triggerhub.hub.supervise import STUCK
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Json, Millis, State
from triggerhub.policy.sandbox.levels import Refusal
from triggerhub.settings import Function, Level, Trigger
from triggerhub.store import Lane, Stats
from triggerhub.telemetry.output import OutputLog


class Status:
    """Reads; changes nothing."""

    def __init__(
        self,
        wiring: Wiring,
        services: Services,
        inlet: Inlet,
        pool: Pool,
        paused: Paused,
        preparation: Preparation,
        output: OutputLog,
    ) -> None:
        self._wiring, self._inlet, self._pool, self._output = wiring, inlet, pool, output
        self._paused, self._preparation = paused, preparation
        self._store, self._clock, self._metrics = services.store, services.clock, services.metrics
        self._started = self._clock.now()
        self._findings: tuple[str, ...] = ()

    async def functions(self) -> list[dict[str, Json]]:
        """One row per function of the configuration."""
        lanes = (await self._store.stats()).by_lane
        return [self._function(function, lanes) for function in self._wiring.project.functions.values()]

    def _function(self, function: Function, lanes: Mapping[Lane, Mapping[State, int]]) -> dict[str, Json]:
        name = function.name
        level = self._pool.level(function)
        return {
            "name": name,
            "runtime": function.runtime,
            "interpreter": function.interpreter.name if function.interpreter else None,
            "handler": function.handler or " ".join(function.command),
            "version": function.version,
            "leads": function.leads.shares if function.leads else None,
            "source": function.source,
            "timeout_ms": function.timeout,
            "memory": function.memory,
            "concurrency": function.concurrency,
            "reserved": bool(function.reserved),
            "warm": function.warm,
            "reuse": function.reuse,
            "level": level if isinstance(level, str) else None,
            "refused": None if isinstance(level, str) else f"{level.message}; {level.hint}",
            "paused": function.held or self._paused("function", name),
            "preparing": self._preparation.state(name),
            "pinned": self._wiring.versions.pinned(name),
            "workers": self._pool.live(name),
            "running": self._wiring.dispatchers[name].running,
            "triggers": [one.name for one in self._wiring.project.triggers.values() if name in one.functions],
            "counts": total(counts for lane, counts in lanes.items() if lane.function == name),
        }

    async def triggers(self) -> list[dict[str, Json]]:
        """One row per trigger of the configuration; ``next`` is when it fires by itself."""
        lanes = (await self._store.stats()).by_lane
        lags = await self._lags(lanes)
        return [self._trigger(trigger, lanes, lags) for trigger in self._wiring.project.triggers.values()]

    async def _lags(self, lanes: Mapping[Lane, Mapping[State, int]]) -> dict[Lane, Millis]:
        """Return how long the oldest due delivery of each lane has waited."""
        lags = dict.fromkeys(lanes, 0)
        for lane, counts in lanes.items():
            if counts.get(State.QUEUED) and (due := await self._store.earliest([lane])) is not None:
                lags[lane] = max(self._clock.now() - due, 0)
        return lags

    def _trigger(
        self, trigger: Trigger, lanes: Mapping[Lane, Mapping[State, int]], lags: Mapping[Lane, Millis]
    ) -> dict[str, Json]:
        state, why = self._state(trigger)
        upcoming, failed = self._next(trigger) if state == "running" else (None, None)
        return {
            "name": trigger.name,
            "type": trigger.type,
            "functions": list(trigger.functions),
            "state": state,
            "why": why or failed,
            "next": upcoming,
            "lag_ms": max((lag for lane, lag in lags.items() if lane.trigger == trigger.name), default=0),
            "counts": total(counts for lane, counts in lanes.items() if lane.trigger == trigger.name),
        }

    def _state(self, trigger: Trigger) -> tuple[str, str | None]:
        if not trigger.enabled:
            return "disabled", None
        if self._paused("trigger", trigger.name):
            return "paused", None
        supervised = self._wiring.sources.get(trigger.name)
        if supervised is not None and supervised.why:
            return "degraded", supervised.why
        return "running", None

    def _next(self, trigger: Trigger) -> tuple[Millis | None, str | None]:
        """Return when a trigger fires next, or why its source cannot say."""
        module = self._wiring.modules[trigger.type]
        if not hasattr(module, "upcoming"):
            return None, None
        zone = ZoneInfo(self._wiring.project.hub.timezone)
        try:
            told = hooks.ask(module, "upcoming", object, trigger.options, trigger, self._clock.now(), zone)
            return None if told is None else hooks.expect(module, "upcoming", int, told), None
        except TriggerhubError as error:
            return None, error.message

    async def whole(self, *, ready: bool, addresses: Mapping[str, str]) -> dict[str, Json]:
        """What the hub is and how it does."""
        stats = await self._store.stats()
        project = self._wiring.project
        return {
            "version": triggerhub.__version__,
            "pid": os.getpid(),
            "node": project.hub.node,
            "project": str(project.hub.project),
            "started": self._started,
            "uptime_s": (self._clock.now() - self._started) // 1000,
            "ready": ready,
            **addresses,
            "level": weakest(self._pool.level(one) for one in project.functions.values()),
            "storage": {"bytes": await self._store.size(), "free_share": round(free_share(project), 3)},
            "counts": {
                "accepted": stats.accepted,
                **{state.value: stats.count(state) for state in State},
                "discarded": stats.discarded,
                "pruned": stats.pruned,
                "drift": stats.drift,
            },
            "problems": self._problems(stats),
            "preparing": self._preparation.under_way(),
            "pinned": self._wiring.versions.pins(),
            "paused": self._paused.names,
            "functions": len(project.functions),
            "triggers": len(project.triggers),
        }

    def audited(self, findings: Sequence[str]) -> None:
        """Take note of what the latest audit of the store found."""
        self._findings = tuple(findings)

    def _problems(self, stats: Stats) -> list[str]:
        problems = [*self._wiring.problems, *self._findings, *self._wiring.resting]
        problems += [
            f"function {function.name} is not run: {level.message}; {level.hint}"
            for function in self._wiring.project.functions.values()
            if isinstance(level := self._pool.level(function), Refusal)
        ]
        problems += [
            f"function {function.name} is not run: {function.faulty}"
            for function in self._wiring.project.functions.values()
            if function.faulty and not any(function.faulty in problem for problem in self._wiring.problems)
        ]
        problems += [
            f"function {name}: its deliveries could not be claimed: {one.trouble}; the log says more"
            for name, one in self._wiring.dispatchers.items()
            if one.trouble
        ]
        sources = self._wiring.sources
        why = dict.fromkeys(sources.stuck, STUCK) | {name: one.why for name, one in sources.items() if one.why}
        problems += [f"trigger {name}: {said}" for name, said in why.items()]
        problems += [problem for problem in self._preparation.problems() if problem not in problems]
        problems += self._pool.troubles()
        if self._inlet.full:
            problems.append("the disk is full: new events are refused, accepted ones go on settling")
        if (complaint := self._output.complaint) is not None:
            problems.append(complaint)
        for lane, counts in stats.by_lane.items():
            waiting = counts.get(State.QUEUED, 0)
            dispatcher = self._wiring.dispatchers.get(lane.function)
            if waiting and (dispatcher is None or not dispatcher.serves(lane)):
                problems.append(
                    f"{waiting} deliveries of trigger {lane.trigger!r} wait for function {lane.function!r}, but the "
                    "configuration no longer joins the two; bring it back or cancel them"
                )
        return problems

    async def metrics(self, *, ready: bool, told: bool) -> bytes:
        """The page at /metrics; without *told* nothing that handlers wrote."""
        wiring = self._wiring
        degraded = sum(1 for one in wiring.sources.values() if one.why)
        running = sum(one.running for one in wiring.dispatchers.values())
        gauges = {
            "triggerhub_ready": ("Whether events are being taken.", float(ready)),
            "triggerhub_triggers_degraded": ("Triggers whose source does not work.", float(degraded)),
            "triggerhub_workers": ("Live workers.", float(sum(map(self._pool.live, wiring.project.functions)))),
            "triggerhub_concurrent_executions": ("Calls under way.", float(running)),
            "triggerhub_store_bytes": ("What the store takes on disk.", float(await self._store.size())),
            "process_start_time_seconds": ("When the hub started.", self._started / 1000),
            "triggerhub_cpu_seconds": ("Processor time of the hub itself.", time.process_time()),
        }
        levels = {name: self._pool.level(function) for name, function in wiring.project.functions.items()}
        self._metrics.levels = {
            name: "refused" if isinstance(level, Refusal) else level for name, level in levels.items()
        }
        stats = await self._store.stats()
        lags = await self._lags(stats.by_lane)
        self._metrics.lags = {(lane.trigger, lane.function): lag / 1000 for lane, lag in lags.items()}
        # What writes them is imported at the first time, for which no event shall wait.
        await anyio.to_thread.run_sync(importlib.import_module, "triggerhub.telemetry.exposition")
        return self._metrics.render(stats, gauges, told=told)


def weakest(levels: Iterable[Level | Refusal]) -> str:
    """Return the least level that any function runs at."""
    levels = set(levels)
    return next((level for level in ("trusted", "confined", "isolated", "contained") if level in levels), "isolated")


def total(rows: Iterable[Mapping[State, int]]) -> dict[str, int]:
    """Add up counts by state."""
    totals = dict.fromkeys((state.value for state in State), 0)
    for counts in rows:
        for state, number in counts.items():
            totals[state.value] += number
    return totals
