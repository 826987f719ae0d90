"""Match strings against ``*`` patterns in one pass, without a regular expression to blow up."""

from __future__ import annotations

from collections.abc import Callable


def wildcard(pattern: str) -> Callable[[str], bool]:
    r"""Return the test for *pattern*, where ``*`` is any run of characters, ``\*`` and ``\\`` stand for themselves.

    ValueError for two stars in a row and for a backslash before anything else.
    """
    first, *rest = _pieces(pattern)
    if not rest:
        return lambda value: value == first
    *middle, last = rest
    least = len(first) + len(last)

    def test(value: str) -> bool:
        end = len(value) - len(last)
        if len(value) < least or not value.startswith(first) or not value.endswith(last):
            return False
        position = len(first)
        # The leftmost place for each piece leaves the most room for the next: no backtracking is needed.
        for piece in middle:
            found = value.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True

    return test


def _pieces(pattern: str) -> list[str]:
    """Return the literal texts between the stars."""
    pieces, literal, position = [], "", 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            escaped = pattern[position + 1 : position + 2]
            if escaped not in ("*", "\\") or not escaped:
                raise ValueError(rf"a backslash at character {position + 1} escapes neither * nor \; write \\ for one")
            literal += escaped
            position += 2
            continue
        if character == "*":
            if pattern[position + 1 : position + 2] == "*":
                raise ValueError(f"two stars in a row at character {position + 1}; one matches as much")
            pieces.append(literal)
            literal = ""
        else:
            literal += character
        position += 1
    return [*pieces, literal]
