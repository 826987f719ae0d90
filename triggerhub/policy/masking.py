"""Put dots in the place of secrets in texts that people see. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from pydantic import BaseModel

from triggerhub.settings import Secret

DOTS = "•••"
SHORTEST = 6
"""Characters of a secret that is masked: a shorter one would be found in any text."""
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


@dataclass(frozen=True, slots=True)
class Mask:
    """Finds secrets: as they are, as JSON writes them, as JSON within JSON does, and in base64."""

    pattern: re.Pattern[str]

    def __call__(self, text: str) -> str:
        """Return *text* with :data:`DOTS` for each secret."""
        return self.pattern.sub(DOTS, text)

    def payload(self, data: bytes) -> bytes:
        """Return *data* with dots in UTF-8 for each secret, every other byte as it was; JSON stays JSON."""
        text = data.decode("utf-8", "surrogateescape")
        if not self.pattern.search(text):
            return data
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            masked = self(text)
        else:
            # What looks like a secret of digits in the middle of a number is none.
            masked = _STRING.sub(self._string, text)
        return masked.encode("utf-8", "surrogateescape")

    def _string(self, found: re.Match[str]) -> str:
        """Return a JSON string masked; all of it is dots where what looks like a secret begins within an escape."""
        masked = f'"{self(found[0][1:-1])}"'
        try:
            json.loads(masked)
        except ValueError:
            return f'"{DOTS}"'
        return masked

    def numbered(self, text: str) -> tuple[str, Mapping[str, str]]:
        """Return *text* with a mark of its own for each different secret, and what each mark stands for.

        Somebody may edit the text and :func:`restored` puts the secrets back where their marks are by then.
        """
        marks: dict[str, str] = {}
        numbers = (f"{DOTS}{number}{DOTS}" for number in range(1, len(text) + 2))
        unused = (mark for mark in numbers if mark not in text)

        def mark(found: re.Match[str]) -> str:
            if found[0] not in marks:
                marks[found[0]] = next(unused)
            return marks[found[0]]

        return self.pattern.sub(mark, text), {mark: secret for secret, mark in marks.items()}


def restored(text: str, marks: Mapping[str, str]) -> str:
    """Return *text* with what each mark of :meth:`Mask.numbered` stands for."""
    if not marks:
        return text
    return re.sub("|".join(map(re.escape, marks)), lambda found: marks[found[0]], text)


def mask(secrets: Iterable[Secret]) -> Mask | None:
    """Return what finds these secrets; None where none of them is long enough to be told from other text."""
    found = {text for secret in secrets for text in _parts(secret.reveal()) if len(text) >= SHORTEST}
    if not found:
        return None
    found |= {written for text in found for written in _written(text)}
    # The longest first, where one begins like another.
    return Mask(re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True)))))


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret and, of one of several lines, each line: output is shown line by line."""
    yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from lines


def _written(text: str) -> Iterator[str]:
    for escaped in (True, False):
        once = _quoted(text, escaped)
        yield once
        # The body of a request is a text in the event.
        yield from (_quoted(once, again) for again in (True, False))
    data = text.encode("utf-8", "surrogatepass")
    for offset in range(3):
        # Of three bytes come four characters; those that hold bits of what is beside the secret are left out.
        whole = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        core = whole[(0, 2, 3)[offset] : len(whole) - (1 if (offset + len(data)) % 3 else 0)]
        if len(core) >= SHORTEST:
            yield core


def _quoted(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)[1:-1]


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
