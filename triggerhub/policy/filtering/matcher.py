"""Make the tests of a pattern's leaves: one for each value or operator in the array.

The operators are those of the EventBridge user guide, "Comparison operators for use in event patterns";
what is a legal operand follows event-ruler's ``JsonRuleCompiler``. Numbers are compared by value, so
300 equals 300.0 and 3e2, and are not held to event-ruler's old range of five billion.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from triggerhub.model import Json
from triggerhub.policy.filtering.error import PatternError
from triggerhub.policy.filtering.wildcard import wildcard
from triggerhub.policy.filtering.words import choice, show

Path: TypeAlias = tuple[str | int, ...]
Test: TypeAlias = Callable[[Json], bool]
"""Takes one value that is neither an object nor an array."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CIDR = re.compile(r"[^/]+/\d{1,3}")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One alternative of a leaf. ``test`` is None for ``exists: false``, which no value passes."""

    words: str
    test: Test | None


def matcher(value: Json, path: Path) -> Matcher:
    """Return the matcher of one element of a leaf's array; PatternError says what is legal."""
    if isinstance(value, dict):
        if len(value) != 1:
            raise PatternError(path, f"expected one operator to an object, got {_names(value)}")
        name, operand = next(iter(value.items()))
        make = OPERATORS.get(name)
        if make is None:
            raise PatternError((*path, name), _unknown(name, OPERATORS))
        return make(operand, (*path, name))
    if isinstance(value, list):
        raise PatternError(path, "an array inside an array; write its values one after the other")
    scalar = _scalar(value, path)
    return Matcher(show(scalar), exactly([scalar]))


def exactly(values: Sequence[Json]) -> Test:
    """Return the test for any of these values; a string never equals a number, nor true a 1."""
    strings = frozenset(value for value in values if isinstance(value, str))
    numbers = frozenset(value for value in values if _is_number(value))
    others = tuple(value for value in values if value is None or isinstance(value, bool))

    def test(value: Json) -> bool:
        kind = type(value)
        if kind is str:
            return value in strings
        if kind is int or kind is float:
            return value in numbers
        return value in others

    return test


def _prefix(operand: Json, path: Path) -> Matcher:
    ignoring, text = _case(operand, path)
    if ignoring:
        folded = text.casefold()
        return Matcher(
            f"prefix {show(text)} in any case",
            lambda value: isinstance(value, str) and value.casefold().startswith(folded),
        )
    return Matcher(f"prefix {show(text)}", lambda value: isinstance(value, str) and value.startswith(text))


def _suffix(operand: Json, path: Path) -> Matcher:
    ignoring, text = _case(operand, path)
    if ignoring:
        folded = text.casefold()
        return Matcher(
            f"suffix {show(text)} in any case",
            lambda value: isinstance(value, str) and value.casefold().endswith(folded),
        )
    return Matcher(f"suffix {show(text)}", lambda value: isinstance(value, str) and value.endswith(text))


def _ignore_case(operand: Json, path: Path) -> Matcher:
    folded = _string(operand, path).casefold()
    return Matcher(f"{show(operand)} in any case", lambda value: isinstance(value, str) and value.casefold() == folded)


def _wildcard(operand: Json, path: Path) -> Matcher:
    try:
        fits = wildcard(_string(operand, path))
    except ValueError as error:
        raise PatternError(path, str(error)) from None
    return Matcher(f"wildcard {show(operand)}", lambda value: isinstance(value, str) and fits(value))


def _numeric(operand: Json, path: Path) -> Matcher:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise PatternError(path, f'expected [">", 0] or [">", 0, "<=", 5], got {show(operand)}')
    pairs = [(operand[at], operand[at + 1]) for at in range(0, len(operand), 2)]
    for at, (sign, number) in enumerate(pairs):
        if not isinstance(sign, str) or sign not in _COMPARISONS:
            raise PatternError((*path, 2 * at), f"expected one of = < <= > >=, got {show(sign)}")
        if not _is_number(number):
            raise PatternError((*path, 2 * at + 1), f"expected a number, got {show(number)}")
    if len(pairs) == 2:
        _range(pairs, path)
    compare = [(_COMPARISONS[sign], number) for sign, number in pairs]

    def test(value: Json) -> bool:
        return _is_number(value) and all(holds(value, number) for holds, number in compare)

    return Matcher("numeric " + ", ".join(f"{sign} {show(number)}" for sign, number in pairs), test)


