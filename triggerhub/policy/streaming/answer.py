"""Read what a function's answer says of a batch of a stream."""

from __future__ import annotations

import json

from triggerhub.model import Crashed, Interrupted, Json, Outcome, Returned
from triggerhub.policy import batching
from triggerhub.policy.streaming.plan import Plan
from triggerhub.policy.streaming.step import Call, Failed, FailedFrom, Succeeded, Unheard, Verdict


def verdict(call: Call, outcome: Outcome, plan: Plan, request_id: str) -> tuple[Verdict, str]:
    """Return what came of *call*, and the reason where the function returned and yet failed.

    The record to go on at is the one with the lowest sequence number of those named in ``batchItemFailures``.
    An answer within a tumbling window must have a ``state``, but for the one that closes it.
    """
    match outcome:
        case Interrupted():
            return Unheard(), ""
        case Crashed(throttled=True):
            return Unheard(), ""
        case Returned(payload=payload):
            return _returned(call, payload, plan, request_id)
        case _:
            return Failed(request_id), ""


def _returned(call: Call, payload: bytes, plan: Plan, request_id: str) -> tuple[Verdict, str]:
    state = "{}"
    if call.windowed is not None and call.records:
        found = _state(payload)
        if found is None:
            return Failed(request_id), "the answer has no state, which one within a tumbling window must have"
        state = found
    if not plan.partial or not call.records:
        return Succeeded(state), ""
    match batching.failed(payload, [record.sequence for record in call.records]):
        case batching.AllFailed(reason):
            return Failed(request_id), f"the whole batch failed: {reason}"
        case named if named:
            return FailedFrom(min(named), request_id, state), "the answer's batchItemFailures names this record"
        case _:
            return Succeeded(state), ""


def _state(payload: bytes) -> str | None:
    try:
        value: Json = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        return None
    return json.dumps(value["state"], separators=(",", ":"))
