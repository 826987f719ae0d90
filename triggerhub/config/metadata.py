"""Read what a Python handler says of itself in its inline metadata (PEP 723)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from triggerhub.config import document, refused
from triggerhub.config.complain import shown, validate
from triggerhub.config.problem import Problem, Report, dotted
from triggerhub.config.schema import Inline
from triggerhub.config.secrets import Secrets
from triggerhub.settings import Interpreter

_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""The reference implementation's expression, for this one type of block."""
_REQUIREMENT = re.compile(r"\s*[A-Za-z0-9]")
_CLAUSE = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)\s*(\d+(?:\.\d+)*)(\.\*)?\s*")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a handler says of itself."""

    inline: Inline = field(default_factory=Inline)
    """Its own limits, from ``[tool.triggerhub]``."""
    dependencies: tuple[str, ...] = ()
    """Requirements, as pip reads them."""
    problems: tuple[Problem, ...] = ()


def read(text: str, file: str, secrets: Secrets, interpreter: Interpreter | None = None) -> Metadata:
    """Return what the block says, and what is wrong with it.

    *interpreter* is what runs the handler; None is the hub's own Python.
    """
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return Metadata()
    first = text.count("\n", 0, blocks[0].start("content"))
    report = Report(file, line=first, column=2)
    if len(blocks) > 1:
        report.error((), "bad-metadata", "there is more than one block of inline metadata")
    lines = blocks[0]["content"].splitlines()
    parsed = document.parse("\n".join(line[2:] for line in lines) + "\n", report).data
    tool = parsed.get("tool")
    own = tool.get("triggerhub", {}) if isinstance(tool, dict) else {}
    wanted = parsed.get("requires-python")
    running = interpreter.version if interpreter else tuple(sys.version_info[:3])
    # One that is not there has no version, and is told of already.
    if wanted is not None and running and not _satisfied(wanted, running):
        version = ".".join(map(str, running))
        report.error(
            ("requires-python",),
            "wrong-python",
            f"requires-python is {shown(wanted)}, but the hub runs this handler with Python {version}",
            'choose another in the function\'s table, like runtime = "python3.13"',
        )
    if not isinstance(own, dict):
        report.error(("tool", "triggerhub"), "wrong-type", "tool.triggerhub: expected a table")
        own = {}
    dependencies = _dependencies(parsed.get("dependencies", []), report)
    return Metadata(_limits(own, report, secrets), dependencies, tuple(report.problems))


def _dependencies(given: Any, report: Report) -> tuple[str, ...]:
    if not isinstance(given, list):
        report.error(("dependencies",), "wrong-type", f"dependencies: expected a list of texts, got {shown(given)}")
        return ()
    for index, one in enumerate(given):
        # What begins with a dash would be an option of the installer's.
        if not isinstance(one, str) or not _REQUIREMENT.match(one) or not one.isprintable():
            message = f'dependencies: expected a requirement like "requests>=2", got {shown(one)}'
            report.error(("dependencies", index), "bad-metadata", message)
            return ()
    return tuple(given)


def _limits(own: dict[str, Any], report: Report, secrets: Secrets) -> Inline:
    base = ("tool", "triggerhub")
    for place, why in _beyond(own):
        message = f"tool.triggerhub.{dotted(place)}: a handler cannot say itself {why}"
        report.error((*base, *place), "bad-metadata", message, "write it in the function's table", at="key")
    own = {key: value for key, value in own.items() if key not in {place[0] for place, _ in _beyond(own)}}
    refused.refuse({"inline": own}, report, base)
    return validate(Inline, own, base, report, secrets) or Inline()


def _beyond(own: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Name what is more than a limit of the handler's own: whoever brings one does not say what it may touch here."""
    if "sandbox" in own:
        yield ("sandbox",), "what it may touch"
    if "layers" in own:
        yield ("layers",), "what of the host is put at /opt for it"
    variables = own.get("env")
    for name, value in variables.items() if isinstance(variables, dict) else ():
        if isinstance(value, dict):
            yield ("env", name), "which secrets it is given"
    for key in ("on_success", "on_failure"):
        targets = own.get(key)
        for index, target in enumerate(targets if isinstance(targets, list) else ()):
            if isinstance(target, str) and not target.startswith(("function:", "queue:")):
                yield (key, index), "what the hub sends or writes for it"


def _satisfied(wanted: Any, running: tuple[int, ...]) -> bool:
    """Whether a version is one of those that ``requires-python`` allows; an unreadable one allows none."""
    if not isinstance(wanted, str):
        return False
    for clause in wanted.split(",") if wanted.strip() else ():
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return False
        number = tuple(int(part) for part in match[2].split("."))
        same = running[: len(number)] == number[: len(running)]
        exact = same if match[3] else running == (*number, 0, 0)[:3]
        padded = (*number, 0, 0)[:3]
        allowed = {
            "===": exact,
            "==": exact,
            "!=": not exact,
            ">=": running >= padded,
            "<=": running <= padded,
            ">": running > padded,
            "<": running < padded,
            "~=": running >= padded and running[: len(number) - 1] == number[:-1],
        }
        if not allowed[match[1]]:
            return False
    return True
