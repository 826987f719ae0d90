"""Gather what a dispatcher must know of one trigger's deliveries to one function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from triggerhub import hooks
from triggerhub.settings import Batch, Destination, Function, Project, RetryPolicy
from triggerhub.store import Claimed, Lane


def enveloped(records: Sequence[bytes]) -> bytes:
    """The payload where a source has no envelope of its own: a lone record, or a JSON array of them."""
    return records[0] if len(records) == 1 else b"[" + b",".join(records) + b"]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """A lane and the policies its deliveries run under."""

    lane: Lane
    retry: RetryPolicy
    batch: Batch = field(default_factory=Batch)
    enveloping: ModuleType | None = None
    """The source whose ``envelope`` makes payloads; None where it has none."""
    retrying: ModuleType | None = None
    """The source whose ``retried`` makes of a record what a later attempt gets; None where each gets the same."""
    identifying: ModuleType | None = None
    """The source whose ``identifier`` names records; None where it has none."""
    input: bytes | None = None
    on_success: tuple[Destination, ...] = ()
    on_failure: tuple[Destination, ...] = ()
    maximum_concurrency: int | None = None

    def records(self, claimed: Sequence[Claimed]) -> list[bytes]:
        """Return what these attempts get as records. SourceFailed."""
        if self.retrying is None:
            return [one.event.data for one in claimed]
        return [self._record(self.retrying, one) for one in claimed]

    def _record(self, source: ModuleType, one: Claimed) -> bytes:
        attempt, record = one.delivery.attempts, one.event.data
        return record if attempt <= 1 else hooks.ask(source, "retried", bytes, record, attempt)

    def payload(self, records: Sequence[bytes]) -> bytes:
        """Return what the function gets for these records. SourceFailed."""
        if self.input is not None:
            return self.input
        if self.enveloping is None:
            return enveloped(records)
        # Every call comes through here: it is hooks.ask, without its costs.
        try:
            payload = self.enveloping.envelope(records)
        except (Exception, SystemExit) as error:
            raise hooks.failure(self.enveloping, "envelope", error) from error
        return payload if isinstance(payload, bytes) else hooks.expect(self.enveloping, "envelope", bytes, payload)


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
                enveloping=module if hasattr(module, "envelope") else None,
                retrying=module if hasattr(module, "retried") else None,
                identifying=module if hasattr(module, "identifier") else None,
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
