"""Tell what became of a delivery or an event, from its acceptance to what comes next."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from triggerhub.cli import words
from triggerhub.policy.advice import advise
from triggerhub.policy.timeline import WAITED, queued_again

PAYLOAD = 2000
"""The most of a payload that is shown, in characters; ``--json`` has all of it."""


def delivery(row: dict[str, Any], body: bytes) -> str:
    """Return all that is known of a delivery; *body* is the same as the hub sent it."""
    cell = words.state(row["state"])
    parts = [f"delivery {row['id']}  {words.styled(*cell, bold=True)}", words.facts(_facts(row))]
    if row["history"]:
        parts.append("\nattempts")
        parts += [f"  {line}" for line in _attempts(row["history"])]
    parts.append(f"\nevent {row['event_id']}")
    parts.append(textwrap.indent(_payload(body), "  "))
    if step := _next(row):
        parts.append(words.styled(f"\n{step}", dim=True))
    return "\n".join(parts)


def event(found: dict[str, Any], details: Sequence[dict[str, Any]], known: dict[str, Any] | None = None) -> str:
    """Return the story of an event; *details* are its deliveries with their attempts, *known* what else is told."""
    if details:
        accepted = f"{_at(details[0]['created'])}  accepted by {_who(found['trigger'])}{_keys(found)}"
    else:
        accepted = "Its deliveries are pruned or discarded; only the event itself is still kept."
    lines = [f"event {found['id']}", f"  {accepted}"]
    if known is not None:
        lines += _around(known)
    also = {row["id"]: row for row in known["deliveries"]} if known else {}
    for row in details:
        lines.append(f"\ndelivery {row['id']} to {words.clean(row['function'])}")
        lines += [f"  {line}" for line in _life(row, also.get(row["id"], {}))]
        if step := _next(row):
            lines.append(f"  {words.styled(step, dim=True)}")
    return "\n".join(lines)


def refused(known: dict[str, Any]) -> str:
    """Return what is known of an event that only filters saw."""
    lines = ["filtered, so it is not stored"]
    for one in known["filtered"]:
        lines.append(f"  {_filtered(one)}")
        lines += [f"    {words.clean(name)}" for name in one["names"]]
    lines.append(
        words.styled(
            f"  This is remembered of the latest since the hub's start, {words.age(known['since'])}.", dim=True
        )
    )
    return "\n".join(lines)


def _around(known: dict[str, Any]) -> Iterator[str]:
    """Tell what does not belong to one delivery: duplicates, filters, other triggers."""
    again = known["duplicates"]
    if again["count"]:
        times = words.number(again["count"], "time")
        yield f"  {_at(again['last'])}  came again as a duplicate, {times} since the hub's start"
    for one in known["filtered"]:
        yield f"  {_filtered(one)}"
    if known["triggers"]:
        yield "\ntriggers of its type, by the configuration in force"
        for one in known["triggers"]:
            yield f"  {_sight(one, known['id'])}"


def _filtered(one: dict[str, Any]) -> str:
    return f"{_at(one['time'])}  filtered by trigger {words.clean(one['trigger'])}: {words.clean(one['refuses'])}"


def _sight(one: dict[str, Any], event: str) -> str:
    if one["event"] == event:
        text = "accepted it" + (f"; its filter would refuse it now: {one['refuses']}" if one["refuses"] else "")
    elif one["event"]:
        text = f"accepted it, too: event {one['event']}"
    else:
        elsewhere = "" if one["here"] else f"reads something else ({one['reads']})"
        would = "its filter would take it" if one["filters"] else "" if elsewhere else "has no filter"
        filtered = f"its filter refuses it: {one['refuses']}" if one["refuses"] else would
        text = "; ".join(part for part in (elsewhere, filtered) if part)
    off = f" ({one['off']})" if one["off"] else ""
    return words.clean(f"{one['name']}: {text}{off}")


def _life(row: dict[str, Any], also: dict[str, Any]) -> Iterator[str]:
    """Tell what one delivery went through: waits, attempts, its end, where it went on to."""
    history = row["history"]
    again = queued_again(row["attempts"], row["state"], [one["outcome"] for one in history])
    for place, line in enumerate(_attempts(history)):
        began = words.moment(history[place]["started"])
        before = (
            _over(history[place - 1]) if place else words.moment(row["due"] if len(history) == 1 else row["created"])
        )
        waited = (began - before).total_seconds() if began and before else 0
        if place and waited > 0:
            how = "it was queued again, its attempts counted anew" if place == again else "it was tried again"
            yield f"{words.took(waited * 1000)} later {how}"
        elif not place and waited * 1000 >= WAITED:
            yield f"{words.took(waited * 1000)} it waited to begin{_held(also)}"
        yield line
    if history and again == len(history):
        yield "it is queued again, its attempts counted anew"
    if row["due"] > row["created"] and not history:
        yield f"{_at(row['due'])}  due, because it was delayed"
    if why := also.get("waits"):
        yield f"waits since {_at(row['due'])}: {words.clean(why)}"
    yield _ending(row)
    for one in also.get("destinations", ()):
        more = f": delivery {one['delivery']}, {one['state']}" if one["delivery"] else ""
        yield f"{'sent on to' if one['taken'] else 'not taken by'} {words.clean(one['to'])}{more}"


def _held(also: dict[str, Any]) -> str:
    """Say what may have held a delivery back; what did is not kept."""
    return f" (why is not kept; the limits now: {also['limits']})" if also.get("limits") else ""


def _over(one: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(one["started"]) + timedelta(milliseconds=one["duration_ms"])


def _facts(row: dict[str, Any]) -> list[tuple[str, words.Cell | str | None]]:
    version = f" (version {row['version']})" if row["version"] else ""
    finished = row["finished"]
    waits = row["state"] == "queued"
    return [
        ("from", f"{row['trigger']} → {row['function']}{version}"),
        ("accepted", f"{row['created']} ({words.age(row['created'])})"),
        ("due", f"{row['due']} ({words.age(row['due'])})" if waits else ""),
        ("finished", f"{finished} ({words.age(finished)})" if finished else ""),
        ("attempts", str(row["attempts"])),
        ("took", words.took(row["duration_ms"])),
        ("reason", row["reason"]),
        ("error", words.Cell(words.error(row["error"]), "red") if row["error"] else ""),
        ("advice", (advise(row["error"]["type"], row["error"]["message"]) or "") if row["error"] else ""),
        ("dedup key", row["dedup_key"]),
        ("ordering key", row["ordering_key"]),
    ]


def _attempts(history: Sequence[dict[str, Any]]) -> Iterator[str]:
    for place, one in enumerate(history, 1):
        outcome = words.styled(*words.state(one["outcome"]))
        more = [words.took(one["duration_ms"])]
        if one["init_ms"] is not None:
            more.append(f"{words.took(one['init_ms'])} to start")
        if one["memory"]:
            more.append(words.size(one["memory"]))
        if one.get("level"):
            more.append(one["level"])
        why = words.clean(words.error(one["error"]))
        yield f"{_at(one['started'])}  attempt {place} {outcome} ({', '.join(more)}){': ' if why else ''}{why}"


def _ending(row: dict[str, Any]) -> str:
    state = words.styled(*words.state(row["state"]), bold=True)
    why = words.clean(row["reason"] or "")
    if row["finished"]:
        return f"{_at(row['finished'])}  {state}{': ' if why else ''}{why}"
    if row["state"] == "queued":
        again = "tried again" if row["attempts"] else "run"
        return f"{_at(row['due'])}  {state}, to be {again} {words.age(row['due']) or 'now'}"
    return f"{_at(row['due'])}  {state}, attempt {row['attempts']}"


def _next(row: dict[str, Any]) -> str:
    identifier = row["id"]
    match row["state"]:
        case "dead":
            return f"mend {row['function']}, then: triggerhub dlq redrive {identifier}"
        case "queued" if row["attempts"] and (words.age(row["due"]) or "").startswith("in "):
            return f"triggerhub deliveries retry {identifier} tries it now"
        case "queued" | "running":
            return f"triggerhub deliveries wait {identifier}"
        case "cancelled":
            return f"triggerhub deliveries redeliver {identifier}"
        case _:
            return f"triggerhub logs --delivery {identifier}"


def _keys(found: dict[str, Any]) -> str:
    keys = [
        f"{name} {words.clean(found[key])}"
        for name, key in (("key", "dedup_key"), ("order", "ordering_key"))
        if found[key]
    ]
    return f" ({', '.join(keys)})" if keys else ""


def _who(trigger: str) -> str:
    if trigger == "api":
        return "invoke --async"
    if trigger.startswith("destination:"):
        return f"a destination of function {words.clean(trigger.removeprefix('destination:'))}"
    return f"trigger {words.clean(trigger)}"


def _at(text: str) -> str:
    time = datetime.fromisoformat(text).astimezone()
    return words.styled(f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}", dim=True)


def _payload(body: bytes) -> str:
    """Return the event's data laid out for reading, numbers as they came."""
    # Numbers stay the texts they are: a float would round them.
    found = json.loads(body, parse_float=_Number, parse_int=_Number)["event"]
    if "data_base64" in found:
        return f"(no text; base64) {found['data_base64'][:PAYLOAD]}"
    try:
        laid_out = "".join(_laid_out(found["data"]))
    except RecursionError:
        return "(nested too deeply to be laid out; --json shows it)"
    text = "\n".join(map(words.clean, laid_out.split("\n")))
    return text if len(text) <= PAYLOAD else f"{text[:PAYLOAD]}…\n(cut; --json shows all)"


class _Number(float):
    """A number that is written as it was read."""

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def _laid_out(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the pieces of JSON with a member per line, for people to read."""
    inner = indent + "  "
    match value:
        case dict() if value:
            members = [(f"{json.dumps(name, ensure_ascii=False)}: ", one) for name, one in value.items()]
            yield from _members("{}", members, inner)
        case list() if value:
            yield from _members("[]", [("", one) for one in value], inner)
        case _Number():
            yield value.text
        case _:
            yield json.dumps(value, ensure_ascii=False)


def _members(brackets: str, members: Sequence[tuple[str, Any]], inner: str) -> Iterator[str]:
    yield brackets[0]
    for place, (name, one) in enumerate(members):
        yield f"{',' if place else ''}\n{inner}{name}"
        yield from _laid_out(one, inner)
    yield f"\n{inner[:-2]}{brackets[1]}"
