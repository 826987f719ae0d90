"""Know the functions of the handlers folder that are pinned to an earlier version, and say so.

What is pinned stands in the store. The hub writes it beside the copies of code, too, so that a configuration can be
looked at while no hub runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from triggerhub.config import note
from triggerhub.config.problem import Problem
from triggerhub.settings import Function

NAME = Path("versions", "pinned.json")
"""Below the data folder."""


def write(data: Path, pins: Mapping[str, tuple[str, str]]) -> None:
    """Write down, by function, the version that it is pinned to and what the folder held then. Blocks. OSError."""
    wanted = {name: list(pin) for name, pin in pins.items()}
    if (note.read(data / NAME) or {}) != wanted:
        note.write(data / NAME, wanted, sync=False)


def said(data: Path, functions: Mapping[str, Function | None]) -> Iterator[Problem]:
    """Yield a warning for each function that does not run what the folder holds."""
    pins = note.read(data / NAME)
    for name, pin in pins.items() if isinstance(pins, dict) else ():
        function = functions.get(name)
        if function is not None and isinstance(pin, list) and len(pin) == 2 and pin[1] == function.content:
            yield Problem(
                file=function.source,
                severity="warning",
                code="pinned-version",
                message=f"function {name} is pinned to {pin[0]}; the folder holds {function.version}",
                hint=f"change its files, or `triggerhub functions rollback {name} --to {function.version}`",
            )
