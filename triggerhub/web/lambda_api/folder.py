"""Shape functions that lie in the handlers folder as the Lambda API shows them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from triggerhub.aws import arn
from triggerhub.model import Json
from triggerhub.settings import MB, SECOND, Function, Secret
from triggerhub.web.lambda_api.shape import ALWAYS, snap_start, when

NAMES = ("handler", "lambda_handler")
"""What a runtime looks for in code whose handler has no name, in this order."""
_SUFFIXES = {"python": (".py",), "node": (".js", ".mjs", ".cjs")}
"""In the order in which a runtime looks for them."""


def configuration(function: Function, qualifier: str | None) -> dict[str, Json]:
    """Return the FunctionConfiguration of a function that lies in the handlers folder."""
    env = {name: "***" if isinstance(value, Secret) else value for name, value in function.env.items()}
    return {
        "FunctionName": function.name,
        "FunctionArn": arn.function(function.name, qualifier),
        "Runtime": _runtime(function),
        "Handler": _handler(function),
        "CodeSize": 0,
        "Description": function.source,
        "Timeout": max(1, -(-function.timeout // SECOND)),
        "MemorySize": function.memory // MB,
        "EphemeralStorage": {"Size": function.tmp // MB},
        "CodeSha256": function.version,
        "Version": function.version,
        "RevisionId": function.version,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "SnapStart": snap_start(applied=False, on=False),
        **_modified(function.code),
        **({"Environment": {"Variables": env}} if env else {}),
        **ALWAYS,
    }


def _runtime(function: Function) -> str:
    match function.runtime:
        case "python":
            own = f"python{sys.version_info.major}.{sys.version_info.minor}"
            return function.interpreter.name if function.interpreter else own
        case "node":
            return function.interpreter.name if function.interpreter else "nodejs"
        case _:
            return "provided"


def _modified(code: Path) -> dict[str, Json]:
    """Return when the copy of this version was made."""
    try:
        return {"LastModified": when(code.stat().st_mtime_ns // 1_000_000)}
    except OSError:
        return {}  # it was replaced at this moment


def _handler(function: Function) -> str:
    """Return what is called: with the name that the runtime finds, where none was given."""
    if function.runtime not in ("python", "node"):
        return function.handler or Path(function.command[0]).name
    stem, dot, attribute = function.handler.rpartition(".")
    return function.handler if attribute or not dot else f"{stem}.{_found(function.code, function.runtime, stem)}"


@lru_cache(maxsize=1024)
def _found(code: Path, runtime: str, stem: str) -> str:
    """Return which of the names the code has. A version's copy never changes."""
    for suffix in _SUFFIXES[runtime]:
        try:
            text = (code / f"{stem}{suffix}").read_text("utf-8", "replace")
        except OSError:
            continue
        return attribute(text, python=runtime == "python")
    return NAMES[0]


def attribute(text: str, *, python: bool) -> str:
    """Return the first of the names that a handler may have by which *text* binds, or mentions, something."""
    if python:
        try:
            bound = set(_bound(ast.parse(text).body))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            bound = set()
    else:
        bound = {name for name in NAMES if re.search(rf"(?<![\w$]){name}(?![\w$])", text)}
    return next((name for name in NAMES if name in bound), NAMES[0])


def _bound(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements of a module bind; not those that are bound within its functions."""
    for one in statements:
        match one:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.Assign(targets=targets):
                yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                yield name
            case _:
                for field in ("body", "orelse", "finalbody"):
                    yield from _bound(getattr(one, field, ()))
                for handler in getattr(one, "handlers", ()):
                    yield from _bound(handler.body)
