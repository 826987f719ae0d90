"""Plan a change of configuration: what stops, what starts, what is not touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[Value]):
    """Names to stop first, then names with their new values to start."""

    stop: tuple[str, ...]
    start: Mapping[str, Value]


def plan(running: Mapping[str, Value], wanted: Mapping[str, Value]) -> Plan[Value]:
    """Return what turns *running* into *wanted*; what is equal in both is left alone."""
    return Plan(
        stop=tuple(name for name, value in running.items() if wanted.get(name) != value),
        start={name: value for name, value in wanted.items() if running.get(name) != value},
    )
