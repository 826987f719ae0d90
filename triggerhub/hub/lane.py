"""Gather what a dispatcher must know of one trigger's deliveries to one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from triggerhub.model import Json
from triggerhub.settings import Batch, Destination, Function, Project, RetryPolicy
from triggerhub.store import Lane


def envelope_of_records(records: Sequence[bytes]) -> bytes:
    """The payload where a source has no envelope of its own: a lone record, or a JSON array of them."""
    return records[0] if len(records) == 1 else b"[" + b",".join(records) + b"]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """A lane and the policies its deliveries run under."""

    lane: Lane
    retry: RetryPolicy
    batch: Batch = field(default_factory=Batch)
    envelope: Callable[[Sequence[bytes]], bytes] = envelope_of_records
    identifier: Callable[[Json], str] | None = None
    input: bytes | None = None
    on_success: tuple[Destination, ...] = ()
    on_failure: tuple[Destination, ...] = ()
    maximum_concurrency: int | None = None


def envelope_of(module: ModuleType) -> Callable[[Sequence[bytes]], bytes]:
    """Return what makes the payload of one invocation from records of this source."""
    found: Callable[[Sequence[bytes]], bytes] = getattr(module, "envelope", envelope_of_records)
    return found


def plans_of(
    function: Function, project: Project, modules: Mapping[str, ModuleType], own: Iterable[str]
) -> dict[Lane, LanePlan]:
    """Return the plans of all lanes to a function: those of triggers that feed it, and of the hub's *own*."""
    plans = {}
    for trigger in project.triggers.values():
        if function.name in trigger.functions:
            module, lane = modules[trigger.type], Lane(trigger.name, function.name)
            plans[lane] = LanePlan(
                lane=lane,
                retry=trigger.retry.get(function.name, function.retry),
                batch=trigger.batch,
                envelope=envelope_of(module),
                identifier=getattr(module, "identifier", None),
                input=trigger.input,
                on_success=function.on_success,
                on_failure=function.on_failure if trigger.on_failure is None else trigger.on_failure,
                maximum_concurrency=trigger.maximum_concurrency,
            )
    for name in own:
        lane = Lane(name, function.name)
        plans[lane] = LanePlan(
            lane=lane, retry=function.retry, on_success=function.on_success, on_failure=function.on_failure
        )
    return plans
