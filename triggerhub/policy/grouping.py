"""Put errors together that differ only in what changes from call to call.

Pure. A thousand dead letters of one cause are one thing to look at, not a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from triggerhub.model import Millis

LONGEST = 160
"""Characters of a fingerprint's message."""
_CHANGING = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # an id
    r"|0x[0-9a-fA-F]+"
    r"|\b(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{12,}\b"  # a digest
    r"|[0-9]+(?:[.,:][0-9]+)*"
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grave:
    """The dead letters of one function that share an error's text."""

    function: str
    type: str | None
    message: str | None
    count: int
    first: Millis
    """When the earliest of them died."""
    last: Millis
    newest: str
    """The id of the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The dead letters of one function that share an error's fingerprint."""

    function: str
    fingerprint: str
    sample: str
    """The text of the newest error."""
    count: int
    first: Millis
    last: Millis
    newest: str


def fingerprint(kind: str | None, message: str | None) -> str:
    """Return what is the same in errors of one cause; empty where there was no error."""
    if kind is None:
        return ""
    first = _SPACE.sub(" ", (message or "")[: 8 * LONGEST]).strip()
    return f"{kind}: {_CHANGING.sub('#', first)[:LONGEST]}"


def group(graves: Iterable[Grave]) -> list[Group]:
    """Return the groups, the one with the newest death first."""
    found: dict[tuple[str, str], Group] = {}
    for one in graves:
        mark = fingerprint(one.type, one.message)
        sample = "" if one.type is None else f"{one.type}: {one.message}"
        known = found.get((one.function, mark))
        if known is None:
            known = Group(
                function=one.function,
                fingerprint=mark,
                sample=sample,
                count=one.count,
                first=one.first,
                last=one.last,
                newest=one.newest,
            )
        else:
            newer = one.newest > known.newest
            known = replace(
                known,
                count=known.count + one.count,
                first=min(known.first, one.first),
                last=max(known.last, one.last),
                newest=one.newest if newer else known.newest,
                sample=sample if newer else known.sample,
            )
        found[one.function, mark] = known
    return sorted(found.values(), key=lambda one: (one.last, one.newest), reverse=True)


def shown(one: Group, hide: Callable[[str], str]) -> Group:
    """Return a group with the text of its newest error as *hide* makes it, and the fingerprint of that."""
    kind, colon, message = one.sample.partition(": ")
    named, hidden = hide(kind), hide(message)
    if (named, hidden) == (kind, message):
        return one
    return replace(one, sample=f"{named}{colon}{hidden}", fingerprint=fingerprint(named, hidden))
