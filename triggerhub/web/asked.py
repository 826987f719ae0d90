"""Read what an admin request asks for; whatever cannot be read is BadInput with the legal form."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from triggerhub.errors import BadInput
from triggerhub.model import Json, Millis, State
from triggerhub.policy import moment, units
from triggerhub.policy.searching import Search
from triggerhub.settings import MB
from triggerhub.store import Query
from triggerhub.web.refusal import TooLarge

LIMIT = 6 * MB
"""Of a body: the most that AWS takes for a call that is waited for."""
MOST = 10_000
"""Rows in one answer; ``before`` brings the next."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def body(request: Request, most: int = LIMIT) -> bytes:
    """Return the body, at most *most* bytes of it. BadInput."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"the body is over {units.show_size(most)}", hint="Send a reference to the data instead.")
        parts.append(part)
    return b"".join(parts)


async def fields(request: Request, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Json]:
    """Return the members of a JSON object in the body, an empty body being an empty one. BadInput."""
    text = await body(request)
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadInput("expected a JSON object as body")
    for name, value in found.items():
        if name not in known:
            raise BadInput(f"there is no member {name!r}", hint=f"There is: {', '.join(known)}.")
        wanted = known[name]
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise BadInput(f"{name}: expected {kinds[-1].__name__}, got {json.dumps(value)[:60]}")
        if not _writable(json.dumps(value, ensure_ascii=False)):
            raise BadInput(f"{name}: expected a text that is valid Unicode, got {json.dumps(value)[:60]}")
    return {name: value for name, value in found.items() if value is not None}


def client_context(text: str | None) -> str | None:
    """Return the text of a JSON object, which is what AWS's client contexts are. BadInput."""
    try:
        if text is None or isinstance(json.loads(text), dict):
            return text
    except (ValueError, RecursionError):
        pass
    raise BadInput('client_context: expected a JSON object, like {"custom":{"user":"anna"}}')


async def form(request: Request, most: int = LIMIT) -> dict[str, str]:
    """Return the fields of a form in the body, of at most *most* bytes; the last of each name. BadInput."""
    text = (await body(request, most)).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1000))
    except ValueError as error:
        raise BadInput(f"the form cannot be read: {error}") from error


def _writable(text: str) -> bool:
    """Whether no half of a surrogate pair is in it, which JSON can say and no store and no answer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def flag(text: str | None) -> bool:
    """Read ``true`` or ``false``; None is false. BadInput."""
    if text not in (None, "", "0", "1", "true", "false"):
        raise BadInput(f"expected true or false, got {text!r}")
    return text in ("1", "true")


def number(text: str | None, default: int, most: int, name: str) -> int:
    """Read a whole number from 1 to *most*. BadInput."""
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise BadInput(f"{name}: expected a number from 1 to {most}, got {text!r}")
    return int(text)


def now() -> Millis:
    """Return the moment."""
    return time.time_ns() // 1_000_000


def since(text: str | None) -> Millis | None:
    """Read ``15m`` (so long ago) or an RFC 3339 time; None is None. BadInput."""
    try:
        return None if text is None else moment.since(text, now())
    except ValueError as error:
        raise BadInput(f"since: {error}") from error


def duration(text: str | None, name: str) -> Millis:
    """Read ``10m``; None is 0. BadInput."""
    try:
        return 0 if text is None else units.duration(text)
    except ValueError as error:
        raise BadInput(f"{name}: {error}") from error


def state(text: str | None) -> State | None:
    """Read a delivery's state. BadInput."""
    if not text:
        return None
    try:
        return State(text)
    except ValueError:
        raise BadInput(f"there is no state {text!r}", hint=f"There is: {', '.join(State)}.") from None


def identifier(text: str) -> str:
    """Read the id of an event or delivery. BadInput."""
    found = text.strip().lower()
    if not _ID.fullmatch(found):
        raise BadInput(f"{text[:60]!r} is not an id", hint="Ids look like 019a0000-0000-7000-8000-000000000001.")
    return found


def searched(search: Search, state: State | None, *, limit: int, before: str | None = None) -> Query:
    """Return the query for what a search chooses, its id aside, of the deliveries in *state*."""
    return Query(
        state=state,
        function=search.function,
        trigger=search.trigger,
        since=since(search.since),
        before=before,
        error=search.error,
        key=search.key,
        limit=limit,
    )


def query(request: Request) -> Query:
    """Read which deliveries to list. BadInput."""
    asked = request.query_params
    known = {"state", "function", "trigger", "since", "error", "key", "before", "limit"}
    if unknown := sorted(set(asked) - known):
        raise BadInput(f"there is no parameter {unknown[0]!r}", hint=f"There is: {', '.join(sorted(known))}.")
    return Query(
        state=state(asked.get("state")),
        function=asked.get("function") or None,
        trigger=asked.get("trigger") or None,
        since=since(asked.get("since")),
        error=asked.get("error") or None,
        key=asked.get("key") or None,
        before=identifier(asked["before"]) if asked.get("before") else None,
        limit=number(asked.get("limit"), 100, MOST, "limit"),
    )
