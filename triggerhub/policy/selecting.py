"""Look inside a record: parse it once, and read keys out of it.

A record travels as the bytes that arrived; a filter, a key or an order must see what is in it. What
cannot be parsed has no key and matches no filter, and nothing that a sender wrote makes this raise.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from triggerhub.errors import BadInput
from triggerhub.model import Json
from triggerhub.policy.strict import refuse
from triggerhub.settings import KB

KEY_LIMIT = KB
"""The longest key, in bytes of UTF-8."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME = r"[A-Za-z_\u0080-\U0010FFFF][0-9A-Za-z_\u0080-\U0010FFFF]*"
_STEP = re.compile(
    rf"\.({_NAME})"
    r"|\[(0|-?[1-9]\d{0,8})\]"
    r"|\['([^'\\\x00-\x1f]*)'\]"
    r'|\["([^"\\\x00-\x1f]*)"\]'
)
_POSITION = re.compile(r", line \d+, column \d+$")


class KeyTooLong(BadInput):
    """A key is longer than :data:`KEY_LIMIT`."""

    def __init__(self, size: int | None = None) -> None:
        super().__init__(
            f"the key has {size} bytes, at most {KEY_LIMIT} are allowed"
            if size
            else f"the key has more than {KEY_LIMIT} bytes",
            hint="Choose a shorter value as the key, such as an id or a digest.",
        )


def limit(key: str) -> str:
    """Return *key*; KeyTooLong if it has more than 1 KB."""
    # Four bytes is the most that a character takes: most keys need no counting.
    if len(key) * 4 > KEY_LIMIT and (size := len(key.encode("utf-8", "surrogatepass"))) > KEY_LIMIT:
        raise KeyTooLong(size)
    return key


def view(data: bytes) -> Json:
    """Return the record as keys and filters see it: parsed, and a ``body`` that is JSON parsed too.

    A body stays a string where it is not JSON, is nested too deep, or ``isBase64Encoded`` says that it
    is not text. What a record of Kinesis carries is seen as its ``data``, decoded and parsed alike. A record
    that is not JSON, or that the interpreter does not parse (about a thousand levels deep, a number of more
    than 4,300 digits), is None: no key is in it, and no filter matches it.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict):
        body = record.get("body")
        if isinstance(body, str) and record.get("isBase64Encoded") is not True:
            record["body"] = _body(body)
        if record.get("eventSource") == "aws:kinesis":
            record["data"] = _data(record.get("kinesis"))
    return record


@dataclass(frozen=True, slots=True)
class Selector:
    """Reads one value out of a record; made by :func:`compile`."""

    expression: str
    _find: Callable[[Json], Json] = field(repr=False, compare=False)

    def select(self, view: Json) -> str | None:
        """Return the first match as a key, or None where nothing, null or an empty string is found.

        Strings are taken as they are; anything else is written as JSON, compact, its keys in order. A
        string that is not valid Unicode is written as JSON too. An empty string is no key: it would make
        unrelated events duplicates of one another. Raises KeyTooLong over 1 KB.
        """
        found = self._find(view)
        if found is None or found == "":
            return None
        if isinstance(found, str):
            return limit(storable(found))
        try:
            return limit(_canonical(found))
        except RecursionError:
            # So many levels are more than a kilobyte of brackets.
            raise KeyTooLong from None


@lru_cache(maxsize=1024)
def compile(expression: str) -> Selector:  # noqa: A001 - as in re.compile
    """Return the selector of ``header:NAME`` (any case, over the record's ``headers``) or a JSONPath (RFC 9535).

    ValueError says what is wrong and at which character.
    """
    if expression.startswith("header:"):
        return Selector(expression, _header(expression))
    if not expression.startswith("$"):
        raise ValueError(
            f'{expression!r} is not a key: expected "$" or "header:" at character 1; write a JSONPath like "$.order.id"'
        )
    steps = _plain(expression)
    return Selector(expression, _library(expression) if steps is None else _walk(steps))


def _body(text: str) -> Json:
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def _data(carried: Json) -> Json:
    """Return what base64 hides: JSON, or else text; None where there is neither."""
    text = carried.get("data") if isinstance(carried, dict) else None
    try:
        return _body(base64.b64decode(text, validate=True).decode()) if isinstance(text, str) else None
    except ValueError:
        return None


def storable(text: str) -> str:
    """Return a string as it is where it is valid Unicode, else written as JSON."""
    return _canonical(text) if _broken(text) else text


def _broken(text: str) -> bool:
    """Whether a string holds half a surrogate pair, which no database and no UTF-8 can."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _canonical(value: Json) -> str:
    written = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if _broken(written) else written


def _header(expression: str) -> Callable[[Json], Json]:
    name = expression.removeprefix("header:")
    if _TOKEN.fullmatch(name) is None:
        begin = _TOKEN.match(name)
        at = len("header:") + (begin.end() if begin else 0) + 1
        raise ValueError(f"{expression!r} names no header: expected a header's name at character {at}")
    wanted = name.lower()

    def find(view: Json) -> Json:
        headers = view.get("headers") if isinstance(view, dict) else None
        if not isinstance(headers, dict):
            return None
        if wanted in headers:
            return headers[wanted]
        return next((value for key, value in headers.items() if key.lower() == wanted), None)

    return find


def _plain(expression: str) -> list[str | int] | None:
    """Return the steps of a path of names and indexes, or None where it takes a whole JSONPath engine."""
    steps: list[str | int] = []
    position = 1
    while position < len(expression):
        match = _STEP.match(expression, position)
        if match is None:
            return None
        if match[2] is not None:
            steps.append(int(match[2]))
        else:
            steps.append(next(name for name in (match[1], match[3], match[4]) if name is not None))
        position = match.end()
    return steps


def _walk(steps: list[str | int]) -> Callable[[Json], Json]:
    path = tuple(steps)

    def find(view: Json) -> Json:
        value = view
        for step in path:
            if isinstance(step, str):
                if not isinstance(value, dict) or step not in value:
                    return None
            elif not isinstance(value, list) or not -len(value) <= step < len(value):
                return None
            value = value[step]
        return value

    return find


def _where(error: Any) -> str:
    """Say where the library found fault: its tokens are objects up to version 1, and tuples from 2 on."""
    token = getattr(error, "token", None)
    at = token[1] if isinstance(token, tuple) else getattr(token, "index", None)
    return "" if at is None else f" at character {at + 1}"


def _library(expression: str) -> Callable[[Json], Json]:
    import jsonpath_rfc9535

    failure = jsonpath_rfc9535.JSONPathError
    try:
        query = jsonpath_rfc9535.compile(expression)
    except RecursionError:
        raise ValueError(f"{expression[:60]!r}… is nested too deeply") from None
    except failure as error:
        said = _POSITION.sub("", str(getattr(error, "message", error)))
        raise ValueError(f"{expression!r} is not a JSONPath: {said}{_where(error)}") from None

    def find(view: Json) -> Json:
        try:
            node = query.find_one(view)
        except (failure, RecursionError):
            return None
        return None if node is None else node.value

    return find
