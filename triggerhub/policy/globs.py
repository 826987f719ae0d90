"""Say which paths a list of globs selects.

Paths are relative and in POSIX form; matching is case-sensitive and covers the whole path. Written
here because ``PurePath.match`` knows no ``**`` before Python 3.13, and because one compiled
alternation is what makes a look at 100,000 names cheap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def translate(pattern: str) -> str:
    """Return the regular expression of a glob; ValueError says what is wrong with it.

    ``*`` and ``?`` stay within a segment, ``[a-z]`` and ``[!a-z]`` are one character of it, ``**`` is a
    segment of its own and stands for any number of segments, none included (as the last one: at least one).
    """
    if not pattern:
        raise ValueError("an empty glob matches nothing; expected something like **/*.csv")
    if pattern.startswith("/"):
        raise ValueError(f"{pattern!r} starts with a slash; globs are relative to the trigger's path")
    segments = pattern.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError(f"{pattern!r} has an empty, . or .. segment; expected names and wildcards between slashes")
    out: list[str] = []
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "**":
            out.append("(?:[^/]+/)*[^/]+" if last else "(?:[^/]+/)*")
        elif "**" in segment:
            raise ValueError(f"{pattern!r} joins ** to other characters; ** is a segment of its own, like **/*.csv")
        else:
            out.append(_segment(segment, pattern) + ("" if last else "/"))
    return "".join(out)


def _segment(segment: str, pattern: str) -> str:
    out, position = [], 0
    while position < len(segment):
        character = segment[position]
        position += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            # A bracket right after the opening one (or after the !) is a member, as in a shell.
            first = position + 1 if segment[position : position + 1] == "!" else position
            end = segment.find("]", first + 1)
            if end < 0:
                raise ValueError(f"{pattern!r} opens a [ that it never closes; write [[] for the character itself")
            out.append(_members(segment[first:end], negated=first > position, pattern=pattern))
            position = end + 1
        else:
            out.append(re.escape(character))
    return "".join(out)


def _members(members: str, *, negated: bool, pattern: str) -> str:
    ranges = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    text = f"(?!/)[{'^' if negated else ''}{ranges}]"
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{pattern!r} has a set [{members}] that cannot be read: {error}") from error
    return text


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    expressions = [f"(?:{translate(pattern)})" for pattern in patterns]
    return re.compile("|".join(expressions) or "(?!)", re.DOTALL)


class Selection:
    """What ``include`` takes and ``exclude`` does not, compiled once."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str] = ()) -> None:
        self._include = _any(include)
        self._exclude = _any(exclude)
        whole = [pattern for pattern in exclude if pattern.endswith("/**")]
        self._closed = _any([*whole, *(pattern.removesuffix("/**") for pattern in whole)])

    def takes(self, path: str) -> bool:
        """Return whether a file of this relative path is selected."""
        return self._include.fullmatch(path) is not None and self._exclude.fullmatch(path) is None

    def enters(self, folder: str) -> bool:
        """Return False where ``exclude`` covers all that a folder may hold: it need not be walked."""
        return self._closed.fullmatch(folder) is None
