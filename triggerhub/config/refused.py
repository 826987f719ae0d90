"""Keep the list of what is not there yet, so that it is refused by name and never accepted and ignored.

The list may only shrink: a test holds its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from triggerhub.config.locate import Path
from triggerhub.config.problem import Report, dotted

CODE = "not-available"


def _any(value: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One setting that is not in this version."""

    name: str
    """As the documentation calls it."""
    paths: tuple[tuple[str, ...], ...] = ()
    """Where it would be written; ``*`` is any name. Empty where it is no key of triggerhub.toml."""
    says: str
    """What is not in this version, as the end of a sentence."""
    when: Callable[[Any], bool] = _any
    """Which values are refused."""
    at: Literal["key", "value"] = "value"


STREAM = Refused(name="respond stream", says='"stream" is not in this version')
"""Refused by the source, whose option it is."""

REFUSED: tuple[Refused, ...] = (
    Refused(
        name="hub.store",
        paths=(("hub", "store"),),
        says="stores other than the SQLite database in the data folder are not in this version",
        at="key",
    ),
    STREAM,
)


def refuse(data: dict[str, Any], to: Report, base: Path | None = None) -> None:
    """Report every refused setting in *data* and take it out.

    *base* is where the one table of *data* really lies, for the inline metadata of a handler.
    """
    for refused in REFUSED:
        for pattern in refused.paths:
            for path, holder, key in list(_matches(data, pattern)):
                if refused.when(holder[key]):
                    real = path if base is None else (*base, *path[1:])
                    to.error(real, CODE, f"{dotted(real)}: {refused.says}", at=refused.at)
                    del holder[key]


def _matches(data: Any, pattern: tuple[str, ...], above: Path = ()) -> Iterator[tuple[Path, dict[str, Any], str]]:
    if not isinstance(data, dict):
        return
    first, rest = pattern[0], pattern[1:]
    for name in list(data) if first == "*" else [first] if first in data else []:
        if rest:
            yield from _matches(data[name], rest, (*above, name))
        else:
            yield (*above, name), data, name
