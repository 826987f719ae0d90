"""Read what the docstrings below a table's keys say of them.

Only schemas and references are made of it: pydantic would read the source of every table at each start.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator

from pydantic import BaseModel


def below(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's keys by their names, those it has from its bases included.

    A module whose source cannot be had has none.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            found |= _of_module(one.__module__).get(one.__qualname__, {})
    return found


def _of_module(name: str) -> dict[str, dict[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return {}
    return dict(_classes(tree, ""))


def _classes(node: ast.Module | ast.ClassDef, above: str) -> Iterator[tuple[str, dict[str, str]]]:
    for one in node.body:
        if isinstance(one, ast.ClassDef):
            yield above + one.name, dict(_keys(one))
            yield from _classes(one, f"{above}{one.name}.")


def _keys(table: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for key, said in zip(table.body, table.body[1:], strict=False):
        if (
            isinstance(key, ast.AnnAssign)
            and isinstance(key.target, ast.Name)
            and isinstance(said, ast.Expr)
            and isinstance(said.value, ast.Constant)
            and isinstance(said.value.value, str)
        ):
            yield key.target.id, inspect.cleandoc(said.value.value)
