"""Part a function's room among its lanes: who may have something to claim, and whose turn it is. No I/O."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from triggerhub.hub.group import CLAIM_LIMIT
from triggerhub.hub.lane import LanePlan
from triggerhub.model import Millis
from triggerhub.policy import pooling
from triggerhub.settings import Function
from triggerhub.store import Lane, Want


class Turns:
    """One function's lanes."""

    def __init__(self) -> None:
        self.plans: Mapping[Lane, LanePlan] = {}
        self._order: deque[LanePlan] = deque()
        self._look: dict[Lane, Millis] = {}
        """When each lane may have something to claim; one that is not here has nothing until it is woken."""
        self._outstanding: Counter[Lane] = Counter()

    def configure(self, plans: Mapping[Lane, LanePlan]) -> None:
        """Serve these lanes from now on, each of which may have something."""
        self.plans = dict(plans)
        self._order = deque(plans.values())
        self.wake()

    def wake(self, lane: Lane | None = None) -> None:
        """Take it that a lane, or every one, has something to claim."""
        if lane is None:
            self._look = dict.fromkeys(self.plans, 0)
        elif lane in self.plans:
            self._look[lane] = 0

    def asked(self, lane: Lane) -> None:
        """Note that the lane is being asked: what it gets from here on wakes it anew."""
        self._look.pop(lane, None)

    def answered(self, lane: Lane, moment: Millis | None) -> None:
        """Note when the lane may have something more."""
        if moment is not None:
            self._look[lane] = min(self._look.get(lane, moment), moment)

    def taken(self, lane: Lane) -> None:
        """Count a group of the lane as under way."""
        self._outstanding[lane] += 1

    def over(self, lane: Lane) -> None:
        """Count a group of the lane as no longer under way."""
        self._outstanding[lane] -= 1

    def space(self, plan: LanePlan, function: Function) -> int:
        """Return how many groups of this lane may be under way beside those that are."""
        if plan.maximum_concurrency is None:
            return function.concurrency + pooling.AHEAD_MOST
        return plan.maximum_concurrency - self._outstanding[plan.lane]

    def next(self, function: Function) -> Millis | None:
        """Return when a lane that has space may have something."""
        looks = (
            self._look[one.lane] for one in self._order if one.lane in self._look and self.space(one, function) > 0
        )
        return min(looks, default=None)

    def wants(self, room: int, function: Function, now: Millis) -> list[tuple[LanePlan, Want]]:
        """Part room for so many groups among the lanes that may have something, each in its turn."""
        if room <= 0:
            return []
        self._order.rotate(-1)
        asked = [one for one in self._order if self._look.get(one.lane, now + 1) <= now]
        asked = [one for one in asked if self.space(one, function) > 0][:room]
        wants: list[tuple[LanePlan, Want]] = []
        for number, plan in enumerate(asked):
            share = min(room // len(asked) + (number < room % len(asked)), self.space(plan, function))
            batch = plan.batch
            if batch.size == 1:
                wants.append((plan, Want(lane=plan.lane, limit=share, bytes=CLAIM_LIMIT, window=batch.window)))
            else:
                want = Want(lane=plan.lane, limit=batch.size, bytes=CLAIM_LIMIT, size=batch.size, window=batch.window)
                wants += [(plan, want)] * share
        return wants
