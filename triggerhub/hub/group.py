"""Put claimed deliveries together for one invocation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from triggerhub.hub.lane import LanePlan
from triggerhub.policy.batching import fit
from triggerhub.settings import MB
from triggerhub.store import Claimed, Lane

PAYLOAD_LIMIT = 6 * MB
"""What one invocation may carry: Lambda's synchronous limit."""


CLAIM_LIMIT = 8 * PAYLOAD_LIMIT
"""What one claim may load: ten thousand large records would be more than the memory holds."""


@dataclass(slots=True)
class Group:
    """Deliveries that one invocation carries."""

    plan: LanePlan
    claimed: list[Claimed]
    request_id: str = ""
    trace: str | None = None
    """Where its call is within a trace; None before it has begun, or where it has none."""
    scope: anyio.CancelScope | None = None
    lines: frozenset[tuple[Lane, str]] = frozenset()
    """Lane and ordering key of each line in which its call is the one under way."""


def groups(plan: LanePlan, claimed: Sequence[Claimed]) -> list[Group]:
    """Group deliveries as the plan's batch says, within what one invocation may carry."""
    if plan.batch.size == 1:
        return [Group(plan, [one]) for one in claimed]
    made, rest = [], list(claimed)
    while rest:
        size = max(1, fit([len(one.event.data) for one in rest], PAYLOAD_LIMIT))
        made.append(Group(plan, rest[:size]))
        rest = rest[size:]
    return made
