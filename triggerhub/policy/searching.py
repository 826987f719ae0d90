"""Read the words of a search for deliveries: ``fn:hello state:dead since:1h error~"timed out" key:order-7``.

Pure. One line of text is the whole search, so that it can be typed, linked to and sent to a colleague.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from triggerhub.model import Delivery, Fault, Millis, State
from triggerhub.policy import units

WORDS = {
    "fn:": "the function's name",
    "trigger:": "the trigger's name",
    "state:": ", ".join(State),
    "since:": "how long ago, like 15m, 1h or 2d",
    "error~": "a part of the error's text",
    "key:": "the dedup or ordering key, whole",
}
"""What each word is followed by."""
_NAMES = {"fn": "function", "function": "function"}
_WORD = re.compile(r'([a-z]+)([:~])(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN = re.compile(r'[^\s"\\]+')


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched for; every part that is there must hold."""

    function: str | None = None
    trigger: str | None = None
    state: State | None = None
    since: str | None = None
    """How long ago, as it was written."""
    error: str | None = None
    key: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        """Return the text that :func:`parse` reads this from."""
        parts = [self.id] if self.id else []
        for word in WORDS:
            name, mark = word[:-1], word[-1]
            value = getattr(self, _NAMES.get(name, name))
            if value is not None:
                parts.append(f"{name}{mark}{_quoted(str(value))}")
        return " ".join(parts)


def parse(text: str) -> Search:
    """Return the search that *text* asks for. ValueError says which word is none, and what the words are."""
    found: dict[str, str | State] = {}
    position, text = 0, text.strip()
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            word = text[position:].split(None, 1)[0]
            name, value = "id", word.lower()
            if not _ID.fullmatch(value):
                raise ValueError(f"{word[:60]!r} says not what to search in; write {_legal()}")
            end = position + len(word)
        else:
            name, value, end = _read(match), _value(match), match.end()
        if name in found:
            raise ValueError(f"{name} is there twice; every word of a search must hold")
        found[name] = _checked(name, value)
        position = len(text) - len(text[end:].lstrip())
        if position == end < len(text):
            raise ValueError(f"expected a space before {text[end : end + 60]!r}")
    return Search(**found)  # type: ignore[arg-type]


def holds(search: Search, row: Delivery, now: Millis) -> bool:
    """Whether a delivery is one that is searched for."""
    error = f"{row.error.type}: {row.error.message}" if row.error else ""
    return (
        search.function in (None, row.function)
        and search.trigger in (None, row.trigger)
        and search.state in (None, row.state)
        and (search.since is None or row.created >= now - units.duration(search.since))
        and (search.error is None or search.error.lower() in error.lower())
        and (search.key is None or search.key in (row.dedup_key, row.ordering_key))
        and search.id in (None, row.id, row.event_id)
    )


def _read(match: re.Match[str]) -> str:
    word = match[1] + match[2]
    name = _NAMES.get(match[1], match[1])
    if word not in WORDS and word != "function:":
        raise ValueError(f"there is no word {word!r}; write {_legal()}")
    return name


def _value(match: re.Match[str]) -> str:
    if match[3] is None and match[4].startswith('"'):
        raise ValueError(f"the quote that begins with {match[4][:60]} is not closed")
    value = match[4] if match[3] is None else re.sub(r"\\(.)", r"\1", match[3], flags=re.DOTALL)
    if not value:
        word = match[1] + match[2]
        raise ValueError(f"{word} is followed by {WORDS['fn:' if word == 'function:' else word]}")
    return value


def _checked(name: str, value: str) -> str | State:
    if name == "state":
        try:
            return State(value)
        except ValueError:
            raise ValueError(f"there is no state {value!r}; there is {', '.join(State)}") from None
    if name == "since":
        units.duration(value)
    return value


def _legal() -> str:
    return ", ".join(f"{word}…" for word in WORDS)


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


PARTS = tuple(one.name for one in fields(Search))
"""The names of a search's parts."""


def tells(error: Fault, part: str, *, typed: bool) -> bool:
    """Whether an error's text, or its type alone, has *part* in it, in whichever case."""
    return lowered(part) in lowered(error.type if typed else f"{error.type}: {error.message}")


def lowered(text: str) -> str:
    """Lower what SQLite lowers: the letters of ASCII."""
    return "".join(one.lower() if one.isascii() else one for one in text)
