"""Decide when deliveries become a batch, how many fit into it, and which of them a handler failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from triggerhub.model import Json, Millis
from triggerhub.policy.masking import shortened

_ENVELOPE = len(b'{"Records":[]}')


@dataclass(frozen=True, slots=True)
class AllFailed:
    """The answer names no failed records that can be believed, so every record of the batch failed."""

    reason: str
    """A sentence that a person can act on."""


def ready(due: int, oldest: Millis | None, *, size: int, window: Millis, now: Millis) -> bool:
    """Whether to make a batch now of *due* deliveries, the *oldest* of which fell due at that moment.

    A full batch never waits, and nothing due never is one. Otherwise the window runs from the moment
    the oldest fell due.
    """
    if due <= 0:
        return False
    return due >= size or oldest is None or now - oldest >= window


def look_again(due: int, oldest: Millis | None, *, size: int, window: Millis, now: Millis) -> Millis | None:
    """Return when :func:`ready` turns true if nothing more arrives; None is never."""
    if due <= 0:
        return None
    if oldest is None or due >= size:
        return now
    return max(now, oldest + window)


def fit(sizes: Sequence[int], limit: int) -> int:
    """Return how many records from the front fit into *limit* bytes, the envelope and commas included.

    A first record that is too large by itself counts as one: it must run alone to fail by itself.
    """
    total = _ENVELOPE
    for count, size in enumerate(sizes):
        total += size + 1
        if total - 1 > limit:
            return max(count, 1)
    return len(sizes)


def failed(answer: bytes, identifiers: Sequence[str]) -> frozenset[int] | AllFailed:
    """Return the indexes of the records that *answer* reports as failed; an empty set is full success.

    AWS's rules for ``ReportBatchItemFailures``: no answer, null, an empty object or list or string, and
    no, null or empty ``batchItemFailures`` are full success. An answer that is not JSON or not an object,
    an entry without ``itemIdentifier``, an empty or null one, and one that is not in the batch fail the
    whole batch. Records that share an identifier fail together.
    """
    if not answer.strip():
        return frozenset()
    try:
        value: Json = json.loads(answer)
    except (ValueError, RecursionError):
        return AllFailed("the answer is not JSON")
    if value is None or value in ("", [], {}):
        return frozenset()
    if not isinstance(value, dict):
        return AllFailed(f"the answer is {_kind(value)}; expected an object with batchItemFailures")
    entries = value.get("batchItemFailures")
    if entries is None or entries == []:
        return frozenset()
    if not isinstance(entries, list):
        return AllFailed(f"batchItemFailures is {_kind(entries)}; expected an array")
    return _indexes(entries, identifiers)


def _indexes(entries: Sequence[Json], identifiers: Sequence[str]) -> frozenset[int] | AllFailed:
    known: dict[str, list[int]] = {}
    for index, identifier in enumerate(identifiers):
        known.setdefault(identifier, []).append(index)
    named: set[int] = set()
    for place, entry in enumerate(entries):
        where = f"batchItemFailures[{place}]"
        if not isinstance(entry, dict) or "itemIdentifier" not in entry:
            return AllFailed(f"{where} has no itemIdentifier")
        identifier = entry["itemIdentifier"]
        if not isinstance(identifier, str) or not identifier:
            return AllFailed(f"{where}.itemIdentifier is {_kind(identifier)}; expected a string with a record's id")
        if identifier not in known:
            return AllFailed(f"{where}.itemIdentifier {shortened(identifier, 100)!r} is not a record of this batch")
        named.update(known[identifier])
    return frozenset(named)


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case "":
            return "empty"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
