"""Write values and places in a record for people."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from triggerhub.model import Json

_LONG = 60
_MANY = 5
_SIMPLE = re.compile(r"[\w-]+")


def show(value: Json) -> str:
    """Write a value briefly: a long string is cut, an object is only named, an array shows its first values."""
    match value:
        case dict():
            return "an object"
        case []:
            return "an empty array"
        case list():
            shown = [_inner(item) for item in value[:_MANY]]
            return f"[{', '.join(shown)}{', …' if len(value) > _MANY else ''}]"
        case str():
            return _quoted(value)
        case _:
            return json.dumps(value, default=str)


def choice(words: Sequence[str]) -> str:
    """Join alternatives with "or", the first few of them."""
    shown = " or ".join(words[:_MANY])
    return f"{shown} or {len(words) - _MANY} others" if len(words) > _MANY else shown


def place(path: tuple[str, ...]) -> str:
    """Write the path to a field: ``body.total``, and ``"a b".c`` for odd names."""
    return ".".join(name if _SIMPLE.fullmatch(name) else _quoted(name) for name in path) or "the record"


def _inner(value: Json) -> str:
    match value:
        case dict():
            return "{…}"
        case list():
            return "[…]"
        case _:
            return show(value)


def _quoted(text: str) -> str:
    cut = text if len(text) <= _LONG else text[:_LONG] + "…"
    # Half a surrogate pair must not reach a log file or an HTTP answer.
    return json.dumps(cut.encode("utf-8", "replace").decode(), ensure_ascii=False)
