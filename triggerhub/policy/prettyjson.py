"""Lay JSON out on lines for people, every token as it came.

Pure. A parser would round numbers, drop repeated members and choose its own escapes; what is shown here
is what was received. It works on any text: what is no JSON comes out as it would be cut into tokens.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]|[^\s"\[\]{},:]++', re.DOTALL)
_STEP = "  "
DEEPEST = 200
"""Levels that are indented; what lies deeper is written on the line of its parent."""


def pretty(text: str) -> str:
    """Return *text* with a line per member and two spaces per level; empty arrays and objects stay on one line."""
    lines: list[str] = []
    line, level, fresh = "", 0, False
    for token in _TOKEN.findall(text):
        if token in "[{":
            if fresh and level <= DEEPEST:
                lines.append(line)
                line = _STEP * level
            line += token
            level += 1
            fresh = True
            continue
        if token in "]}":
            level = max(level - 1, 0)
            if fresh or level >= DEEPEST:
                line += token
            else:
                lines.append(line)
                line = _STEP * level + token
            fresh = False
            continue
        if fresh:
            if level <= DEEPEST:
                lines.append(line)
                line = _STEP * level
            fresh = False
        if token == ",":
            line += token
            if level <= DEEPEST:
                lines.append(line)
                line = _STEP * level
        elif token == ":":
            line += ": "
        else:
            line += token
    lines.append(line)
    return "\n".join(lines)
