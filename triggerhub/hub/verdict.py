"""Turn an outcome into one settlement per delivery."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import structlog

from triggerhub import hooks
from triggerhub.hub.group import Group
from triggerhub.hub.lane import LanePlan
from triggerhub.hub.outlet import Outlet, record
from triggerhub.model import (
    Attempt,
    Bury,
    Complete,
    Crashed,
    Decision,
    Fault,
    Interrupted,
    Leave,
    Millis,
    Outcome,
    Raised,
    Retry,
    Returned,
    TimedOut,
)
from triggerhub.policy import batching, retry
from triggerhub.settings import KB, Destination, Function
from triggerhub.store import Answered, Claimed, Intake, Owed, Record, Settlement

log = structlog.get_logger("dispatch")

KEPT = 64 * KB
"""The largest answer that history keeps."""
LEFT = "left to its source, which gives it again"
DONE, LEAVE = Complete(), Leave(LEFT)
NAMES: dict[type[Outcome], str] = {
    Returned: "returned",
    Raised: "raised",
    TimedOut: "timed-out",
    Crashed: "crashed",
    Interrupted: "interrupted",
}


class Verdicts:
    """Judges groups."""

    def __init__(self, outlet: Outlet, draw: Callable[[], float], level: Callable[[Function], str | None]) -> None:
        """*draw* returns a number in [0, 1) for the jitter of each retry, *level* how a function is isolated."""
        self._outlet = outlet
        self._draw = draw
        self._level = level

    def reach(
        self, group: Group, outcome: Outcome, version: str, function: Function, *, started: Millis, now: Millis
    ) -> list[Settlement]:
        """Return what to settle for each delivery of the group."""
        outcomes = _each(group.plan, group.claimed, outcome)
        level = self._level(function)
        settlements = []
        for claimed, own in zip(group.claimed, outcomes, strict=True):
            decision = retry.decide(claimed.delivery, own, group.plan.retry, now=now, draw=self._draw())
            then, refused = self._then(group.plan, claimed, own, decision, version, now, trace=group.trace)
            settlements.append(
                Settlement(
                    delivery=claimed.delivery.id,
                    fence=claimed.fence,
                    decision=_adding(decision, refused),
                    attempt=_attempt(own, group.request_id, version, started, level),
                    answer=_answer(claimed, own, function, now),
                    then=then,
                )
            )
        return settlements

    def buried(self, plan: LanePlan, claimed: Claimed, why: str, *, told: bool, now: Millis) -> Settlement:
        """Return what to settle for a delivery that is given up without a call; *told* sends it on as a failure."""
        bury, ran = Bury(why), claimed.delivery.version
        then, refused = self._then(plan, claimed, Interrupted(), bury, ran, now) if told else ((), [])
        decision = _adding(bury, refused)
        return Settlement(delivery=claimed.delivery.id, fence=claimed.fence, decision=decision, then=then)

    def recorded(
        self,
        group: Group,
        outcome: Outcome,
        version: str,
        function: Function,
        keep: Millis,
        each: Sequence[Outcome] | None = None,
        *,
        started: Millis,
        now: Millis,
    ) -> list[tuple[Outcome, Record]]:
        """Return the own outcome of each event that its source still has, and what to write of it.

        Nothing is retried here: what did not succeed is left to the source. *keep* is the horizon of their keys,
        *each* their own outcomes where the source has read them itself.
        """
        made = []
        level = self._level(function)
        outcomes = _each(group.plan, group.claimed, outcome) if each is None else each
        attempt, attempted = None, None
        for claimed, own in zip(group.claimed, outcomes, strict=True):
            decision: Complete | Leave = DONE if isinstance(own, Returned) else LEAVE
            then, refused = self._then(group.plan, claimed, own, decision, version, now, trace=group.trace)
            if attempt is None or own is not attempted:
                attempt, attempted = _attempt(own, group.request_id, version, started, level), own
            record = Record(
                intake=_kept(claimed, keep),
                decision=Complete("; ".join(refused)) if refused else decision,
                attempt=attempt,
                answer=_answer(claimed, own, function, now),
                then=then,
            )
            made.append((own, record))
        return made

    def given_up(
        self,
        plan: LanePlan,
        claimed: Claimed,
        outcome: Outcome,
        why: str,
        keep: Millis,
        body: bytes | None,
        *,
        now: Millis,
    ) -> Record:
        """Return what to write of an event that its source gives up; an empty *body* tells no destination."""
        bury, ran = Bury(why), claimed.delivery.version
        then, refused = ((), []) if body == b"" else self._then(plan, claimed, outcome, bury, ran, now, body)
        reason = "; ".join([why, *refused])
        return Record(intake=_kept(claimed, keep), decision=Bury(reason), then=then)

    def _then(
        self,
        plan: LanePlan,
        claimed: Claimed,
        outcome: Outcome,
        decision: Decision | Leave,
        ran: str | None,
        now: Millis,
        body: bytes | None = None,
        *,
        trace: str | None = None,
    ) -> tuple[tuple[Intake, ...], list[str]]:
        destinations: tuple[Destination, ...] = ()
        match decision:
            case Complete():
                destinations = plan.on_success
            case Bury():
                destinations = plan.on_failure
            case _:
                return (), []
        if not destinations:
            return (), []
        if body is None:
            body = record(claimed, outcome, decision, ran, now=now)
        return self._outlet.intakes(destinations, claimed, body, now=now, trace=trace or claimed.event.trace)


def _kept(claimed: Claimed, keep: Millis) -> Intake:
    owed = Owed(function=claimed.delivery.function, idempotency_key=claimed.delivery.idempotency_key)
    return Intake(event=claimed.event, owed=(owed,), keep=keep)


def _each(plan: LanePlan, claimed: list[Claimed], outcome: Outcome) -> list[Outcome]:
    """Give each delivery its own outcome where the answer of a batch names the failed ones."""
    everyone: list[Outcome] = [outcome] * len(claimed)
    if not plan.batch.partial_failures or not isinstance(outcome, Returned) or plan.identifying is None:
        return everyone
    match _failed(plan.identifying, claimed, outcome.payload):
        case batching.AllFailed(reason):
            message, indexes = f"the whole batch failed: {reason}", frozenset(range(len(claimed)))
        case named:
            message, indexes = "the answer's batchItemFailures names this record", named
    failed = Raised(fault=Fault(type="BatchItemFailure", message=message), payload=outcome.payload, usage=outcome.usage)
    return [failed if index in indexes else outcome for index in range(len(claimed))]


def _failed(source: ModuleType, claimed: list[Claimed], answer: bytes) -> frozenset[int] | batching.AllFailed:
    names = []
    try:
        for one in claimed:
            # Every record of every such batch comes through here: it is hooks.ask, without its costs.
            name = source.identifier(json.loads(one.event.data))
            names.append(name if isinstance(name, str) else hooks.expect(source, "identifier", str, name))
    except (Exception, SystemExit) as error:  # a source's own code, over a record that anybody may have sent
        log.error("records could not be named", trigger=claimed[0].delivery.trigger, exc_info=error)
        return batching.AllFailed(str(hooks.failure(source, "identifier", error)))
    return batching.failed(answer, names)


def _adding(decision: Decision, remarks: list[str]) -> Decision:
    """Let the reason of a final decision tell what went wrong beside it."""
    if not remarks or isinstance(decision, Retry):
        return decision
    return replace(decision, reason="; ".join([*([decision.reason] if decision.reason else []), *remarks]))


def _attempt(outcome: Outcome, request_id: str, version: str, started: Millis, level: str | None) -> Attempt:
    payload = None if isinstance(outcome, Interrupted) else outcome.payload
    error = None if isinstance(outcome, Returned | Interrupted) else outcome.fault
    return Attempt(
        request_id=request_id,
        started=started,
        duration_ms=outcome.usage.duration_ms,
        version=version,
        outcome=NAMES[type(outcome)],
        error=error,
        payload=payload if payload is not None and len(payload) <= KEPT else None,
        init_ms=outcome.usage.init_ms,
        memory=outcome.usage.memory,
        level=level,
    )


def _answer(claimed: Claimed, outcome: Outcome, function: Function, now: Millis) -> Answered | None:
    key = claimed.delivery.idempotency_key
    if key is None or function.idempotency is None or not isinstance(outcome, Returned):
        return None
    return Answered(function=function.name, key=key, payload=outcome.payload, until=now + function.idempotency.keep)
