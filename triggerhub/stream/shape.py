"""Turn records, windows and failures of a shard into what the hub takes and destinations receive."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from triggerhub.aws import arn, stream
from triggerhub.model import Event, Fault, Millis, Outcome, Raised, Returned
from triggerhub.policy.streaming import Failed, FailedFrom, GiveUp, Record, Succeeded, Unheard, Verdict, Windowed
from triggerhub.stream.endpoint import Described, Endpoint


def event(record: Record) -> Event:
    """Return the event of a record: in order with those of its partition key."""
    return Event(data=record.data, time=record.arrived, dedup_key=record.name, ordering_key=record.key)


def payload(records: Sequence[Record], windowed: Windowed, described: Described, shard: str) -> bytes:
    """Return what the function receives within a tumbling window."""
    window = windowed.window
    return stream.windowed(
        [record.data for record in records],
        start=window.start,
        end=windowed.end,
        state=window.state,
        shard=shard,
        stream_arn=described.arn,
        final=windowed.final,
        early=window.early,
    )


def outcomes(verdict: Verdict, outcome: Outcome, why: str, places: Sequence[int]) -> list[Outcome]:
    """Return the own outcome of the records at these places of a batch: from the first that failed on, all did."""
    if not isinstance(outcome, Returned):
        return [outcome] * len(places)
    failed = Raised(fault=Fault(type="BatchItemFailure", message=why), payload=outcome.payload, usage=outcome.usage)
    match verdict:
        case FailedFrom(index=index):
            return [outcome if place < index else failed for place in places]
        case Failed():
            return [failed] * len(places)
        case Succeeded() | Unheard():
            return [outcome] * len(places)


def reason(step: GiveUp) -> str:
    """Say why records are given up."""
    if step.condition == "RetryAttemptsExhausted":
        return f"failed {step.calls} call{'' if step.calls == 1 else 's'}, and the attempts are spent"
    return "older than the limit on its age"


def failure(step: GiveUp, endpoint: Endpoint, described: Described, shard: str, function: str, *, now: Millis) -> bytes:
    """Return the record of records that are given up, for ``on_failure``."""
    first, last = step.records[0], step.records[-1]
    batch = stream.Batch(
        stream_arn=described.arn,
        shard=shard,
        first=first.sequence,
        last=last.sequence,
        first_arrived=first.arrived,
        last_arrived=last.arrived,
        size=len(step.records),
    )
    return stream.failure(
        batch,
        service=endpoint.service,
        request_id=step.last.request_id if step.last else str(uuid4()),
        function_arn=arn.function(function),
        condition=step.condition,
        count=step.calls,
        error=None if isinstance(step.last, FailedFrom) else "Unhandled",
        responded=step.condition == "RetryAttemptsExhausted",
        timestamp=now,
    )
