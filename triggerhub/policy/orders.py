"""Put into words what a request asks for, and how far it came: for people who read who changed what.

Pure. What is asked for is the members of a JSON object; the values may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Mapping

from triggerhub.model import Json

NAMED = 3
"""Ids or causes that are spelt out; of more it is said that there are more."""
KEPT = 50
"""Ids or causes that are written down."""
LONGEST = 200
"""Characters of one value."""
_CALLED = {"fingerprint": "cause", "error": "error with", "rate": "at most", "key": "key"}
_CHOOSE = ("ids", "all", "function", "trigger", "since", "error", "key", "fingerprint", "causes")
"""The members that say which ones, in the order in which they are said."""


def kept(order: Mapping[str, Json]) -> dict[str, Json]:
    """Return an order as it is written down: of ten thousand ids the first, and how many they are."""
    long = {name: order[name] for name in ("ids", "causes") if len(order.get(name) or []) > KEPT}
    first = {name: many[:KEPT] for name, many in long.items()}
    return {**order, **first, **{f"{name}_in_all": len(many) for name, many in long.items()}}


def chosen(order: Mapping[str, Json]) -> str:
    """Return which ones an order over many deliveries is about: ``function ship, since 1h``."""
    return ", ".join(_said(name, order[name]) for name in _CHOOSE if _is_there(name, order.get(name)))


def asked(order: Json) -> str:
    """Return all that a request asked for, in words; empty where it was nothing."""
    if not isinstance(order, Mapping):
        return "" if order is None else _short(str(order))
    rest = [_said(name, value) for name, value in order.items() if name not in _CHOOSE and value not in (None, False)]
    return ", ".join(part for part in (chosen(order), *rest) if part)


def came_to(entry: Mapping[str, Json]) -> str:
    """Return how far an order over many came: ``3 of 4 done``; empty for what is none, or is not that far.

    Of what was refused it is said how many more were.
    """
    if left_out := entry.get("left_out"):
        return f"after {left_out:,} more refusals, which are not written down"
    count, done = entry.get("chosen"), entry.get("changed")
    if not isinstance(count, int) or not isinstance(done, int):
        return ""
    if not count:
        return "there was none"
    if entry.get("dry_run"):
        return f"it would be {count:,}"
    return f"{done:,} of {count:,} done{'' if entry.get('finished') else ', then it was stopped'}"


def _is_there(name: str, value: Json) -> bool:
    """Whether a member chooses anything; what died without an error has an empty cause."""
    return (value == "" and name == "fingerprint") or bool(value)


def _said(name: str, value: Json) -> str:
    if name in ("ids", "causes") and isinstance(value, list):
        between = ", " if name == "ids" else "; "
        more = f"{between}…" if len(value) > NAMED else ""
        return f"{name} {between.join(_short(_one(one)) for one in value[:NAMED])}{more}"
    if value is True:
        return {"all": "all of them", "dry_run": "a dry run"}.get(name, name.replace("_", " "))
    called = "no cause" if name == "fingerprint" and value == "" else _CALLED.get(name, name.replace("_", " "))
    return f"{called} {_short(value if isinstance(value, str) else str(value))}".rstrip()


def _one(value: Json) -> str:
    """Return an id, or a cause with its function."""
    if not isinstance(value, Mapping):
        return str(value)
    return f"{value.get('function')}: {value.get('fingerprint') or 'no cause'}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
