"""Tell in which ways a text is written by what carries it: JSON, forms and addresses, HTML, base64, hex. Pure.

A text is taken apart into characters, and each has its own ways, so that a text is found whose characters are
written in different ones: an encoder chooses what it escapes, and JSON is a text in JSON again.
"""

from __future__ import annotations

import base64
import html
import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TypeAlias
from urllib.parse import quote, quote_plus

Piece: TypeAlias = tuple[tuple[str, str], ...]
"""The ways to write a part of a text: the first character of each, and a pattern of what follows it."""
DEPTHS = (8, 4, 2, 1)
"""How often a backslash stands for one in JSON within JSON within JSON."""
_NEVER = frozenset(f"{string.ascii_letters}{string.digits}-._~")
"""What no encoder writes otherwise."""
_QUOTES = "\"'"
_AGAIN = r"(?:\\|%5[Cc])+"
"""Before what follows within one escape, of which only the beginning is told apart."""
_SHORT = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_ALPHABET = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}+/"
_WEB_SAFE = str.maketrans("+/", "-_")


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text in pieces. In base64 the characters at its ends hold bits of what is beside it, too."""

    text: str
    pieces: tuple[Piece, ...]
    before: str = ""
    """The characters one of which stands before it …"""
    after: str = ""
    """… and after it; none where an end falls between two characters."""


def spellings(text: str, shortest: int) -> Iterator[Spelling]:
    """Yield the ways in which *text* is written, but hex; in base64 with *shortest* characters of its own at least."""
    yield Spelling(text, tuple(_pieces(text)))
    yield from in_base64(text, shortest)


def in_base64(text: str, shortest: int) -> Iterator[Spelling]:
    """Yield the ways in which *text*, or what carries it, is written in base64."""
    for data in _carried(text):
        for offset in range(3):
            # Of three bytes come four characters; those at the ends have only some bits of the text.
            whole = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
            over = (offset + len(data)) % 3
            core = whole[(0, 2, 3)[offset] : len(whole) - (1 if over else 0)]
            if len(core) >= shortest:
                before = _sharing(data[0], offset, last=False) if offset else ""
                after = _sharing(data[-1], over, last=True) if over else ""
                yield Spelling(core, tuple(map(_sign, core)), before, after)


def in_hex(text: str) -> Iterator[str]:
    """Yield *text*, or what carries it, in hex of small letters."""
    return (data.hex() for data in _carried(text))


def _carried(text: str) -> Iterator[bytes]:
    once = [_quoted(text, escaped) for escaped in (False, True)]
    for carried in dict.fromkeys([text, *once, _percent(text), quote_plus(text, errors="surrogatepass")]):
        yield carried.encode("utf-8", "surrogatepass")


def usual(text: str) -> Iterator[str]:
    """Yield how encoders write *text*, each in its own way throughout."""
    yield text
    for escaped in (False, True):
        once = _quoted(text, escaped)
        yield once
        # The body of a request is a text in the event.
        yield from (_quoted(once, again) for again in (False, True))
    for coded in (_percent(text), quote(text, errors="surrogatepass"), quote_plus(text, errors="surrogatepass")):
        yield coded
        yield re.sub("%..", lambda found: found[0].lower(), coded)


def _quoted(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)[1:-1]


def _percent(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _pieces(text: str) -> Iterator[Piece]:
    for one, run in groupby(text):
        count = len(list(run))
        # Backslashes are one piece: each escapes itself, and how many there are says how deep they lie.
        yield from [_backslashes(count)] if one == "\\" else [_ways(one)] * count


def _backslashes(count: int) -> Piece:
    plain = "|".join(rf"\\{{{times * count - 1}}}" for times in DEPTHS)
    coded = "|".join(f"(?:%5[Cc]){{{times * count - 1}}}" for times in DEPTHS)
    return (("\\", f"(?:{plain})"), ("%", f"(?:5[Cc](?:{coded})|255[Cc](?:%255[Cc]){{{count - 1}}})"))


@lru_cache(maxsize=4096)
def _ways(one: str) -> Piece:
    """Return how a character is written, where there is more than one way."""
    data = one.encode("utf-8", "surrogatepass")
    if one in _NEVER:
        return ((one, ""),)
    coded = "%".join(f"(?:25)?{_hex(f'{byte:02x}')}" for byte in data)
    if not one.isascii() or not one.isprintable():
        units = one.encode("utf-16-be", "surrogatepass")
        named = [f"u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
        escapes = [_AGAIN.join(map(_hex, named)), _AGAIN.join(_hex(f"x{byte:02x}") for byte in data)]
        escapes += [_hex(f"x{ord(one):02x}")] if ord(one) < 256 else [f"U{_hex(f'{ord(one):08x}')}"]
        escapes += [_SHORT[one]] if one in _SHORT else []
        escape = f"(?:{'|'.join(escapes)})"
        return ((one, ""), ("\\", rf"\\*{escape}"), ("%", f"(?:{coded}|(?:5[Cc]%)*5[Cc]{escape})"))
    if one in _QUOTES:
        # The backslashes before it are themselves escaped, further out.
        escaped = ("\\", rf"\\*(?:{one}|{_hex(f'u{ord(one):04x}')})")
        return ((one, ""), escaped, ("%", f"(?:5[Cc]%)*{coded}"), ("&", rf"(?:#{ord(one)}|{html.escape(one)[1:-1]});"))
    if one in "<>&":
        return ((one, ""), ("\\", rf"\\*{_hex(f'u{ord(one):04x}')}"), ("%", coded), ("&", html.escape(one)[1:]))
    more: Piece = {" ": (("+", ""),), "/": (("\\", r"\\*/"),)}.get(one, ())
    return ((one, ""), ("%", coded), *more)


def _hex(digits: str) -> str:
    """Return the pattern of hexadecimal digits in either case; an ``x`` or ``u`` before them stays."""
    return "".join(f"[{one}{one.upper()}]" if one in "abcdef" else one for one in digits)


def _sign(one: str) -> Piece:
    """Return how a character of base64 is written, in either alphabet."""
    return (*_ways(one), (one.translate(_WEB_SAFE), "")) if one in "+/" else ((one, ""),)


def _sharing(byte: int, over: int, *, last: bool) -> str:
    """Return the characters that hold bits of a byte and of what is beside it, where *over* bytes make no whole."""
    own, shift = (2 * over, 2 * (3 - over)) if last else (2 * (3 - over), 0)
    bits = byte & (1 << own) - 1 if last else byte >> 8 - own
    found = [one for number, one in enumerate(_ALPHABET) if number >> shift & (1 << own) - 1 == bits]
    return "".join(found) + "".join(one.translate(_WEB_SAFE) for one in found if one in "+/")
