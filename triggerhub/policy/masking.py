"""Put dots in the place of secrets in texts that people see. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from itertools import islice, pairwise
from urllib.parse import unquote

from pydantic import BaseModel

from triggerhub.policy.spelling import Piece, Spelling, spellings, usual
from triggerhub.settings import Secret

DOTS = "•••"
CUT = "…"
"""Marks where a text was cut: beside it the part of a secret is dots, too."""
SHORTEST = 6
"""Characters of a secret that is masked: a shorter one would be found in any text."""
PART = 3
"""Characters of a part of one, beside a cut: of the two halves of a secret only one can be shorter."""
MOST = 1000
"""Places of a text that are looked at for such parts: more have been put there for the sake of the work."""
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


class Mask:
    """Finds secrets, however what carries them has spelt them, see :mod:`triggerhub.policy.spelling`."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(texts)
        # The longest first, where one begins like another.
        every = (one for text in self._texts for one in spellings(text, SHORTEST))
        found = sorted(every, key=lambda one: len(one.text), reverse=True)
        self.pattern = re.compile(_any(found))
        self._before = {one.text: one.before for one in found if one.before}
        self._found = [one.text for one in found]

    def __call__(self, text: str) -> str:
        """Return *text* with :data:`DOTS` for each secret, and for its part beside a :data:`CUT`."""
        text = self._put(text, lambda _: DOTS)
        return self._parts(text) if CUT in text else text

    def _put(self, text: str, put: Callable[[str], str]) -> str:
        """Return *text* with what *put* returns in the place of each secret."""
        pieces: list[str] = []
        at = 0
        for found in self.pattern.finditer(text):
            begins = max(self._begins(found), at)
            pieces += text[at:begins], put(text[begins : found.end()])
            at = found.end()
        return "".join([*pieces, text[at:]]) if pieces else text

    def _begins(self, found: re.Match[str]) -> int:
        """Return where a secret begins that was found: in base64 the character before has bits of it, too."""
        begins, core = found.start(), _plain(found[0])
        if begins and found.string[begins - 1] in (self._before.get(core) or self._before.get(core[:-1]) or ""):
            return begins - 1
        return begins

    @cached_property
    def _parts(self) -> Parts:
        return Parts({*self._found, *(written for text in self._texts for written in usual(text))})

    def payload(self, data: bytes) -> bytes:
        """Return *data* with dots in UTF-8 for each secret, every other byte as it was; JSON stays JSON."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self(text)
        if masked == text:
            return data
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            pass
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

        def mark(secret: str) -> str:
            if secret not in marks:
                marks[secret] = next(unused)
            return marks[secret]

        return self._put(text, mark), {mark: secret for secret, mark in marks.items()}


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
    return Mask(found)


def shortened(text: str, most: int) -> str:
    """Return *text*, or its beginning and the mark of a cut, in at most *most* characters."""
    return text if len(text) <= most else text[: most - 1] + CUT


class Parts:
    """Puts dots for the parts of texts that a cut has left."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [text for text in texts if len(text) > PART]
        self._longest = max(map(len, self._texts), default=0)
        self._begins = re.compile("|".join(map(re.escape, {text[:PART] for text in self._texts})))
        self._ends = re.compile("|".join(map(re.escape, {text[-PART:] for text in self._texts})))

    def __call__(self, text: str) -> str:
        """Return *text* with dots before and after each :data:`CUT` for the part of one that is there."""
        cuts = [found.start() for found in re.finditer(CUT, text)]
        hidden: dict[int, int] = {}
        # What is cut by the hub is so at its end or its beginning: those are looked at first.
        before = ((max(past + 1, at - self._longest), at) for past, at in reversed(list(pairwise([-1, *cuts]))))
        heads = ((place, to) for at, to in before for place in _places(self._begins, text, at, to))
        for begins, cut in islice(heads, MOST):
            if any(one.startswith(text[begins:cut]) for one in self._texts):
                hidden.setdefault(begins, cut)
        after = ((at + 1, min(to, at + 1 + self._longest)) for at, to in pairwise([*cuts, len(text)]))
        tails = ((at, place + PART) for at, to in after for place in _places(self._ends, text, at, to))
        hidden |= {at: to for at, to in islice(tails, MOST) if any(one.endswith(text[at:to]) for one in self._texts)}
        told: list[str] = []
        at = 0
        for begins, ends in sorted(hidden.items()):
            if begins >= at:
                told += text[at:begins], DOTS
                at = ends
        return "".join([*told, text[at:]])


def _places(pattern: re.Pattern[str], text: str, at: int, to: int) -> Iterator[int]:
    """Yield where a pattern is found between two places, overlapping ones too."""
    while found := pattern.search(text, at, to):
        yield found.start()
        at = found.start() + 1


def _any(found: Iterable[Spelling]) -> str:
    """Return the pattern of these spellings, by their first characters: an engine looks for one of those first."""
    by_first: dict[str, list[str]] = {}
    for one in found:
        rest = "".join(map(_one, one.pieces[1:])) + (f"[{re.escape(one.after)}]?" if one.after else "")
        for first, more in one.pieces[0]:
            by_first.setdefault(first, []).append(more + rest)
    return "|".join(f"{re.escape(first)}(?:{'|'.join(rests)})" for first, rests in by_first.items())


def _one(piece: Piece) -> str:
    if len(piece) == 1 and piece[0][0].isalnum():
        return piece[0][0]
    ways = [re.escape(first) + more for first, more in piece]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _plain(base64: str) -> str:
    """Return base64 in one of its two alphabets."""
    return unquote(base64).replace("\\/", "/").replace("-", "+").replace("_", "/")


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret and, of one of several lines, each line: output is shown line by line."""
    yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from lines


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
