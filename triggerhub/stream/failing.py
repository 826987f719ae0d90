"""Tell apart what the services of streams refuse, where that is no mere trouble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from triggerhub.awsfault import AwsFault
from triggerhub.model import Millis
from triggerhub.stream.endpoint import ExpiredError, GoneError, TrimmedError

_CODES: Mapping[str, type[Exception]] = {
    "ExpiredIteratorException": ExpiredError,
    "TrimmedDataAccessException": TrimmedError,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise what an endpoint may raise in the place of an AwsFault that is one of these; others as they are."""
    try:
        yield
    except AwsFault as fault:
        if kind := _CODES.get(fault.code):
            raise kind(fault.message) from fault
        if fault.kind == "missing":
            raise GoneError(fault.message, hint=fault.hint) from fault
        raise


def clock(answer: Mapping[str, Any]) -> Millis | None:
    """Return when a service answered, by its own clock; None where it does not say."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000) if date else None
    except ValueError:
        return None