def _range(pairs: Sequence[tuple[str, float]], path: Path) -> None:
    lower = [number for sign, number in pairs if sign in (">", ">=")]
    upper = [number for sign, number in pairs if sign in ("<", "<=")]
    if len(lower) != 1 or len(upper) != 1:
        raise PatternError(path, "expected one lower bound (> or >=) and one upper bound (< or <=)")
    if lower[0] > upper[0] or (lower[0] == upper[0] and {sign for sign, _ in pairs} != {">=", "<="}):
        raise PatternError(path, f"no number is in this range: its lower bound {lower[0]} is not below {upper[0]}")


def _cidr(operand: Json, path: Path) -> Matcher:
    text = _string(operand, path)
    try:
        if _CIDR.fullmatch(text) is None:
            raise ValueError(text)
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        message = f"expected a block of addresses like 10.0.0.0/24 or 2001:db8::/32, got {show(text)}"
        raise PatternError(path, message) from None

    def test(value: Json) -> bool:
        if not isinstance(value, str):
            return False
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return Matcher(f"cidr {network}", test)


def _exists(operand: Json, path: Path) -> Matcher:
    if not isinstance(operand, bool):
        raise PatternError(path, f"expected true or false, got {show(operand)}")
    return Matcher("any value", lambda _: True) if operand else Matcher("no such field", None)


def _anything_but(operand: Json, path: Path) -> Matcher:
    if isinstance(operand, dict):
        return _anything_but_operator(operand, path)
    values = operand if isinstance(operand, list) else [operand]
    if not values:
        raise PatternError(path, "an empty array; name at least one value")
    wanted = str if isinstance(values[0], str) else float
    for at, value in enumerate(values):
        where = (*path, at) if values is operand else path
        if not isinstance(value, str) and not _is_number(value):
            raise PatternError(where, f"expected a string or a number, got {show(value)}")
        if isinstance(value, str) != (wanted is str):
            raise PatternError(where, "strings and numbers together; write one anything-but for each kind")
    excluded = exactly(values)
    return Matcher(f"anything but {choice([show(value) for value in values])}", lambda value: not excluded(value))


def _anything_but_operator(operand: Mapping[str, Json], path: Path) -> Matcher:
    if len(operand) != 1:
        raise PatternError(path, f"expected an object with one operator, got {_names(operand)}")
    name, inner = next(iter(operand.items()))
    where = (*path, name)
    make = _NEGATABLE.get(name)
    if make is None:
        raise PatternError(where, _unknown(name, _NEGATABLE))
    values = inner if isinstance(inner, list) else [inner]
    if not values:
        raise PatternError(where, "an empty array; name at least one value")
    tests, words = [], []
    for at, value in enumerate(values):
        place = (*where, at) if values is inner else where
        if _string(value, place) == "" and name in ("prefix", "suffix"):
            raise PatternError(place, f"an empty {name}: every string has it")
        made = make(value, place)
        words.append(made.words)
        tests.append(made.test)
    return Matcher(
        f"anything but {choice(words)}", lambda value: not any(test is not None and test(value) for test in tests)
    )


_NEGATABLE: Mapping[str, Callable[[Json, Path], Matcher]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _ignore_case,
    "wildcard": _wildcard,
}
OPERATORS: Mapping[str, Callable[[Json, Path], Matcher]] = {
    **_NEGATABLE,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
    "exists": _exists,
}


def _case(operand: Json, path: Path) -> tuple[bool, str]:
    """Return whether case is ignored, and the text."""
    if isinstance(operand, dict) and list(operand) == ["equals-ignore-case"]:
        return True, _string(operand["equals-ignore-case"], (*path, "equals-ignore-case"))
    if isinstance(operand, dict):
        raise PatternError(path, f'expected a string or {{"equals-ignore-case": "…"}}, got {_names(operand)}')
    return False, _string(operand, path)


def _string(operand: Json, path: Path) -> str:
    if not isinstance(operand, str):
        raise PatternError(path, f"expected a string, got {_word(operand)}")
    return operand


def _scalar(value: Json, path: Path) -> Json:
    if value is None or isinstance(value, str | bool) or _is_number(value):
        return value
    raise PatternError(path, f"expected a string, a number, true, false, null or an operator, got {_word(value)}")


def _is_number(value: Json) -> bool:
    return (type(value) is int or type(value) is float) and (type(value) is int or math.isfinite(value))


def _word(value: Json) -> str:
    """Show a value that may not even be JSON, such as a date out of TOML."""
    if value is None or isinstance(value, str | bool | int | float | list | dict):
        return show(value)
    return f"{value} (JSON has no {type(value).__name__}; put it in quotes)"


def _names(operand: Mapping[str, Json]) -> str:
    return ", ".join(operand) if operand else "an empty one"


def _unknown(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the operators here are {', '.join(known)}"
    return f"{show(name)} is no operator; {hint}"
