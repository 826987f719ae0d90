"""Put errors together that differ only in what changes from call to call.

Pure. A thousand dead letters of one cause are one thing to look at, not a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
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
    first = " ".join((message or "")[: 8 * LONGEST].split())
    return f"{kind}: {_CHANGING.sub('#', first)[:LONGEST]}"


def group(graves: Iterable[Grave]) -> list[Group]:
    """Return the groups, the one with the newest death first."""
    found: dict[tuple[str, str], list[Grave]] = {}
    for one in graves:
        found.setdefault((one.function, fingerprint(one.type, one.message)), []).append(one)
    groups = [_together(alike, mark) for (_, mark), alike in found.items()]
    return sorted(groups, key=lambda one: (one.last, one.newest), reverse=True)


def _together(alike: Sequence[Grave], mark: str) -> Group:
    newest = max(alike, key=lambda one: one.newest)
    return Group(
        function=newest.function,
        fingerprint=mark,
        sample="" if newest.type is None else f"{newest.type}: {newest.message}",
        count=sum(one.count for one in alike),
        first=min(one.first for one in alike),
        last=max(one.last for one in alike),
        newest=newest.newest,
    )


def shown(one: Group, hide: Callable[[str], str]) -> Group:
    """Return a group with the text of its newest error as *hide* makes it, and the fingerprint of that."""
    kind, colon, message = one.sample.partition(": ")
    named, hidden = hide(kind), hide(message)
    if (named, hidden) == (kind, message):
        return one
    return replace(one, sample=f"{named}{colon}{hidden}", fingerprint=fingerprint(named, hidden))
