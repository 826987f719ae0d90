"""Put dots in the place of secrets in texts that people see. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TypeAlias

from pydantic import BaseModel

from triggerhub.settings import Secret

Mask: TypeAlias = Callable[[str], str]
DOTS = "•••"
SHORTEST = 6
"""Characters of a secret that is masked: a shorter one would be found in any text."""


def mask(secrets: Iterable[Secret]) -> Mask | None:
    """Return what puts :data:`DOTS` for each secret, as it is and as JSON writes it; None where there are none."""
    found = {secret.reveal() for secret in secrets}
    found = {text for text in found if len(text) >= SHORTEST}
    written = {json.dumps(text, ensure_ascii=escaped)[1:-1] for text in found for escaped in (True, False)}
    if not found:
        return None
    # The longest first, where one begins like another.
    pattern = re.compile("|".join(map(re.escape, sorted(found | written, key=len, reverse=True))))
    return lambda text: pattern.sub(DOTS, text)


def secrets_in(value: object) -> Iterator[Secret]:
    """Yield the secrets anywhere in settings."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from secrets_in(member)
    elif isinstance(value, list | tuple | set | frozenset):
        for member in value:
            yield from secrets_in(member)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from secrets_in(getattr(value, field.name))
