"""Decide what a worker's control groups allow, and find where groups are; texts in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from triggerhub.settings import MB

WHOLE = 1769 * MB
"""The memory that goes with one whole core, as Lambda says."""
PERIOD = 100_000
"""Microseconds in which a share of the processor is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a worker may use in all."""

    memory: int
    """Bytes, its files in memory not included."""
    processes: int
    cpu: float
    """Cores."""
    tmp: int = 0
    """Bytes that its files in memory may have beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where this process's own groups are mounted."""

    separate: Mapping[str, str]
    """Version 1: by controller."""
    unified: str | None


def limit(memory: int, tmp: int, processes: int) -> Limit:
    """Return the limit of a function."""
    return Limit(memory=memory, processes=processes, cpu=memory / WHOLE, tmp=tmp)


def settings(limit: Limit, *, unified: bool) -> tuple[tuple[str, str, bool], ...]:
    """Return what is written into which file, in this order, and whether the group is none without it."""
    # The share is in proportion; the bound is a core at least, since a host's own cores need not lie idle.
    quota = str(int(max(limit.cpu, 1.0) * PERIOD))
    # The kernel counts files in memory as memory of who writes them, and has no bound for the rest alone.
    memory = str(limit.memory + limit.tmp)
    if unified:
        return (
            ("memory.max", memory, True),
            ("memory.swap.max", "0", False),
            ("memory.oom.group", "1", False),
            ("pids.max", str(limit.processes), True),
            ("cpu.weight", str(min(max(int(limit.cpu * 100), 1), 10_000)), False),
            ("cpu.max", f"{quota} {PERIOD}", False),
        )
    return (
        ("memory.limit_in_bytes", memory, True),
        ("memory.memsw.limit_in_bytes", memory, False),
        ("memory.swappiness", "0", False),
        ("pids.max", str(limit.processes), True),
        ("cpu.shares", str(max(int(limit.cpu * 1024), 2)), False),
        ("cpu.cfs_period_us", str(PERIOD), False),
        ("cpu.cfs_quota_us", quota, False),
    )


def used(stat: str, files: int) -> int:
    """Return the bytes of memory that a group's processes hold; *stat* is its ``memory.stat``.

    That is what they allocated and share, without the *files* in their ``/tmp``, which are storage, and without what
    the kernel keeps for them and can let go of.
    """
    numbers = {name: int(number) for name, _, number in (line.partition(" ") for line in stat.splitlines())}
    own = numbers.get("anon", numbers.get("rss", 0))
    shared = numbers.get("shmem", 0)
    return own + max(shared - files, 0)


def places(own: str, mountinfo: str) -> Places:
    """Return where the groups are; *own* is ``/proc/self/cgroup``, *mountinfo* ``/proc/self/mountinfo``."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            paths[name] = path
    separate: dict[str, str] = {}
    unified: str | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, point = fields[3], fields[4]
        if kind[0] == "cgroup2" and "" in paths:
            unified = _joined(point, root, paths[""])
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                if name in paths:
                    separate[name] = _joined(point, root, paths[name])
    return Places(separate=separate, unified=unified)


def _joined(point: str, root: str, path: str) -> str:
    """Return where a group is that is seen through a mount of *root*."""
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    return point.rstrip("/") + ("/" + inside.strip("/") if inside.strip("/") else "")
