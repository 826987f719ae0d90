"""Say in AWS's words which constraints of its service description an input breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from triggerhub.aws.service import Service, Shape
from triggerhub.model import Json

_SHOWN = 1024
"""The most of a value that a message repeats, in characters."""
_NOT_NULL = "Member must not be null"


def violations(service: Service, shape: str, value: Mapping[str, Json]) -> list[str]:
    """Return a sentence for each constraint that *value*, a structure of *shape*, breaks.

    The value has the types of its shapes already (see ``restjson.read``).
    """
    return list(_structure(service, service.shapes[shape], value, ""))


def message(found: list[str]) -> str:
    """Return the message of a ValidationException."""
    return f"{len(found)} validation error{'' if len(found) == 1 else 's'} detected: {'; '.join(found)}"


def violation(value: Json, at: str, constraint: str) -> str:
    """Return the sentence that tells one broken constraint of the member *at*."""
    shown = "Value null" if value is None else f"Value '{_show(value)}'"
    return f"{shown} at '{at}' failed to satisfy constraint: {constraint}"


def _structure(service: Service, shape: Shape, value: Mapping[str, Json], at: str) -> Iterator[str]:
    required = shape.get("required", ())
    for name, reference in shape.get("members", {}).items():
        path = f"{at}{name[:1].lower()}{name[1:]}"
        if name in value:
            yield from _value(service, service.shapes[reference["shape"]], value[name], path)
        elif name in required:
            yield violation(None, path, _NOT_NULL)


def _value(service: Service, shape: Shape, value: Json, at: str) -> Iterator[str]:
    match shape["type"]:
        case "structure":
            yield from _structure(service, shape, value, f"{at}.")
        case "list":
            yield from _own(shape, value, at)
            member = service.shapes[shape["member"]["shape"]]
            if member["type"] == "structure":
                for number, one in enumerate(value, 1):
                    yield from _structure(service, member, one, f"{at}.{number}.member.")
            elif not all(_holds(member, one) for one in value):
                wanted = ", ".join([*_constraints(member), _NOT_NULL])
                yield violation(value, at, f"Member must satisfy constraint: [{wanted}]")
        case "map":
            yield from _own(shape, value, at)
            for what, part, found in (("keys", "key", list(value)), ("value", "value", list(value.values()))):
                inner = service.shapes[shape[part]["shape"]]
                if inner["type"] == "list":
                    for one in found:
                        yield from _value(service, inner, one, f"{at}.{what}")
                elif not all(_holds(inner, one) for one in found):
                    wanted = ", ".join([*_constraints(inner), _NOT_NULL])
                    shown = "***" if inner.get("sensitive") or shape.get("sensitive") else value
                    yield violation(shown, at, f"Map {what} must satisfy constraint: [{wanted}]")
        case _:
            yield from _own(shape, value, at)


def _own(shape: Shape, value: Json, at: str) -> Iterator[str]:
    shown = "***" if shape.get("sensitive") else value
    broken = [constraint for constraint, holds in _checks(shape, value) if not holds]
    # A pattern may take very long over a text that is far too long anyway.
    for constraint in broken[:1] if broken and "length" in broken[0] else broken:
        yield violation(shown, at, constraint)


def _holds(shape: Shape, value: Json) -> bool:
    return all(holds for _, holds in _checks(shape, value))


def _constraints(shape: Shape) -> list[str]:
    """Return everything that a member must satisfy, as a list's or map's message tells it."""
    return [constraint for constraint, _ in _checks(shape, None)]


def _checks(shape: Shape, value: Json) -> Iterator[tuple[str, bool]]:
    """Yield each constraint of a shape that has no members, and whether *value* satisfies it; None satisfies all."""
    kind = shape["type"]
    sized = kind in ("string", "list", "map", "blob")
    size = value if value is None or not sized else len(value)
    word = "length" if sized else "value"
    if "max" in shape:
        yield f"Member must have {word} less than or equal to {shape['max']}", size is None or size <= shape["max"]
        if size is not None and sized and size > shape["max"]:
            return
    if "min" in shape:
        yield f"Member must have {word} greater than or equal to {shape['min']}", size is None or size >= shape["min"]
    if "enum" in shape:
        allowed = ", ".join(shape["enum"])
        yield f"Member must satisfy enum value set: [{allowed}]", value is None or value in shape["enum"]
    if "pattern" in shape:
        fits = value is None or _pattern(shape["pattern"]).fullmatch(value) is not None
        yield f"Member must satisfy regular expression pattern: {shape['pattern']}", fits


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    # AWS writes Java's expressions. Letters, numbers and separators of any script are \w and \s in Python.
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r"\s")):
        text = text.replace(java, python)
    return re.compile(text)


def _show(value: Json) -> str:
    match value:
        case Mapping():
            text = "{" + ", ".join(f"{key}={_show(one)}" for key, one in value.items()) + "}"
        case list():
            text = "[" + ", ".join(map(_show, value)) + "]"
        case bool():
            text = "true" if value else "false"
        case bytes():
            text = f"{len(value)} bytes"
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
