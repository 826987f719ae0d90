"""Commit outcomes in groups: whatever gathers while one commit runs joins the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import anyio
import structlog

from triggerhub.errors import StoreBroken, StoreFull
from triggerhub.hub.feed import Happening
from triggerhub.hub.outlet import failure_of
from triggerhub.hub.services import Services
from triggerhub.model import Bury, Complete, Delivery, Retry, destination_trigger
from triggerhub.policy.masking import shortened
from triggerhub.policy.quiet import Quiet
from triggerhub.store import Claimed, Fence, Intake, Lane, Settlement, Store

log = structlog.get_logger("dispatch")

UNSETTLED = 256
"""How many outcomes may wait for their commit before runners wait, too."""
TOLD = 500
"""How much of an error the log tells; the whole is in the dead letter."""
Owing = tuple[Claimed, Settlement]


class Settler:
    """Settles one function's deliveries; *settled* hears of those whose commit is over, held or not."""

    def __init__(self, function: str, services: Services, settled: Callable[[Sequence[Owing]], None]) -> None:
        self._function = function
        self._services = services
        self._settled = settled
        self._buried = Quiet(every=1000)
        self._owing: list[Owing] = []
        self._owed = asyncio.Event()
        self._moved = asyncio.Event()
        self._committing = False
        self._scope = anyio.CancelScope(shield=True)
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether so many outcomes wait that no more work should begin."""
        return len(self._owing) > UNSETTLED

    def owe(self, settlements: Iterable[Owing]) -> None:
        """Commit these with the next group."""
        self._owing.extend(settlements)
        self._owed.set()

    async def room(self) -> None:
        """Wait while ``full``."""
        while self.full:
            self._moved.clear()
            await self._moved.wait()

    async def rest(self) -> None:
        """Wait until nothing is owed and no commit is under way."""
        while (self._owing or self._committing) and not self._ended:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Commit until ``stop``; no cancellation from outside ends it, for what came of a call must be kept.

        Raises StoreBroken. Anything else that one outcome meets buries that delivery and is logged.
        """
        try:
            with self._scope:
                while True:
                    await self._owed.wait()
                    self._owed.clear()
                    await self._flush()
        finally:
            self._ended = True
            self._moved.set()

    def stop(self) -> None:
        self._scope.cancel()

    async def _flush(self) -> None:
        owing, self._owing = self._owing, []
        if not owing:
            return
        self._committing = True
        try:
            await self._commit(owing)
        finally:
            self._committing = False
            self._moved.set()

    async def _commit(self, owing: Sequence[Owing]) -> None:
        try:
            held = await self._settle([one for _, one in owing])
        except StoreBroken:
            raise
        except Exception as error:  # one outcome that cannot be stored must not keep the others
            if len(owing) > 1:
                for one in owing:
                    await self._commit([one])
                return
            ((claimed, settlement),) = owing
            self._services.metrics.count("lost_records", self._function, len(settlement.then))
            owing = [(claimed, bare := _bare(settlement, error))]
            held = [await self._bury(bare, error)]
        for (claimed, settlement), ok in zip(owing, held, strict=True):
            if ok:
                await self._account(claimed, settlement)
        self._settled(owing)

    async def _settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        services = self._services
        while True:
            try:
                return await services.store.settle(settlements, now=services.clock.now())
            except StoreFull:
                log.error("the disk is full to the last byte: outcomes wait for room", function=self._function)
            except (OSError, MemoryError) as error:  # no descriptor or no memory is left just now
                log.error("outcomes wait for what the host has no more of", function=self._function, error=str(error))
            await anyio.sleep(1)

    async def _bury(self, bare: Settlement, error: Exception) -> bool:
        log.error("an outcome could not be stored", delivery=bare.delivery, exc_info=error)
        try:
            (held,) = await self._settle([bare])
        except StoreBroken:
            raise
        except Exception as again:  # it stays running, and the next start of the hub gives it back
            log.error("a delivery could not be buried", delivery=bare.delivery, exc_info=again)
            return False
        return held

    async def _account(self, claimed: Claimed, settlement: Settlement) -> None:
        await account(self._services, settlement.then)
        self._tell(claimed.delivery, settlement)

    def tell_buried(self, damaged: Delivery) -> None:
        """Count and show a delivery that the store itself buried."""
        self._tell(damaged, Settlement(delivery=damaged.id, fence=Fence(0, 0), decision=Bury(damaged.reason or "")))

    def _tell(self, delivery: Delivery, settlement: Settlement) -> None:
        services, trigger = self._services, delivery.trigger
        kind, text, attempt = "succeeded", "", settlement.attempt
        match settlement.decision:
            case Complete(reason):
                text = reason or ""
                services.depth.add(trigger, -1)
            case Retry(_, counted):
                kind = "retried" if counted else "returned"
                if counted:
                    services.metrics.count("retries", self._function)
            case Bury(reason):
                kind, text = "dead", reason
                services.depth.add(trigger, -1)
                services.metrics.count("dead", self._function)
                origin = trigger.removeprefix(destination_trigger(""))
                if origin != trigger and (failure := failure_of(self._function)):
                    # Of the function whose outcome it was, as AWS counts them.
                    services.metrics.count(failure, origin)
        if attempt is not None and attempt.error is not None:
            text = f"{attempt.error.type}: {attempt.error.message}" + (f" ({text})" if text else "")
        if kind == "dead" and (count := self._buried.due(services.clock.now())):
            log.warning(
                "a delivery is a dead letter",
                delivery=settlement.delivery,
                trigger=trigger,
                function=self._function,
                why=shortened(text, TOLD),
                count=count,
                on_screen=True,
            )
        if not services.feed.watched:
            return
        services.feed.publish(
            Happening(
                time=services.clock.now(),
                kind=kind,
                trigger=trigger,
                function=self._function,
                delivery=settlement.delivery,
                duration_ms=None if attempt is None else attempt.duration_ms,
                text=text,
            )
        )


async def account(services: Services, intakes: Sequence[Intake]) -> None:
    """Count, and rouse the dispatchers of, events that a commit took beside what it settled."""
    for intake in intakes:
        trigger = intake.event.trigger
        if not await _new(services.store, intake):
            services.metrics.count("duplicates", trigger)
            continue
        services.metrics.count("accepted", trigger)
        services.depth.add(trigger, len(intake.owed))
        for owed in intake.owed:
            services.wake(Lane(trigger, owed.function))


async def _new(store: Store, intake: Intake) -> bool:
    """Whether the event was taken, and is not the repetition of another with its dedup key."""
    if intake.event.dedup_key is None:
        return True
    try:
        return await store.event(intake.event.id) is not None
    except StoreBroken:
        raise
    except Exception as error:  # only a count hangs on it
        log.error("an event could not be read", event=intake.event.id, exc_info=error)
        return True


def _bare(settlement: Settlement, error: Exception) -> Settlement:
    """Return what is left to settle where all that came of a call cannot be stored."""
    reason = f"its outcome could not be stored: {type(error).__name__}: {error}"
    return replace(settlement, decision=Bury(ascii(reason)[1:-1]), attempt=None, answer=None, then=())
