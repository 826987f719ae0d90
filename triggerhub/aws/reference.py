"""Read how callers name a function: by its name, an ARN or a part of one, with a qualifier or without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_REFERENCE = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d):)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
LATEST = "$LATEST"
NAME_LENGTH = 64
LENGTH = 256
"""The most of a reference: no longer text is looked at."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A function as it was named."""

    name: str
    qualifier: str | None = None
    account: str | None = None
    region: str | None = None


def parse(text: str) -> Reference | None:
    """Return what *text* names, None where it is no name of a function."""
    return _parsed(text) if len(text) <= LENGTH else None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Reference | None:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    return Reference(found["name"], found["qualifier"], found["account"], found["region"])


def is_version(qualifier: str) -> bool:
    """Whether a qualifier is the number of a published version; else it is an alias, or ``$LATEST``."""
    return qualifier.isascii() and qualifier.isdigit()


def is_alias(served: str) -> bool:
    """Whether the hub's own name of a function is that of an alias."""
    _, qualified, qualifier = served.partition(":")
    return bool(qualified) and not is_version(qualifier)
