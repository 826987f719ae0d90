"""Compare what a bucket lists with what was known of it.

Pure. A listing comes in pages; only one that was read to its end says what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from triggerhub.model import Millis

Change = Literal["created", "modified", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One object as it is listed."""

    key: str
    etag: str
    size: int
    changed: Millis
    """When it was last written, by the bucket's clock."""


def differing(page: Iterable[Listed], known: Mapping[str, str]) -> list[tuple[Change, Listed]]:
    """Return the objects of a page that are new, or whose tag is another than was known of the key."""
    found: list[tuple[Change, Listed]] = []
    for one in page:
        before = known.get(one.key)
        if before is None:
            found.append(("created", one))
        elif before != one.etag:
            found.append(("modified", one))
    return found


def old(one: Listed, began: Millis | None) -> bool:
    """Whether an object that is new to us lay there before the trigger *began*; None is a trigger that tells all."""
    return began is not None and one.changed < began
