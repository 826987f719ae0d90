"""Compare what a bucket lists with what was known of it.

Pure. A listing comes in pages; only one that was read to its end says what is gone.
"""

from __future__ import annotations

import json
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


@dataclass(frozen=True, slots=True)
class Scope:
    """Which keys of a bucket are looked at."""

    prefix: str
    suffix: str

    def holds(self, key: str) -> bool:
        return key.startswith(self.prefix) and key.endswith(self.suffix)

    def shared(self, other: Scope) -> Scope | None:
        """Return the keys that both hold; None is none."""
        prefix = max(self.prefix, other.prefix, key=len)
        suffix = max(self.suffix, other.suffix, key=len)
        apart = not all(prefix.startswith(one.prefix) and suffix.endswith(one.suffix) for one in (self, other))
        return None if apart else Scope(prefix, suffix)

    def encode(self) -> str:
        """Return the value of its checkpoint."""
        return json.dumps([self.prefix, self.suffix])

    @classmethod
    def decode(cls, text: str) -> Scope:
        """Read what :meth:`encode` wrote."""
        return cls(*json.loads(text))


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


def old(one: Listed, began: Millis | None, listed: Scope | None) -> bool:
    """Whether an object that is new to us lay there before the trigger *began*; None is a trigger that tells all.

    What is in the scope that was *listed* to its end came later, whatever its date: a large upload has that of its
    beginning, and a copy may keep that of its original.
    """
    return began is not None and one.changed < began and not (listed is not None and listed.holds(one.key))
