"""Write the hub's values as the JSON that the admin API and the CLI's ``--json`` show.

Pure. Times become RFC 3339 in UTC with milliseconds. Payloads are spliced into the text as the bytes
they are: a number that Python would round, or a text it could not write again, comes out untouched.
Where a *mask* is given, secrets in what strangers and handlers wrote are dots.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

from triggerhub.hub.call import Answered
from triggerhub.hub.explain import Story
from triggerhub.hub.feed import Happening
from triggerhub.hub.veil import Veil
from triggerhub.model import (
    Attempt,
    Crashed,
    Delivery,
    Event,
    Fault,
    Interrupted,
    Json,
    Millis,
    Outcome,
    Raised,
    Returned,
    TimedOut,
)
from triggerhub.policy.masking import DOTS, Mask
from triggerhub.policy.strict import is_json
from triggerhub.source import Accepted, Answer, Duplicate, Filtered
from triggerhub.store import Detail

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def moment(time: Millis) -> str:
    """Return ``2026-01-31T12:00:00.000Z``; what lies beyond the year 9999 is its last moment."""
    then = _EPOCH + timedelta(milliseconds=min(max(time, 0), _LAST))
    return f"{then:%Y-%m-%dT%H:%M:%S}.{then.microsecond // 1000:03d}Z"


def dump(value: Json) -> bytes:
    """Return *value* as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def alarm(row: Mapping[str, Json]) -> str:
    """Say of an alarm that is on since when it is, and what was measured against which bound."""
    return f"alarm {row['name']} is on since {moment(row['since'])}: {row['when']}, {row['value'] or 'nothing'} now"


def delivery(row: Delivery, mask: Mask | None = None) -> dict[str, Json]:
    """Return a delivery's fields as scripts know them."""
    return {
        "id": row.id,
        "event_id": row.event_id,
        "trigger": row.trigger,
        "function": row.function,
        "version": row.version,
        "state": row.state.value,
        "attempts": row.attempts,
        "created": moment(row.created),
        "due": moment(row.due),
        "finished": _moment(row.finished),
        "duration_ms": _length(row.duration_ms),
        "dedup_key": _hidden(row.dedup_key, mask),
        "ordering_key": _hidden(row.ordering_key, mask),
        "error": _fault(row.error, mask),
        "reason": _hidden(row.reason, mask),
    }


def detail(found: Detail, *, hidden: bool = False, mask: Mask | None = None) -> bytes:
    """Return a delivery's fields and, besides, its ``event`` and its ``history`` of attempts.

    ``hidden`` is true where what they carry was taken out.
    """
    fields = delivery(found.delivery, mask) | ({"hidden": True} if hidden else {})
    history = b",".join(_attempt(one, mask) for one in found.attempts)
    return _joined(fields, event=_event(found.event, mask), history=b"[" + history + b"]")


def event(found: Event, deliveries: Sequence[Delivery], mask: Mask | None = None) -> bytes:
    """Return an event with its payload and its deliveries."""
    return _spliced(_event(found, mask), deliveries=dump([delivery(row, mask) for row in deliveries]))


def _event(found: Event, mask: Mask | None) -> bytes:
    fields = {
        "id": found.id,
        "trigger": found.trigger,
        "time": moment(found.time),
        "dedup_key": _hidden(found.dedup_key, mask),
        "ordering_key": _hidden(found.ordering_key, mask),
        "trace": _hidden(found.trace, mask),
        "hops": found.hops,
    }
    return _spliced(dump(fields), **_payload("data", found.data, mask))


def _attempt(one: Attempt, mask: Mask | None) -> bytes:
    fields = {
        "request_id": one.request_id,
        "started": moment(one.started),
        "duration_ms": _length(one.duration_ms),
        "init_ms": _length(one.init_ms),
        "memory": one.memory,
        "level": one.level,
        "version": one.version,
        "outcome": one.outcome,
        "error": _fault(one.error, mask),
    }
    return _spliced(dump(fields), **_payload("payload", one.payload, mask))


