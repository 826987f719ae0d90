"""Gather what dispatchers, sources and the intake share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from triggerhub.hub.clock import Clock
from triggerhub.hub.depth import Depth
from triggerhub.hub.feed import Feed
from triggerhub.hub.idempotent import Idempotent
from triggerhub.hub.lines import Lines
from triggerhub.hub.mint import Mint
from triggerhub.hub.unstored import Unstored
from triggerhub.hub.verdict import Verdicts
from triggerhub.store import Lane, Store
from triggerhub.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One of each in a hub."""

    store: Store
    clock: Clock
    mint: Mint
    depth: Depth
    feed: Feed
    metrics: Metrics
    verdicts: Verdicts
    wake: Callable[[Lane], None]
    """Has whoever serves a lane look what is due in it."""
    unstored: Unstored
    idempotent: Idempotent
    lines: Lines = field(default_factory=Lines)
