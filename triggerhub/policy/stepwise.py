"""Read a long JSON document in steps, so that others have their turn between any two. Pure.

What it takes is what ``json.loads`` does, but for how deep values may be within one another, and so is what it makes
of it. That function holds the interpreter until the last value is there, in whatever thread it runs. Here only what is
asked for is made; all else is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Generator
from typing import NamedTuple, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""What comes to a T in the end; between any two steps others may have their turn."""

_LARGE = 64 * 1024
"""Bytes up to which a text is read at once, whatever is in it."""
_MANY = 30_000
"""Commas and beginnings of lists and objects, of which together a text may have as many and be read at once. Each of
its values has one of them, but for the first; those that stand in strings are counted with them."""
STEP = 2048
"""Characters of a step: some milliseconds where each is a value, on a slow machine."""
SHORT = 1024
"""Characters of a value that is looked at as one."""
DEPTH = 900
"""Lists and objects within one another. How many ``json.loads`` takes goes by the version of Python, and in some by how
deep in calls it is itself: some 970 of 3.11."""
TRIED = SHORT // 4
"""Characters after which it is tried again whether a list or an object is short, once one was not."""
SELDOM = 128 * TRIED
"""Characters after which it is so at the latest."""

_WHITE = r"[ \t\n\r]*+"
_STRING = r'"[^"\\\x00-\x1f]{0,200}+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]{0,200}+){0,50}+"'
# An integer of more digits may be too long for Python, by how that is set; never one of 640.
_NUMBER = r"-?(?:0|[1-9][0-9]{0,600}+)(?:\.[0-9]{1,600}+)?+(?:[eE][-+]?[0-9]{1,600}+)?+"
_SCALAR = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
_NAMED = f"{_STRING}{_WHITE}:{_WHITE}"
_LIST = rf"\[{_WHITE}(?:{_SCALAR}{_WHITE}(?:,{_WHITE}{_SCALAR}{_WHITE}){{0,20}}+)?+\]"
_OBJECT = rf"\{{{_WHITE}(?:{_NAMED}{_SCALAR}{_WHITE}(?:,{_WHITE}{_NAMED}{_SCALAR}{_WHITE}){{0,20}}+)?+\}}"
_VALUE = f"(?:{_SCALAR}|{_LIST}|{_OBJECT})"
_white = re.compile(_WHITE).match
_values = re.compile(f"(?:{_VALUE}{_WHITE},{_WHITE}){{0,50}}+").match
_members = re.compile(f"(?:{_NAMED}{_VALUE}{_WHITE},{_WHITE}){{0,50}}+").match
"""Runs of what is plain, each with the comma behind it. What they do not match is looked at one by one, so that they
need to know no more than most of JSON, and nothing that is not."""
_CLOSES = {"{": "}", "[": "]"}
_scan = json.JSONDecoder().raw_decode


class Span(NamedTuple):
    """Where a value lies in a text."""

    begins: int
    ends: int
    members: dict[str, Span] | None = None
    """Those of an object that was asked for with its own."""


def is_long(body: bytes) -> bool:
    """Whether so many values are in it that reading them would hold up everybody; a large text alone does not."""
    return len(body) > _LARGE and sum(map(body.count, (b",", b"[", b"{"))) > _MANY


def members(
    text: str, at: int, wanted: Container[str] | None = None, *, within: str | None = None, depth: int = 1
) -> Steps[tuple[dict[str, Span], int]]:
    """Find the members, or those *wanted*, of the object that begins at *at*, and its end. Of two of a name the last.

    That of the name *within* is found with its own where it is an object. The object is at *depth*, 1 where no other
    is around it. Raises ValueError where it is no JSON, RecursionError where it is too deep.
    """
    found: dict[str, Span] = {}
    at, until = skipped(text, at + 1), at + STEP
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        name, at = _name(text, at)
        begins, inner = at, None
        if name == within and text[at : at + 1] == "{":
            inner, at = yield from members(text, at, depth=depth + 1)
        else:
            at = yield from value(text, at, depth)
        if wanted is None or name in wanted:
            found[name] = Span(begins, at, inner)
        at = skipped(text, at)
        ends = text[at : at + 1]
        at += 1
        if ends == "}":
            return found, at
        if ends != ",":
            raise ValueError(f"expected a comma at character {at}")
        at = skipped(text, at)
        if at > until:
            until = at + STEP
            yield


def value(text: str, at: int, depth: int = 0) -> Steps[int]:
    """Return where the value ends that begins at *at*, *depth* others around it. Raises as :func:`members` does."""
    closing: list[str] = []
    until, untried, apart = at + STEP, at, TRIED
    while True:
        if at > until:
            until = at + STEP
            yield
        opens, short = text[at : at + 1], None
        if opens in _CLOSES and at >= untried and depth + len(closing) + SHORT // 2 < DEPTH:
            short = _short(text, at)
            # Where it is long, those that begin in it here may well be, too: of many few are tried in vain.
            untried = at + apart if short is None else at
            apart = min(2 * apart, SELDOM) if short is None else TRIED
        if short is not None:
            at = short
        elif opens not in _CLOSES:
            at = _scan(text, at)[1]
        else:
            closing.append(_CLOSES[opens])
            if depth + len(closing) > DEPTH:
                raise RecursionError
            at = skipped(text, at + 1)
            if text[at : at + 1] != closing[-1]:
                at = _next(text, at, closing[-1])
                continue
            at += 1
            closing.pop()
        while closing:
            at = skipped(text, at)
            ends = text[at : at + 1]
            if ends == ",":
                at = _next(text, skipped(text, at + 1), closing[-1])
                break
            if ends != closing[-1]:
                raise ValueError(f"expected a comma at character {at}")
            closing.pop()
            at += 1
        else:
            return at


def _short(text: str, at: int) -> int | None:
    """Return where a list or an object ends, None where it does not end soon."""
    try:
        return at + _scan(text[at : at + SHORT], 0)[1]
    except (ValueError, RecursionError):
        return None


def skipped(text: str, at: int) -> int:
    """Return where what is not white space begins."""
    found = _white(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _next(text: str, at: int, closing: str) -> int:
    """Return where the next value begins that has to be looked at, within what a *closing* will close."""
    found = (_members if closing == "}" else _values)(text, at)
    assert found is not None, "it matches nothing, too"
    at = found.end()
    return _name(text, at)[1] if closing == "}" else at


def _name(text: str, at: int) -> tuple[str, int]:
    """Return the name that begins at *at*, and where its value does."""
    if text[at : at + 1] != '"':
        raise ValueError(f"expected a name at character {at}")
    name: str
    name, at = _scan(text, at)
    at = skipped(text, at)
    if text[at : at + 1] != ":":
        raise ValueError(f"expected a colon at character {at}")
    return name, skipped(text, at + 1)
