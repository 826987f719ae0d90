"""Hold the hub to a floor: what a launcher that is root refuses, whatever a hub that is not asks of it.

Told once, before the hub listens to anybody; a hub that was taken over can neither widen it nor become root by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .plan import BadPlan, Plan

_PORTS = 1024
"""Below it only root may listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Paths are absolute and without links; each stands for all that lies below it."""

    uid: int
    """The hub's own, which no function gets."""
    read: tuple[str, ...] = ()
    """What may be shown."""
    write: tuple[str, ...] = ()
    """What may be shown to be changed."""
    groups: tuple[str, ...] = ()
    """Below which a sandbox may join control groups."""
    filters: tuple[str, ...] = ()
    """The seccomp programs of which each sandbox has one, as a plan holds them."""


def encode(floor: Floor) -> bytes:
    return json.dumps(asdict(floor), separators=(",", ":")).encode()


def decode(packet: bytes) -> Floor:
    """Return what :func:`encode` was given. Raises ValueError, TypeError or KeyError for anything else."""
    given: dict[str, Any] = json.loads(packet)
    paths = {name: tuple(str(path) for path in given[name]) for name in ("read", "write", "groups", "filters")}
    return Floor(uid=int(given["uid"]), **paths)


def hold(plan: Plan, floor: Floor) -> None:
    """Raise BadPlan where *plan* goes below *floor*. Uids are held to their range by ``plan.decode``, for everybody."""
    if plan.uid == floor.uid:
        raise BadPlan(f"{plan.uid} is the hub's own uid")
    if not plan.namespaces:
        # Then the host is there, and only what the hub itself names would hold who sees it.
        raise BadPlan("a launcher that is root makes nothing without namespaces for a hub that is not")
    if plan.filter not in floor.filters:
        raise BadPlan("that is none of the filters of system calls that were there when the hub started")
    for bind in plan.binds:
        if bind.access == "device":
            raise BadPlan(f"{bind.source} may not be shown as a device")
        if not _within(bind.source, (*floor.write, *floor.read) if bind.access == "read" else floor.write):
            what = "shown" if bind.access == "read" else "shown to be changed"
            raise BadPlan(
                f"{bind.source} may not be {what}: nothing named it when the hub started, "
                "and what its launcher may show is fixed then; start the hub again"
            )
    _beside([path for path, _ in (*plan.links, *plan.files)], [bind.target for bind in plan.binds])
    for group in plan.groups:
        if not _within(group, floor.groups):
            raise BadPlan(f"{group} is no control group of the hub's")
    if plan.listen is not None and (plan.network == "host" or plan.listen < _PORTS):
        raise BadPlan(f"port {plan.listen} may not be listened on")


def _beside(made: Iterable[str], binds: Iterable[str]) -> None:
    """Refuse what would be written by root into something of the host."""
    shown = tuple(binds)
    for path in made:
        if _within(path, shown):
            raise BadPlan(f"{path} would be made within what is shown of the host")


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)
