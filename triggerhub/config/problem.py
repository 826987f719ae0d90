"""Hold what is wrong with a project, and write it as people and editors read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from triggerhub.config.locate import Path, Places, Span

Severity = Literal["error", "warning"]


MOST = 200
"""How many mistakes of one table are told: a table with more of them is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and where."""

    file: str
    """Relative to the project where it lies within."""
    line: int = 0
    """Counted from 1; 0 where the whole file is meant."""
    column: int = 0
    severity: Severity = "error"
    code: str
    """A short word with dashes: a key of :data:`triggerhub.config.codes.CODES`, or a source's own."""
    message: str
    hint: str | None = None
    """What to do about it: the end of the sentence in lower case, or a sentence of its own."""
    length: int = 0
    """Characters to underline from ``column``."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.severity}[{self.code}]: {self.message}"
        if not self.hint:
            return text
        return f"{text}{'. ' if self.hint[:1].isupper() else '; '}{self.hint}"


def render(problems: Sequence[Problem]) -> str:
    """Write one line per problem and a last one that counts them; nothing when there are none."""
    if not problems:
        return ""
    noun = "problem" if any(one.severity == "error" for one in problems) else "warning"
    count = f"{len(problems)} {noun}{'' if len(problems) == 1 else 's'}."
    return "\n".join([*map(str, problems), count])


def printable(text: str) -> str:
    """Write out what would move a terminal's cursor or end a line of a log."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def dotted(path: Iterable[str | int]) -> str:
    """Write a path as a person would: ``triggers.orders.functions[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part and part.replace("-", "").replace("_", "").isalnum() else f'"{part}"'
            text += f".{name}" if text else name
    return text


@dataclass(slots=True)
class Report:
    """Collects the problems of one file; *path* arguments say where in its document.

    *top* is the path of what the file's document is about as people call it, *line* and *column* what
    to add where the TOML is a part of a larger file.
    """

    file: str
    places: Places = field(default_factory=Places)
    line: int = 0
    column: int = 0
    problems: list[Problem] = field(default_factory=list)

    def error(
        self, path: Path, code: str, message: str, hint: str | None = None, *, at: Literal["key", "value"] = "value"
    ) -> None:
        """Note an error at the key or value of *path*, or at the nearest table around it that is written."""
        self._note(path, "error", code, message, hint, at)

    def warn(
        self, path: Path, code: str, message: str, hint: str | None = None, *, at: Literal["key", "value"] = "value"
    ) -> None:
        """Note a warning, placed like an error."""
        self._note(path, "warning", code, message, hint, at)

    def at_span(self, span: Span, code: str, message: str, hint: str | None = None) -> None:
        """Note an error at a span of the document."""
        self._add(span, "error", code, message, hint)

    def _note(
        self, path: Path, severity: Severity, code: str, message: str, hint: str | None, at: Literal["key", "value"]
    ) -> None:
        whole = path
        while path:
            look = self.places.key if at == "key" or path != whole else self.places.value
            if span := look(path):
                return self._add(span, severity, code, message, hint)
            path = path[:-1]
        return self._add(None, severity, code, message, hint)

    def _add(self, span: Span | None, severity: Severity, code: str, message: str, hint: str | None) -> None:
        self.problems.append(
            Problem(
                file=self.file,
                line=span.line + self.line if span else 0,
                column=span.column + self.column if span else 0,
                length=span.length if span else 0,
                severity=severity,
                code=code,
                message=printable(message),
                hint=hint and printable(hint),
            )
        )
