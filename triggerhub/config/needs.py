"""Work out which packages a function depends on beside its own code."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triggerhub.config import interpreters
from triggerhub.errors import ConfigError
from triggerhub.runtimes import snapshot
from triggerhub.settings import Interpreter, Needs

PYTHON_FILE = "requirements.txt"
NODE_FILE = "package.json"
_LENGTH = 24
_ELSEWHERE = re.compile(r"(?m)^\s*(-|\.|[^#\n]*@\s*(file:)?\.)|(?m:file:\.)")
"""What makes a requirements.txt lead to other files of the code: options, and paths that are not whole."""
_OF_UV = ("uv.toml", "pyproject.toml")
"""What uv reads of the folder that it works in."""
_TABLES = ("dependencies", "optionalDependencies")
_OF_NPM = ("package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_AT_INSTALL = frozenset({
    "preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies",
})  # fmt: skip
"""Scripts that npm runs while it installs: with them, any file of the code may decide what becomes of it."""
_TELLING = frozenset({
    "name", "version", "private", "type", "description", "keywords", "homepage", "bugs", "license", "author",
    "contributors", "funding", "files", "main", "module", "types", "exports", "imports", "repository", "sideEffects",
})  # fmt: skip
"""Keys of a package.json that change nothing of what is installed."""
_COMMENT = re.compile(r"(?m)(^|\s)#.*$")


def of_python(
    files: Mapping[str, Path], packages: tuple[str, ...], interpreter: Interpreter | None, home: Path
) -> Needs | None:
    """Return what a Python function of *files* needs, whose inline metadata names *packages*; None for nothing.

    Code that brings its packages with it, as a Lambda archive does, needs no others. Raises ConfigError.
    """
    vendored = any(name.split("/")[0].endswith(".dist-info") for name in files)
    text = "" if vendored or PYTHON_FILE not in files else _read(files[PYTHON_FILE])
    if not _COMMENT.sub("", text).strip():
        text = ""
    if not packages and not text:
        return None
    program = interpreter.program if interpreter else sys.executable
    version = interpreter.version if interpreter else tuple(sys.version_info[:3])
    if not program:
        return None  # it cannot be run at all, which is told elsewhere
    parts = ["python", program, *map(str, version), platform.machine(), *packages, text]
    if _ELSEWHERE.search(text) or any(name in files for name in _OF_UV):
        parts.append(snapshot.version_of(files))
    return Needs(kind="python", folder=home / _name(parts), packages=packages, file=bool(text), program=program)


def of_node(files: Mapping[str, Path], home: Path) -> Needs | None:
    """Return what a Node function of *files* needs; None for nothing. Raises ConfigError.

    Code that brings its node_modules with it needs no others.
    """
    if NODE_FILE not in files or any(name.startswith("node_modules/") for name in files):
        return None
    try:
        package: Any = json.loads(_read(files[NODE_FILE]))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{NODE_FILE} is not JSON: {error}", hint="mend it; npm says more") from None
    wanted: dict[str, str] = {}
    for key in _TABLES:
        table = package.get(key, {}) if isinstance(package, dict) else {}
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ConfigError(f"{key} of {NODE_FILE} is no table of texts", hint='write "NAME": "VERSION"')
        wanted |= table
    if not wanted:
        return None
    parts = ["node", platform.machine(), json.dumps(wanted, sort_keys=True)]
    parts += [_read(files[name]) for name in _OF_NPM if name in files]
    scripts = package.get("scripts")
    rest = {key: value for key, value in package.items() if key not in _TELLING | {*_TABLES, "scripts"}}
    if rest:
        parts.append(json.dumps(rest, sort_keys=True))
    runs = "binding.gyp" in files or (isinstance(scripts, dict) and not _AT_INSTALL.isdisjoint(scripts))
    if runs or "workspaces" in package or any(one.startswith(("file:", "link:", ".", "/")) for one in wanted.values()):
        parts.append(snapshot.version_of(files))
    return Needs(kind="node", folder=home / _name(parts), file=True)


def of_provided(files: Mapping[str, Path], home: Path) -> Needs | None:
    """Return what a bootstrap of *files* needs for the ``python3`` or the ``node`` that it starts; None for nothing.

    Raises ConfigError.
    """
    node = of_node(files, home)
    if PYTHON_FILE not in files:
        return node
    python = interpreters.on_path("python3")
    needs = of_python(files, (), python or Interpreter(runtime="python", program="", name="python3"), home)
    if node is not None and needs is not None:
        raise ConfigError(
            f"it has both a {PYTHON_FILE} and a {NODE_FILE}: which of them is its bootstrap's?",
            hint="take one out, and bring its packages along",
        )
    return needs or node


def _name(parts: list[str]) -> str:
    words = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:_LENGTH]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8", hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}", hint="let the hub's user read it") from error
