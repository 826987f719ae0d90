"""Spell out the characters that a terminal obeys or does not show, so that no text can pretend to be another."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but the tab, changes of direction, what has no width, halves of characters, tags."""


def spelt(text: str) -> str:
    """Return *text* on one line, each such character as Python writes it: ``\\x1b``."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
