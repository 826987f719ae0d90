"""Compile a pattern, with every mistake named at its place.

The grammar is EventBridge's: objects of fields, arrays of alternatives at the leaves, ``$or`` beside the
fields. Unlike event-ruler's older compiler, ``$or`` is never taken for the name of a field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from triggerhub.model import Json
from triggerhub.policy.filtering.error import PatternError
from triggerhub.policy.filtering.matcher import OPERATORS, Path, matcher
from triggerhub.policy.filtering.pattern import Either, Fields, Leaf, Pattern
from triggerhub.policy.filtering.words import show

SIZE_LIMIT = 4096
"""The longest pattern, in characters of JSON without spaces."""
DEPTH_LIMIT = 100
COMBINATION_LIMIT = 1000
"""How many ways the ``$or`` of a pattern may combine."""
OR = "$or"
RESERVED = {*OPERATORS, "=", "<", "<=", ">", ">="}
"""Names that no field inside ``$or`` may have."""


def compile(pattern: Json) -> Pattern:  # noqa: A001 - as in re.compile
    """Return the compiled pattern; PatternError names the first mistake and the path to it.

    A pattern that came from JSON text keeps the last of two equal keys, as ``json.loads`` does.
    """
    if not isinstance(pattern, dict):
        raise PatternError((), f"expected an object of fields, got {show(pattern)}")
    root, combinations = _fields(pattern, (), ())
    if combinations > COMBINATION_LIMIT:
        raise PatternError((), f"its $or combine in {combinations} ways, at most {COMBINATION_LIMIT} are allowed")
    size = len(json.dumps(pattern, ensure_ascii=False, separators=(",", ":")))
    if size > SIZE_LIMIT:
        raise PatternError((), f"the pattern has {size} characters, at most {SIZE_LIMIT} are allowed")
    return Pattern(root)


def _fields(pattern: Mapping[str, Json], path: Path, names: tuple[str, ...]) -> tuple[Fields, int]:
    """Return the node and how many ways its ``$or`` combine; *names* is the path without ``$or``."""
    if not pattern:
        raise PatternError(path, "an empty object; name at least one field")
    if len(path) > DEPTH_LIMIT:
        raise PatternError(path, f"nested deeper than {DEPTH_LIMIT} levels")
    fields: list[tuple[str, Leaf | Fields]] = []
    eithers: list[Either] = []
    combinations = 1
    for name, value in pattern.items():
        if name == OR:
            either, ways = _either(value, (*path, name), names)
            eithers.append(either)
        elif name in RESERVED and OR in path:
            raise PatternError((*path, name), f"{show(name)} is an operator and cannot be a field inside $or")
        elif isinstance(value, dict):
            node, ways = _fields(value, (*path, name), (*names, name))
            fields.append((name, node))
        else:
            fields.append((name, _leaf(value, (*path, name))))
            ways = 1
        combinations *= ways
    # A body that is not JSON is dropped by a filter that wants it to be, as Lambda's SQS mapping does.
    return Fields.of(fields, eithers, text_is_object=names != ("body",)), combinations


def _either(value: Json, path: Path, names: tuple[str, ...]) -> tuple[Either, int]:
    if not isinstance(value, list) or len(value) < 2:
        raise PatternError(path, "expected an array of at least two objects")
    options, combinations = [], 0
    for at, option in enumerate(value):
        if not isinstance(option, dict):
            raise PatternError((*path, at), f"expected an object of fields, got {show(option)}")
        node, ways = _fields(option, (*path, at), names)
        options.append(node)
        combinations += ways
    return Either(tuple(options)), combinations


def _leaf(value: Json, path: Path) -> Leaf:
    if not isinstance(value, list):
        scalar = value is None or isinstance(value, str | bool | int | float)
        wanted = f"an array such as [{show(value)}]" if scalar else "an array of values in quotes"
        raise PatternError(path, f"expected {wanted} or an object of fields, got {show(value) if scalar else value}")
    if not value:
        raise PatternError(path, "an empty array; name at least one value")
    return Leaf.of([matcher(item, (*path, at)) for at, item in enumerate(value)])
