"""Match texts as IAM's policies do: by ``*``, ``?`` and policy variables such as ``${aws:username}``. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase

Known = Mapping[str, tuple[str, ...]]
"""What is known of a request, by the lower-case names of condition keys."""
VARIABLES = (
    "aws:username", "aws:userid", "aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalType", "aws:SourceIp",
    "aws:CurrentTime", "aws:EpochTime", "aws:SecureTransport", "aws:RequestedRegion",
)  # fmt: skip
"""What a policy variable may name: what is known of every request that a key has signed."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_SIGNS = re.compile(r"[*?[]")
_LITERAL = ("*", "?", "$")


class Late(Mapping[str, tuple[str, ...]]):
    """What is known of a request, found out once somebody asks for it: most policies do not."""

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], Known]) -> None:
        self._find = find
        self._found: Known | None = None

    def _known(self) -> Known:
        if self._found is None:
            self._found = self._find()
        return self._found

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._known()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


def check_variables(text: str) -> None:
    """Raise ValueError for a policy variable that is none here."""
    for one in _VARIABLE.finditer(text):
        name, _, default = one[1].partition(",")
        if one[1] in _LITERAL:
            continue
        if name.strip().lower() not in map(str.lower, VARIABLES):
            raise ValueError(f"there is no policy variable {one[0][:60]}; there are {', '.join(VARIABLES)}")
        if default and not re.fullmatch(r"\s*'[^']*'\s*", default):
            raise ValueError(f"{one[0][:60]}: a default is written like ${{{name.strip()}, 'text'}}")
    if "${" in _VARIABLE.sub("", text):
        raise ValueError(f"{text[:60]!r} opens a policy variable that it does not close")


def without_variables(text: str) -> str:
    """Return a text that stands for itself where policies of the older version, which has none, wrote *text*."""
    return text.replace("${", "${$}{")


def like(value: str, pattern: str, known: Known) -> bool:
    """Whether *value* is what *pattern*, with its wildcards and variables, stands for."""
    if pattern == "*":
        return True
    if "${" not in pattern:
        # Of a pattern's signs IAM has these two alone.
        return fnmatchcase(value, pattern.replace("[", "[[]"))
    parts = list(_parts(pattern, known))
    if None in parts:
        return False
    return fnmatchcase(value, "".join(part for part in parts if part is not None))


def filled(text: str, known: Known) -> str | None:
    """Return *text* with the values of its variables; None where one is not known."""
    if "${" not in text:
        return text
    parts, end = [], 0
    for one in _VARIABLE.finditer(text):
        value = _value(one[1], known)
        if value is None:
            return None
        parts += [text[end : one.start()], value]
        end = one.end()
    return "".join((*parts, text[end:]))


def _parts(pattern: str, known: Known) -> Iterator[str | None]:
    """Yield the parts of a glob in which the values of variables stand for themselves; None for one without a value."""
    end = 0
    for one in _VARIABLE.finditer(pattern):
        yield pattern[end : one.start()].replace("[", "[[]")
        value = _value(one[1], known)
        yield None if value is None else _SIGNS.sub(r"[\g<0>]", value)
        end = one.end()
    yield pattern[end:].replace("[", "[[]")


def _value(variable: str, known: Known) -> str | None:
    if variable in _LITERAL:
        return variable
    name, comma, default = variable.partition(",")
    found = known.get(name.strip().lower())
    if found and len(found) == 1:
        return found[0]
    return default.strip()[1:-1] if comma else None
