"""Read metrics out of a line of log: CloudWatch's embedded metric format, as Powertools and AWS's libraries write it.

After "Specification: Embedded metric format" of the CloudWatch User Guide. What does not keep to it is no metric;
the line stays in the log in any case. Pure.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

LONGEST = 256 * 1024
"""A longer line is not looked into, in characters."""
VALUES = 100
"""Values of one metric in one line."""
SETS = 30
"""Dimensions of one set, and sets of one directive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a line says of one metric under one set of dimensions."""

    namespace: str
    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    values: tuple[float, ...]


def looks_like(text: str) -> bool:
    """Whether a line is worth reading: quick, since it is asked of every line."""
    return text.startswith("{") and '"_aws"' in text and len(text) <= LONGEST


def read(text: str) -> list[Sample]:
    """Return the metrics of a line; none of one that is in no such format."""
    try:
        line = json.loads(text)
        directives = line["_aws"]["CloudWatchMetrics"]
        return [sample for directive in directives for sample in _samples(directive, line)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _samples(directive: dict[str, Any], line: dict[str, Any]) -> list[Sample]:
    sets = [tuple(keys) for keys in directive.get("Dimensions") or [[]]]
    if len(sets) > SETS or any(len(keys) > SETS for keys in sets):
        raise ValueError("more dimensions than there may be")
    found = []
    for metric in directive["Metrics"]:
        values = _values(line.get(metric["Name"]))
        found += [
            Sample(
                namespace=_text(directive["Namespace"]),
                name=_text(metric["Name"]),
                unit=_text(metric.get("Unit", "None")),
                dimensions=tuple(sorted((_text(key), _text(line[key])) for key in keys)),
                values=values,
            )
            for keys in (sets if values else ())
        ]
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024:
        raise ValueError("expected a text of at most 1,024 characters")
    return value.encode("utf-8", "replace").decode()


def _values(value: object) -> tuple[float, ...]:
    listed = value if isinstance(value, list) else [value]
    if not 0 < len(listed) <= VALUES:
        return ()
    for one in listed:
        # No more than a float holds: an integer of JSON may have any number of digits.
        if not isinstance(one, int | float) or isinstance(one, bool) or not abs(one) <= sys.float_info.max:
            return ()
    return tuple(map(float, listed))