def story(found: Story, veil: Veil, *, told: bool) -> dict[str, Json]:
    """Return what is known of an event, without what it carries; keys and names only for who is *told* that."""
    event, again, mask = found.event, found.again, veil.mask
    return {
        "id": event.id if event else None,
        "trigger": event.trigger if event else None,
        "dedup_key": _key(event.dedup_key if event else None, veil, told),
        "ordering_key": _key(event.ordering_key if event else None, veil, told),
        "told": told,
        "since": moment(found.since),
        "triggers": [
            {
                "name": one.trigger,
                "reads": veil.text(one.place),
                "here": one.here,
                "event": one.event,
                "filters": one.filters,
                "refuses": None if one.leaf is None else veil.text(one.leaf),
                "off": one.off,
            }
            for one in found.sights
        ],
        "duplicates": {"count": again.count if again else 0, "last": _moment(again.last if again else None)},
        "filtered": [
            {
                "time": moment(one.time),
                "trigger": one.trigger,
                "id": one.own[0] if one.own else None,
                "names": [veil.text(name) for name in one.names] if told else [],
                "refuses": veil.text(one.leaf),
            }
            for one in found.refused
        ],
        "deliveries": [
            {
                **delivery(row if told else veil.delivery(row), mask),
                "waits": found.waits.get(row.id),
                "limits": found.limits.get(row.id, ""),
                "destinations": [
                    {
                        "to": veil.text(one.to),
                        "taken": one.taken,
                        "delivery": one.delivery,
                        "state": one.state and one.state.value,
                    }
                    for one in found.further.get(row.id, ())
                ],
            }
            for row in found.deliveries
        ],
    }


def _key(key: str | None, veil: Veil, told: bool) -> str | None:
    return key and (veil.text(key) if told else DOTS)


def answer(given: Answer) -> dict[str, Json]:
    """Return what became of an event that was sent."""
    match given:
        case Accepted():
            return {"result": "accepted", "id": given.event, "deliveries": list(given.deliveries)}
        case Duplicate():
            return {"result": "duplicate", "id": given.event, "deliveries": list(given.deliveries)}
        case Filtered():
            return {"result": "filtered", "why": given.why, **({"id": given.id} if given.id else {})}
        case _:
            assert_never(given)


def outcome(given: Outcome) -> tuple[str, bytes, Fault | None]:
    """Return an outcome's name, its payload, and the fault where it is one."""
    match given:
        case Returned():
            return "returned", given.payload, None
        case Raised():
            return "raised", given.payload, given.fault
        case TimedOut():
            return "timed-out", given.payload, given.fault
        case Crashed():
            return "crashed", given.payload, given.fault
        case Interrupted():
            fault = Fault(type="Interrupted", message="the hub cut the call short")
            return "interrupted", dump({"errorType": fault.type, "errorMessage": fault.message}), fault
        case _:
            assert_never(given)


def report(call: Answered) -> dict[str, Json]:
    """Return all that is known of a call that was waited for, but its payload."""
    name, _, fault = outcome(call.outcome)
    usage = call.outcome.usage
    return {
        "request_id": call.request_id,
        "outcome": name,
        "version": call.version,
        "duration_ms": _length(usage.duration_ms),
        "init_ms": _length(usage.init_ms),
        "memory": usage.memory,
        "error": _fault(fault),
        "log": [line.text for line in call.log],
        "streams": [line.stream for line in call.log],
    }


def happening(one: Happening) -> dict[str, Json]:
    """Return one thing that happened."""
    return {
        "time": moment(one.time),
        "kind": one.kind,
        "trigger": one.trigger,
        "function": one.function,
        "delivery": one.delivery,
        "attempt": one.attempt,
        "duration_ms": _length(one.duration_ms),
        "text": one.text,
    }


def timed(row: Mapping[str, Json], *keys: str) -> dict[str, Json]:
    """Return *row* with the moments under *keys* written out."""
    return {name: _moment(value) if name in keys else value for name, value in row.items()}


def _moment(time: Millis | None) -> str | None:
    return None if time is None else moment(time)


def _length(milliseconds: float | None) -> float | None:
    """Return a length of time to the microsecond: what a float has beyond it is no measurement."""
    return None if milliseconds is None else round(milliseconds, 3)


def _fault(fault: Fault | None, mask: Mask | None = None) -> dict[str, str | None] | None:
    return None if fault is None else {"type": _hidden(fault.type, mask), "message": _hidden(fault.message, mask)}


def _hidden(text: str | None, mask: Mask | None) -> str | None:
    return text if text is None or mask is None else mask(text)


def _payload(name: str, data: bytes | None, mask: Mask | None) -> dict[str, bytes]:
    """Return the member for a payload: its own bytes on one line, or base64 where they are no JSON in UTF-8."""
    if data is None:
        return {name: b"null"}
    if mask is not None:
        data = mask.payload(data)
    if not is_json(data):
        return {name: b"null", f"{name}_base64": dump(base64.b64encode(data).decode())}
    # A line break in JSON can only be space between its tokens.
    return {name: data.replace(b"\n", b" ").replace(b"\r", b" ")}


def _joined(fields: Mapping[str, Json], **raw: bytes) -> bytes:
    return _spliced(dump(fields), **raw)


def _spliced(text: bytes, **raw: bytes) -> bytes:
    """Return the JSON object *text* with members added whose values are JSON already."""
    members = b"".join(b"," + dump(name) + b":" + value for name, value in raw.items())
    return text[:-1] + members + b"}"
