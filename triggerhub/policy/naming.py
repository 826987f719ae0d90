"""Find by what names the source of a record knows it: those that a person may ask for it by. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_plus

from triggerhub.model import Json

LONGEST = 1024
"""A longer text is no name, in characters."""
_PLACES = (
    ("requestContext", "requestId"),
    ("messageId",),
    ("eventID",),
    ("id",),
    ("triggerhub", "path"),
    ("s3", "object", "key"),
)
"""Of a webhook; of SQS; of a stream; of EventBridge; of a file, of an object."""


def names(record: Json, key: str | None) -> tuple[str, ...]:
    """Return the names of a *record* (as ``selecting.view`` parsed it) whose source gave it *key*, each once."""
    found = [key, *(_at(record, place) for place in _PLACES)]
    if isinstance(found[-1], str):
        found.append(unquote_plus(found[-1]))  # as an object's key is carried, and as it is
    return tuple(dict.fromkeys(_short(found)))


def _short(found: list[Json]) -> Iterator[str]:
    for one in found:
        if isinstance(one, str) and 0 < len(one) <= LONGEST:
            yield one


def _at(record: Json, place: tuple[str, ...]) -> Json:
    for name in place:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record
