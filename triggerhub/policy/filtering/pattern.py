"""Match a record, and say why one does not match.

A node's verdict is one of three: no; yes; and yes, but by absence alone (``exists: false``). The third is
what arrays need. A pattern matches an array of objects if one element meets all of it together, whereas
a field is absent only if it is in none of the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triggerhub.model import Json
from triggerhub.policy.filtering.matcher import Matcher, Test
from triggerhub.policy.filtering.words import choice, place, show

NO, ABSENT, YES = 0, 1, 2
Verdict: TypeAlias = int
Match: TypeAlias = Callable[[Json], Verdict]

_NOTHING: list[Json] = []
"""A missing field: like an empty array it holds no value."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Leaf:
    """The array of a field: any alternative will do."""

    match: Match
    words: str

    @classmethod
    def of(cls, matchers: Sequence[Matcher]) -> Leaf:
        """Return the leaf of these alternatives."""
        tests = tuple(one.test for one in matchers if one.test is not None)
        absence = ABSENT if any(one.test is None for one in matchers) else NO
        return cls(_leaf(_any(tests), absence), choice([one.words for one in matchers]))

    def why(self, value: Json, path: tuple[str, ...], told: bool) -> str:
        """Say what was found instead, or that it does not match."""
        if not told:
            return f"{place(path)} does not match; wanted {self.words}"
        found = "missing" if value is _NOTHING else show(value)
        return f"{place(path)} is {found}; wanted {self.words}"


@dataclass(frozen=True, slots=True)
class Either:
    """``$or``: one of these must match the same object."""

    options: tuple[Fields, ...]

    def match(self, record: dict[str, Json]) -> Verdict:
        return max(option.one(record) for option in self.options)

    def why(self, record: dict[str, Json], path: tuple[str, ...], told: bool) -> str:
        """Say why the first few alternatives fail."""
        reasons = [option.why_one(record, path, told) for option in self.options[:_SHOWN]]
        more = len(self.options) - len(reasons)
        return "no alternative of $or matches: " + " | ".join(reasons) + (f" | {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of an object: all must match, within one object."""

    fields: tuple[tuple[str, Leaf | Fields], ...]
    eithers: tuple[Either, ...]
    one: Callable[[dict[str, Json]], Verdict]
    match: Match
    text_is_object: bool
    """Whether a string counts as an object without fields; not so for ``body``."""

    @classmethod
    def of(
        cls, fields: Sequence[tuple[str, Leaf | Fields]], eithers: Sequence[Either], *, text_is_object: bool = True
    ) -> Fields:
        """Return the node of these fields."""
        one = _one([(name, node.match) for name, node in fields], [either.match for either in eithers])
        return cls(tuple(fields), tuple(eithers), one, _all(one, text_is_object), text_is_object)

    def why(self, value: Json, path: tuple[str, ...], told: bool) -> str:
        """Say which field fails."""
        if isinstance(value, dict):
            return self.why_one(value, path, told)
        candidates = objects(value) if isinstance(value, list) else []
        if not candidates:
            absent = value is _NOTHING or isinstance(value, list)
            found = f"is {show(value)}" if told else "does not match"
            return self.why_one({}, path, told) if absent else f"{place(path)} {found}; wanted an object"
        failing = next(one for one in candidates if self.one(one) == NO)
        reason = self.why_one(failing, path, told)
        return reason if len(candidates) == 1 else f"no element of {place(path)} matches; in one, {reason}"

    def why_one(self, record: dict[str, Json], path: tuple[str, ...], told: bool) -> str:
        """Say which field of one object fails."""
        for name, node in self.fields:
            value = record.get(name, _NOTHING)
            if node.match(value) == NO:
                return node.why(value, (*path, name), told)
        return next(either.why(record, path, told) for either in self.eithers if either.match(record) == NO)

    def every(self, record: dict[str, Json], path: tuple[str, ...]) -> Iterator[str]:
        """Say of each field of one object that fails why it does, with what was found there."""
        for name, node in self.fields:
            value, there = record.get(name, _NOTHING), (*path, name)
            if node.match(value) != NO:
                continue
            if isinstance(node, Fields) and (isinstance(value, dict) or value is _NOTHING):
                yield from node.every(value if isinstance(value, dict) else {}, there)
            else:
                yield node.why(value, there, told=True)
        yield from (either.why(record, path, told=True) for either in self.eithers if either.match(record) == NO)


class Pattern:
    """A compiled pattern; made by :func:`compile`."""

    __slots__ = ("_root",)

    def __init__(self, root: Fields) -> None:
        self._root = root

    def matches(self, record: Json) -> bool:
        """Whether *record* (as ``selecting.view`` parsed it) matches; never raises, whatever it is."""
        return isinstance(record, dict) and self._root.one(record) != NO

    def why(self, record: Json, *, told: bool = True) -> str | None:
        """Return None if it matches, else a sentence that names the first leaf that does not.

        It says what was found there, too; not *told*, nothing but what the pattern says itself.
        """
        if self.matches(record):
            return None
        if not isinstance(record, dict):
            return f"the record is {show(record)}; wanted an object" if told else "the record is no object"
        return self._root.why_one(record, (), told)

    def failing(self, record: Json) -> list[str]:
        """Return a sentence as :meth:`why` does for each leaf that does not match; none if the record matches."""
        if self.matches(record):
            return []
        return list(self._root.every(record, ())) if isinstance(record, dict) else [self.why(record) or ""]


def objects(value: list[Json]) -> list[dict[str, Json]]:
    """Return the objects in an array, those of arrays inside it included."""
    return [item for item in _flat(value) if isinstance(item, dict)]


def _flat(value: list[Json]) -> list[Json]:
    """Return what is in an array when the arrays inside it are dissolved; no recursion, however deep."""
    flat: list[Json] = []
    waiting = [iter(value)]
    while waiting:
        for item in waiting[-1]:
            if isinstance(item, list):
                waiting.append(iter(item))
                break
            flat.append(item)
        else:
            waiting.pop()
    return flat


def _any(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _leaf(test: Test, absence: Verdict) -> Match:
    def match(value: Json) -> Verdict:
        if isinstance(value, list):
            scalars = [item for item in _flat(value) if not isinstance(item, dict)]
            if any(test(item) for item in scalars):
                return YES
            return NO if scalars else absence
        if isinstance(value, dict):
            return absence
        return YES if test(value) else NO

    return match


def _one(fields: Sequence[tuple[str, Match]], eithers: Sequence[Match]) -> Callable[[dict[str, Json]], Verdict]:
    steps, alternatives = tuple(fields), tuple(eithers)

    def one(record: dict[str, Json]) -> Verdict:
        best = ABSENT
        for name, match in steps:
            verdict = match(record.get(name, _NOTHING))
            if verdict == NO:
                return NO
            if verdict == YES:
                best = YES
        for match in alternatives:
            verdict = match(record)
            if verdict == NO:
                return NO
            if verdict == YES:
                best = YES
        return best

    return one


def _all(one: Callable[[dict[str, Json]], Verdict], text_is_object: bool) -> Match:
    def match(value: Json) -> Verdict:
        if isinstance(value, dict):
            return one(value)
        if isinstance(value, list) and (candidates := objects(value)):
            verdicts = {one(candidate) for candidate in candidates}
            return YES if YES in verdicts else min(verdicts)
        if isinstance(value, str) and not text_is_object:
            return NO
        return one({})

    return match
