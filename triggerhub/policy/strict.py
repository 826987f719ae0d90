"""Tell what JSON is to everybody: Python's own reader takes NaN and Infinity besides, and other encodings."""

from __future__ import annotations

import json

from triggerhub.model import Json


def refuse(word: str) -> Json:
    """Refuse a word that Python reads as a number and no other runtime does; for ``parse_constant``."""
    raise ValueError(f"{word} is not JSON")


_read = json.JSONDecoder(parse_constant=refuse).decode


def is_json(payload: bytes) -> bool:
    """Whether *payload* is JSON in UTF-8, with no number too long for Python, so that it may stand inside of such."""
    try:
        _read(payload.decode())
    except (ValueError, RecursionError):
        return False
    return True
