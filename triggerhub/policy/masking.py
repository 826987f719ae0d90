"""Put dots in the place of secrets in texts that people see. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TypeAlias
from urllib.parse import unquote

from pydantic import BaseModel

from triggerhub.policy.spelling import Piece, Spelling, in_base64, in_hex, spellings, usual
from triggerhub.settings import Secret

DOTS = "•••"
CUT = "…"
"""Marks where a text was cut: beside it the part of a secret is dots, too."""
SHORTEST = 6
"""Characters of a secret that is masked: a shorter one would be found in any text."""
PART = 3
"""Characters of a part of one that is found beside a cut: of the two halves of a secret only one can be shorter."""
MOST = 1000
"""Places of a text that are looked at for such parts: more have been put there for the sake of the work."""
WIDE = 48
"""Characters of a line that base64 or hex was broken after, at least: encoders write 60 to 76 of them."""
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SIGN = "[A-Za-z0-9+/_-]"
_BREAK = re.compile(r"(?:\r|\\+r)?(?:\n|\\+n)[ \t]*")
_WIDE = re.compile(rf"{_SIGN}{{{WIDE},}}={{0,2}}")
_LINES = re.compile(rf"(?<!{_SIGN}){_SIGN}{{{WIDE},}}+(?:{_BREAK.pattern}{_SIGN}++)+")
_LAST = re.compile(rf"(?:{_SIGN}{{4}})*{_SIGN}{{2}}(?:{_SIGN}|=){{2}}|(?:[0-9A-Fa-f]{{2}}){{3,}}")
_LEAST = 2 * SHORTEST
_DIGITS = re.compile(rf"[0-9A-Fa-f]{{{_LEAST},}}")
_SMALL = str.maketrans("ABCDEF", "abcdef")
_WEB_SAFE = str.maketrans("-_", "+/")
Span: TypeAlias = tuple[int, int]
"""From where to where something stands in a text."""


class Mask:
    """Finds secrets, however what carries them has spelt them, see :mod:`triggerhub.policy.spelling`."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(texts)
        # The longest first, where one begins like another.
        every = (one for text in self._texts for one in spellings(text, SHORTEST))
        found = sorted(every, key=lambda one: len(one.text), reverse=True)
        self.pattern = re.compile(_any(found))
        self._before = {one.text: one.before for one in found if one.before}
        self._hex: dict[str, list[str]] = {}
        for digits in sorted((one for text in self._texts for one in in_hex(text)), key=len, reverse=True):
            self._hex.setdefault(digits[:_LEAST], []).append(digits)

    def __call__(self, text: str) -> str:
        """Return *text* with :data:`DOTS` for each secret, and for its part beside a :data:`CUT`.

        So is its part beside where base64 or hex was broken into lines.
        """
        return _put(text, self._hidden(text, _breaks(text)), _dots)

    def line(self, text: str) -> str:
        """Return a line alone as it is among others: one of base64 or hex may go on in those before and after."""
        begin, end = (0, 0), (len(text), len(text))
        broken = [begin, end] if _WIDE.fullmatch(text) else [begin] if _LAST.fullmatch(text) else _breaks(text)
        return _put(text, self._hidden(text, broken), _dots)

    def _hidden(self, text: str, broken: Sequence[Span]) -> list[Span]:
        """Return where secrets are and their parts, in their order, those that overlap as one."""
        found = [*self._whole(text), *self._digits(text)]
        if CUT in text:
            cuts = [cut.span() for cut in re.finditer(CUT, text)]
            found += self._usual.beside(text, cuts)
            broken = sorted([*broken, *cuts])
        if broken:
            found += self._base64.beside(text.translate(_WEB_SAFE), broken)
            found += self._broken_hex.beside(text.translate(_SMALL), broken)
        hidden = list[Span]()
        for begins, ends in sorted(found):
            if hidden and begins < hidden[-1][1]:
                begins, before = hidden.pop()
                ends = max(ends, before)
            hidden.append((begins, ends))
        return hidden

    def _whole(self, text: str) -> Iterator[Span]:
        at = 0
        for found in self.pattern.finditer(text):
            begins, at = max(self._begins(found), at), found.end()
            yield begins, at

    def _digits(self, text: str) -> Iterator[Span]:
        for found in _DIGITS.finditer(text):
            digits, start, at = found[0].lower(), found.start(), 0
            while at <= len(digits) - _LEAST:
                known = self._hex.get(digits[at : at + _LEAST], ())
                own = next((len(one) for one in known if digits.startswith(one, at)), 0)
                if own:
                    yield start + at, start + at + own
                at += own or 1

    def _begins(self, found: re.Match[str]) -> int:
        """Return where a secret begins that was found: in base64 the character before has bits of it, too."""
        begins, core = found.start(), _plain(found[0])
        if begins and found.string[begins - 1] in (self._before.get(core) or self._before.get(core[:-1]) or ""):
            return begins - 1
        return begins

    @cached_property
    def _usual(self) -> Parts:
        return Parts(one for text in self._texts for one in usual(text))

    # Of what is coded, three bytes are the least part: any line may begin or end like less of one.

    @cached_property
    def _base64(self) -> Parts:
        return Parts((one.text for text in self._texts for one in in_base64(text, SHORTEST)), 4)

    @cached_property
    def _broken_hex(self) -> Parts:
        return Parts((digits for text in self._texts for digits in in_hex(text)), 6)

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

        marked = _put(text, self._hidden(text, _breaks(text)), mark)
        return marked, {mark: secret for secret, mark in marks.items()}


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
    """Finds what a cut has left of texts."""

    def __init__(self, texts: Iterable[str], least: int = PART) -> None:
        """*least* is of how many characters a part is one."""
        self._begin, self._end = dict[str, list[str]](), dict[str, list[str]]()
        self._least, self._longest = least, 0
        for text in set(texts):
            if len(text) > least:
                self._begin.setdefault(text[:least], []).append(text)
                self._end.setdefault(text[-least:], []).append(text)
                self._longest = max(self._longest, len(text))
        self._all = "\n".join(text for found in self._begin.values() for text in found)

    def beside(self, text: str, cuts: Sequence[Span]) -> Iterator[Span]:
        """Yield where the beginning of one stands before a cut, the end of one after it, the middle between two."""
        marks = [0, *chain.from_iterable(cuts), len(text)]
        pieces = list(zip(marks[::2], marks[1::2], strict=True))
        least = self._least
        # What is cut by the hub is so at its end or its beginning: those are looked at first.
        before = ((max(at, to - self._longest), to) for at, to in reversed(pieces[:-1]))
        heads = ((place, to) for at, to in before for place in self._places(self._begin, text, at, to))
        for begins, cut in islice(heads, MOST):
            if any(one.startswith(text[begins:cut]) for one in self._begin[text[begins : begins + least]]):
                yield begins, cut
        after = ((at, min(to, at + self._longest)) for at, to in pieces[1:])
        tails = ((at, place + least) for at, to in after for place in self._places(self._end, text, at, to))
        for cut, ends in islice(tails, MOST):
            if any(one.endswith(text[cut:ends]) for one in self._end[text[ends - least : ends]]):
                yield cut, ends
        yield from ((at, to) for at, to in pieces[1:-1] if to - at > least and text[at:to] in self._all)

    def _places(self, parts: Container[str], text: str, at: int, to: int) -> Iterator[int]:
        """Yield where one of the parts stands between two places."""
        return (place for place in range(at, to - self._least + 1) if text[place : place + self._least] in parts)


def _breaks(text: str) -> list[Span]:
    """Return where base64 or hex is broken into lines, as they are or as JSON writes them."""
    if "\n" not in text and "\\n" not in text:
        return []
    return [found.span() for lines in _LINES.finditer(text) for found in _BREAK.finditer(text, *lines.span())]


def _put(text: str, spans: Iterable[Span], put: Callable[[str], str]) -> str:
    """Return *text* with what *put* returns in the place of each span."""
    pieces, at = list[str](), 0
    for begins, ends in spans:
        pieces += text[at:begins], put(text[begins:ends])
        at = ends
    return "".join([*pieces, text[at:]]) if pieces else text


def _dots(_: str) -> str:
    return DOTS


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
