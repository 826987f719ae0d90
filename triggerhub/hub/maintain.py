"""Keep house: prune history, end idle workers, look at the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
import structlog

from triggerhub.errors import StoreBroken
from triggerhub.hub.clock import Clock
from triggerhub.hub.outlet import built_in
from triggerhub.hub.pool import Pool
from triggerhub.hub.wiring import Wiring
from triggerhub.model import Millis
from triggerhub.settings import DAY, SECOND, Project
from triggerhub.store import Store

log = structlog.get_logger("maintain")

SWEEP = 1.0
"""Seconds between looks at idle workers."""
PRUNE = 60
"""Sweeps between prunings."""
CHUNK = 1000
STEP = 5 * SECOND
"""A clock that went another way by more than this from one sweep to the next was set."""
LEAP = DAY
"""Where it was put forward by more than this, it may be wrong, and all history looks old …"""
PATIENCE = 3600.0
"""… so for so many seconds none is pruned: who put it there has time to put it right."""
AUDITED = 10.0
"""Seconds after the start at which the store is audited: what a crash or a disk did to it lies there by then."""
AUDITS = 24 * 3600.0
"""Seconds between two audits."""
TOLD = 3
"""So many findings of an audit are told; more say no more."""
REMEDY = (
    "where there is damage, or deliveries are missing, put a backup in its place with `triggerhub restore FILE`; "
    "by a wrong count alone nothing is lost"
)


async def maintain(store: Store, pool: Pool, clock: Clock, wiring: Wiring) -> None:
    """Run until cancelled."""
    turn, back, patience = 0, 0, 0.0
    hands = Hands(clock)
    while True:
        pool.sweep()
        step = hands.step()
        back += max(-step, 0)
        if step > LEAP:
            patience = anyio.current_time() + PATIENCE
            log.warning("the clock was put forward; no history is pruned for a while", seconds=step / 1000)
        if back and await _brought_forward(store, back, clock):
            back = 0
            wiring.dispatchers.wake()
        if turn % PRUNE == 0 and anyio.current_time() >= patience:
            try:
                await prune(store, clock, wiring.project)
                await wiring.versions.prune()
            except StoreBroken:
                raise
            except Exception as error:  # housekeeping that fails is tried again; the hub goes on
                log.error("history could not be pruned", exc_info=error)
        turn += 1
        await anyio.sleep(SWEEP)


async def _brought_forward(store: Store, back: Millis, clock: Clock) -> bool:
    """Let what waits wait no longer for a clock that was put back; False where that is to be tried again."""
    try:
        moved = await store.hasten(back, now=clock.now())
    except StoreBroken:
        raise
    except Exception as error:  # a full disk, say
        log.error("what waits could not be brought forward", exc_info=error)
        return False
    log.warning("the clock was put back; what waits is brought forward", seconds=back / 1000, deliveries=moved)
    return True


class Hands:
    """Compares the wall clock with the one that nobody sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._steady = clock.now(), anyio.current_time()

    def step(self) -> Millis:
        """Return by how much the clock was put forward since the last look, or back (negative); 0 where it was not."""
        wall, steady = self._clock.now(), anyio.current_time()
        step = wall - self._wall - int((steady - self._steady) * 1000)
        self._wall, self._steady = wall, steady
        return step if abs(step) > STEP else 0


async def audit(store: Store, note: Callable[[Sequence[str]], None]) -> None:
    """Audit the store soon after the start and once a day, and give what was found to *note*; until cancelled."""
    wait = AUDITED
    while True:
        await anyio.sleep(wait)
        wait = AUDITS
        try:
            findings = await store.audit()
        except StoreBroken:
            raise
        except Exception as error:  # the next one may tell more; the hub goes on
            log.error("the store could not be audited", exc_info=error)
            continue
        for finding in findings[:TOLD]:
            log.error("the store is not as it should be", finding=finding, remedy=REMEDY)
        note([f"the store: {finding}; {REMEDY}" for finding in findings[:TOLD]])


async def prune(store: Store, clock: Clock, project: Project) -> int:
    """Remove history older than ``[hub] keep`` (dead letters: their function's own), then what is over ``keep_size``.

    The oldest finished deliveries go first; what is queued or running never goes, and a dead letter by its age alone.
    """
    hub, now = project.hub, clock.now()
    removed = 0
    keep = hub.keep
    # Where it is but the backlog that is too large, no history makes room for it.
    most = hub.keep_size + (await store.held() if await store.size() > hub.keep_size else 0)
    while True:
        dead = {name: now - keep_dead for name, keep_dead in (await _dead_letters(store, project)).items()}
        over = await store.size() > most
        if over:
            keep //= 2
        while gone := await store.prune(finished_before=now - keep, dead_before=dead, now=now, limit=CHUNK):
            removed += gone
            await anyio.lowlevel.checkpoint()
        if not over or keep < 1000:
            break
    if removed:
        log.info("pruned history", deliveries=removed)
    return removed


async def _dead_letters(store: Store, project: Project) -> dict[str, Millis]:
    """Return how long dead letters are kept, by function: those of one that is gone as ``[defaults]`` says."""
    there = dict(project.functions) | built_in(project)
    gone = {lane.function for lane in (await store.stats()).by_lane} - there.keys()
    return {name: there.get(name, project.defaults).dead_letters_keep for name in there.keys() | gone}


def free_share(project: Project) -> float:
    """Return which part of the data folder's disk is free."""
    usage = shutil.disk_usage(project.hub.data)
    return usage.free / usage.total
