"""Read the path of a route: literal, or with ``{name}`` parts of one segment each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

RESERVED = "/_url"
"""Function URLs live below it."""
_PART = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LITERAL = re.compile(r"[^\x00-\x20\x7f?#%{}\\]*")
_DOTS = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path with parts; None stands where a part is."""

    literals: tuple[str | None, ...]
    names: tuple[str, ...]

    def match(self, segments: Sequence[str]) -> tuple[str, ...] | None:
        """Return the values of the parts, or None where *segments* (decoded) are another path."""
        if len(segments) != len(self.literals):
            return None
        values = []
        for literal, segment in zip(self.literals, segments, strict=True):
            if literal is None:
                # A dot segment or an empty one names no thing, and a handler may use the value as a path:
                # one that an encoded slash hides counts, too.
                if not _DOTS.isdisjoint(segment.split("/")):
                    return None
                values.append(segment)
            elif literal != segment:
                return None
        return tuple(values)


def parse(path: str) -> Pattern | None:
    """Return the pattern of *path*, None for a literal one; ValueError says what is wrong with it."""
    if not path.startswith("/"):
        raise ValueError(f"expected a path that starts with a slash, got {path!r}")
    literals: list[str | None] = []
    names: list[str] = []
    for segment in path.split("/"):
        if part := _PART.fullmatch(segment):
            literals.append(None)
            names.append(part[1])
        elif "{" in segment or "}" in segment:
            raise ValueError(f"expected a part to be one whole segment, such as {{name}}, got {segment!r} in {path!r}")
        elif segment in (".", "..") or not _LITERAL.fullmatch(segment):
            raise ValueError(f"expected plain segments without space, ?, #, %, . or .., got {segment!r} in {path!r}")
        else:
            literals.append(segment)
    if len(set(names)) < len(names):
        raise ValueError(f"expected each part's name once, got {path!r}")
    if literals[-1] == "*":
        raise ValueError(f"expected parts that have names, such as {{name}}, and no wildcard, got {path!r}")
    if path == RESERVED or path.startswith(f"{RESERVED}/"):
        raise ValueError(f"expected a path outside {RESERVED}, which is for function URLs, got {path!r}")
    return Pattern(tuple(literals), tuple(names)) if names else None
