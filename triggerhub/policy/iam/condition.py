"""Decide whether the conditions of IAM's policies hold for what is known of a request. Pure.

The rules are those of "IAM JSON policy elements: Condition operators" and "Conditions with multiple context
keys or values" in AWS's IAM user guide, also of keys that a request does not have.
"""

from __future__ import annotations

import ipaddress
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from triggerhub.model import Json
from triggerhub.policy.iam import keys
from triggerhub.policy.iam.pattern import Known, check_variables, filled, like

_Matches: TypeAlias = Callable[[str, str, Known], bool]
"""Whether a request's value is as a policy's is; the latter was checked before."""
ANY, ALL = "ForAnyValue", "ForAllValues"
_IF_EXISTS = "IfExists"
_NULL = "Null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One key of one operator."""

    operator: str
    """Without what stands before and behind it."""
    key: str
    """In lower case."""
    values: tuple[str, ...]
    quantifier: str = ""
    """``ForAnyValue`` or ``ForAllValues``."""
    if_exists: bool = False

    def holds(self, known: Known) -> bool:
        """Whether it holds for a request."""
        found = known.get(self.key, ())
        if self.operator == _NULL:
            return any((not found) == (value == "true") for value in self.values)
        matches, negated = _OPERATORS[self.operator]
        if not found:
            return self.if_exists or self.quantifier == ALL or (negated and self.quantifier != ANY)
        each = (negated != any(matches(have, wanted, known) for wanted in self.values) for have in found)
        # Of several values that nobody quantified, one is enough to be equal, and all are needed to be unlike.
        return all(each) if self.quantifier == ALL or (negated and self.quantifier != ANY) else any(each)


def conditions(given: Json, variable: Callable[[str], str]) -> Iterator[Condition]:
    """Yield what a Condition element says; *variable* is done to every text that may have variables.

    ValueError says where it is wrong.
    """
    if not isinstance(given, Mapping):
        raise ValueError('Condition: expected an object like {"StringEquals": {"aws:username": "me"}}')
    for text, pairs in given.items():
        quantifier, name, if_exists = _operator(text)
        if not isinstance(pairs, Mapping) or not pairs:
            raise ValueError(f"Condition.{text[:60]}: expected an object of keys and values")
        for key, wanted in pairs.items():
            place = f"Condition.{text}.{key[:60]}"
            if (why := keys.unknown(key)) is not None:
                raise ValueError(f"Condition.{text}: {why}")
            try:
                values = tuple(_checked(name, variable(one)) for one in _texts(wanted))
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            yield Condition(operator=name, key=key.lower(), values=values, quantifier=quantifier, if_exists=if_exists)


def _operator(text: str) -> tuple[str, str, bool]:
    before, colon, name = text.rpartition(":")
    if colon and before not in (ANY, ALL):
        raise ValueError(f"Condition: {text[:60]!r}: before an operator stands {ANY} or {ALL}, or nothing")
    if_exists = name.endswith(_IF_EXISTS)
    name = name.removesuffix(_IF_EXISTS)
    if name == _NULL and not (before or if_exists):
        return before, name, if_exists
    if name not in _OPERATORS:
        known = ", ".join((*_OPERATORS, _NULL))
        raise ValueError(f"Condition: there is no operator {text[:60]!r} here; there are {known}")
    return before, name, if_exists


def _texts(wanted: Json) -> Sequence[str]:
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not values:
        raise ValueError("expected a value, or a list of them")
    if not all(isinstance(one, str | bool | int | float) for one in values):
        raise ValueError("expected texts, numbers, true or false")
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]


def _checked(name: str, value: str) -> str:
    """Return a value that an operator can compare with. Raises ValueError."""
    if name.startswith(("String", "Arn")):
        check_variables(value)
        if name.startswith("Arn") and value != "*" and "${" not in value and value.count(":") < _COLONS:
            raise ValueError(f"{value[:60]!r} is no ARN, which has six parts between colons")
    elif name in ("Bool", _NULL):
        if value.lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, got {value[:60]!r}")
        return value.lower()
    elif name.startswith("Numeric"):
        _number(value)
    elif name.startswith("Date"):
        _moment(value)
    else:
        ipaddress.ip_network(value, strict=False)
    return value


_COLONS = 5


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a number, got {text[:60]!r}")
    return value


def _moment(text: str) -> float:
    """Return the seconds since the epoch of a date in ISO 8601, or in such seconds."""
    try:
        return _number(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"expected a date like 2026-12-31T23:59:59Z, got {text[:60]!r}") from None


def _equal(have: str, wanted: str, known: Known) -> bool:
    return have == filled(wanted, known)


def _same(have: str, wanted: str, known: Known) -> bool:
    text = filled(wanted, known)
    return text is not None and have.lower() == text.lower()


def _arn(have: str, wanted: str, known: Known) -> bool:
    if wanted == "*":
        return True
    parts, patterns = have.split(":", _COLONS), wanted.split(":", _COLONS)
    if "${" in wanted:
        # A variable has a colon in its own name.
        return like(have, wanted, known)
    return len(parts) == len(patterns) and all(map(like, parts, patterns, [known] * len(parts)))


def _bool(have: str, wanted: str, known: Known) -> bool:
    return have.lower() == wanted


def _within(have: str, wanted: str, known: Known) -> bool:
    try:
        address = ipaddress.ip_address(have)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    network = ipaddress.ip_network(wanted, strict=False)
    address = mapped or address
    return address.version == network.version and address in network


def _compared(read: Callable[[str], float], compare: Callable[[float, float], bool]) -> _Matches:
    def matches(have: str, wanted: str, known: Known) -> bool:
        try:
            return compare(read(have), read(wanted))
        except ValueError:
            return False

    return matches


def _ordered(kind: str, read: Callable[[str], float]) -> dict[str, tuple[_Matches, bool]]:
    return {
        f"{kind}Equals": (_compared(read, operator.eq), False),
        f"{kind}NotEquals": (_compared(read, operator.eq), True),
        f"{kind}LessThan": (_compared(read, operator.lt), False),
        f"{kind}LessThanEquals": (_compared(read, operator.le), False),
        f"{kind}GreaterThan": (_compared(read, operator.gt), False),
        f"{kind}GreaterThanEquals": (_compared(read, operator.ge), False),
    }


_OPERATORS: Mapping[str, tuple[_Matches, bool]] = {
    "StringEquals": (_equal, False),
    "StringNotEquals": (_equal, True),
    "StringEqualsIgnoreCase": (_same, False),
    "StringNotEqualsIgnoreCase": (_same, True),
    "StringLike": (like, False),
    "StringNotLike": (like, True),
    "ArnEquals": (_arn, False),
    "ArnNotEquals": (_arn, True),
    "ArnLike": (_arn, False),
    "ArnNotLike": (_arn, True),
    "IpAddress": (_within, False),
    "NotIpAddress": (_within, True),
    "Bool": (_bool, False),
    **_ordered("Numeric", _number),
    **_ordered("Date", _moment),
}
"""How each compares, and whether it holds where that does not."""
