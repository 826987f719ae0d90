"""Find where each key and value of a TOML text lies.

``tomllib`` keeps no positions, and a problem without its line is a riddle. The scanner reads any valid
TOML; in an invalid one it stops where it loses the thread, which is never before ``tomllib`` does. It
is linear, and so can refuse beforehand what ``tomllib`` would take minutes for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and array indices from the top of the document."""

MAX_PARTS = 32
"""Dotted parts in one key: tomllib's work grows with their square."""
MAX_WORK = 1_000_000
"""What all dotted keys of a document may cost together, in steps of tomllib."""
MAX_DEPTH = 64
"""Arrays and inline tables within one another."""

# Possessive within, so that they stay linear; a possessive group loses matches before Python 3.11.5.
_BLANK = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*")
_REST_OF_LINE = re.compile(r"[ \t]*+(?:#[^\n]*+)?(?:\n|\Z)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_BASIC = re.compile(r'"(?:[^"\\\n]++|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*+'")
_SCALARS = (
    ('"""', re.compile(r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']++|'{1,2}(?!'))*'{3,5}")),
    ('"', _BASIC),
    ("'", _LITERAL),
    ("", re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]++|[^\s,\]}#]++")),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line; line and column count characters from 1."""

    line: int
    column: int
    length: int


@dataclass(slots=True)
class Places:
    """The positions of a document, as offsets; turned into lines and columns when asked."""

    text: str = ""
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    again: tuple[Path, tuple[int, int], tuple[int, int]] | None = None
    """The first key that is written where it has a value already, with its first place and this one."""
    _lines: list[int] = field(default_factory=list)

    def key(self, path: Path) -> Span | None:
        """Where the key is written; for an array's element, where the element is."""
        return self._span(self.keys.get(path) or self.values.get(path))

    def value(self, path: Path) -> Span | None:
        """Where the value is written; for a table with a header, where its name is."""
        return self._span(self.values.get(path) or self.keys.get(path))

    def lines(self) -> dict[tuple[str, ...], int]:
        """Return the line of every key that no array holds."""
        paths = {path: place for path, place in self.keys.items() if all(isinstance(part, str) for part in path)}
        return {tuple(map(str, path)): self.span(*place).line for path, place in paths.items()}

    def texts(self, names: Collection[str]) -> dict[tuple[str, ...], str]:
        """Return the values of the keys so called as they are written, each of one line."""
        found = {path: place for path, place in self.values.items() if path and path[-1] in names}
        return {tuple(map(str, path)): " ".join(self.text[start:end].split()) for path, (start, end) in found.items()}

    def offset(self, path: Path) -> int:
        """Where a value is written, to sort by; before all others where it is not known."""
        return (self.values.get(path) or self.keys.get(path) or (-1, -1))[0]

    def span(self, start: int, end: int) -> Span:
        """Turn two offsets into a span on the first one's line."""
        if not self._lines:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, start)
        newline = self.text.find("\n", start, end)
        return Span(line, start - self._lines[line - 1] + 1, (end if newline < 0 else newline) - start)

    def _span(self, found: tuple[int, int] | None) -> Span | None:
        return None if found is None else self.span(*found)


class TooDeepError(Exception):
    """The document is refused unread: ``what`` says why, ``span`` where."""

    def __init__(self, what: str, span: Span) -> None:
        super().__init__(what)
        self.what = what
        self.span = span


class _LostError(Exception):
    """This is no TOML; tomllib will say so better."""


def locate(text: str) -> Places:
    """Return the places of *text*, whose line ends are newlines. TooDeepError for what must not be parsed."""
    scanner = _Scanner(text)
    with suppress(_LostError):
        scanner.document()
    return scanner.places


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places = Places(text)
        self._elements: dict[Path, int] = {}
        """How many elements each array of tables has so far."""
        self._work = 0

    def document(self) -> None:
        table: Path = ()
        depth = 0
        while self._skip(_BETWEEN) < len(self.text):
            if self.text[self.at] == "[":
                table, depth = self._header()
            else:
                self._pair(table, 0, depth)
            self._expect(_REST_OF_LINE)

    def _header(self) -> tuple[Path, int]:
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        parts = self._key(0)
        if not self.text.startswith("]]" if double else "]", self.at):
            raise _LostError
        self.at += 2 if double else 1
        path: Path = ()
        for number, (name, where) in enumerate(parts, 1):
            path = (*path, name)
            last = number == len(parts)
            if path in self.places.values:
                self._repeated(path, where)
            if last or path not in self.places.keys:
                self.places.keys[path] = where
            if last and double:
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
                self.places.keys.setdefault(path, where)
        return path, len(parts)

    def _pair(self, table: Path, nesting: int, depth: int) -> None:
        path = table
        parts = self._key(depth)
        for number, (name, where) in enumerate(parts, 1):
            path = (*path, name)
            if path in (self.places.keys if number == len(parts) else self.places.values):
                self._repeated(path, where)
            self.places.keys.setdefault(path, where)
        if self.text[self.at : self.at + 1] != "=":
            raise _LostError
        self.at += 1
        self._skip(_BLANK)
        self._value(path, nesting)

    def _repeated(self, path: Path, where: tuple[int, int]) -> None:
        self.places.again = self.places.again or (path, self.places.keys[path], where)

    def _key(self, depth: int) -> list[tuple[str, tuple[int, int]]]:
        parts: list[tuple[str, tuple[int, int]]] = []
        start = self.at
        while True:
            self._skip(_BLANK)
            begin = self.at
            parts.append((self._key_part(), (begin, self.at)))
            if len(parts) > MAX_PARTS:
                what = f"a key has more than {MAX_PARTS} dotted parts"
                raise TooDeepError(what, self.places.span(start, self.at))
            if self.text[self._skip(_BLANK) : self.at + 1] != ".":
                break
            self.at += 1
        if len(parts) > 1:
            self._work += len(parts) * (len(parts) + depth)
        if self._work > MAX_WORK:
            raise TooDeepError("the file has too many long dotted keys", self.places.span(start, self.at))
        return parts

    def _key_part(self) -> str:
        quote = self.text[self.at : self.at + 1]
        start = self.at
        if quote == '"':
            self._expect(_BASIC)
            return _ESCAPE.sub(_unescape, self.text[start + 1 : self.at - 1])
        if quote == "'":
            self._expect(_LITERAL)
            return self.text[start + 1 : self.at - 1]
        self._expect(_BARE_KEY)
        return self.text[start : self.at]

    def _value(self, path: Path, nesting: int) -> None:
        if nesting > MAX_DEPTH:
            what = f"values are nested deeper than {MAX_DEPTH} levels"
            raise TooDeepError(what, self.places.span(self.at, self.at + 1))
        start = self.at
        match self.text[self.at : self.at + 1]:
            case "[":
                self._array(path, nesting)
            case "{":
                self._inline_table(path, nesting)
            case _:
                self._expect(next(scalar for opening, scalar in _SCALARS if self.text.startswith(opening, self.at)))
        self.places.values[path] = (start, self.at)

    def _array(self, path: Path, nesting: int) -> None:
        self.at += 1
        index = 0
        while self._next_is_not("]"):
            self._value((*path, index), nesting + 1)
            index += 1
            self._comma_or("]")
        self.at += 1

    def _inline_table(self, path: Path, nesting: int) -> None:
        self.at += 1
        while self._next_is_not("}"):
            self._pair(path, nesting + 1, 0)
            self._comma_or("}")
        self.at += 1

    def _next_is_not(self, closing: str) -> bool:
        self._skip(_BETWEEN)
        if self.at >= len(self.text):
            raise _LostError
        return self.text[self.at] != closing

    def _comma_or(self, closing: str) -> None:
        if self._next_is_not(closing):
            if self.text[self.at] != ",":
                raise _LostError
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return self.at

    def _expect(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _LostError
        self.at = match.end()


def _unescape(match: re.Match[str]) -> str:
    if code := match[1] or match[2]:
        number = int(code, 16)
        if number > 0x10FFFF:
            raise _LostError
        return chr(number)
    return _ESCAPED.get(match[3], match[3])


def walk(value: object, path: Path = ()) -> Mapping[Path, object]:
    """Return every path of a parsed document with its value, the top excluded."""
    found: dict[Path, object] = {}
    pending: list[tuple[Path, object]] = [(path, value)]
    while pending:
        here, one = pending.pop()
        if here != path:
            found[here] = one
        if isinstance(one, dict):
            pending += [((*here, name), inner) for name, inner in one.items()]
        elif isinstance(one, list):
            pending += [((*here, index), inner) for index, inner in enumerate(one)]
    return found
