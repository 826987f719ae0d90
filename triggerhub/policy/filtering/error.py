"""Say what is wrong with a pattern, and where in it."""

from __future__ import annotations

from triggerhub.errors import BadInput


class PatternError(BadInput):
    """A pattern that cannot be compiled; ``path`` leads to the place: names of fields, indexes of arrays."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path
