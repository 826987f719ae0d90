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
from triggerhub.policy import requirement
from triggerhub.runtimes import snapshot
from triggerhub.settings import Interpreter, Needs

PYTHON_FILE = "requirements.txt"
NODE_FILE = "package.json"
_LENGTH = 24
_OF_UV = ("uv.toml", "pyproject.toml")
"""What uv reads of the folder that it works in."""
_COMMENT = re.compile(r"(?m)(^|\s)#.*$")


def of_python(
    files: Mapping[str, Path], packages: tuple[str, ...], interpreter: Interpreter | None, home: Path, *, trusted: bool
) -> Needs | None:
    """Return what a Python function of *files* needs, whose inline metadata names *packages*; None for nothing.

    *trusted*: at that level, which shares no environment with others. Code that brings its packages with it, as a
    Lambda archive does, needs no others. Raises ConfigError.
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
    apart = not requirement.of_python(packages, text) or any(name in files for name in _OF_UV)
    folder = home / _name(parts, files, trusted=trusted, apart=apart)
    return Needs(kind="python", folder=folder, packages=packages, file=bool(text), program=program, apart=apart)


def of_node(files: Mapping[str, Path], home: Path, *, trusted: bool) -> Needs | None:
    """Return what a Node function of *files* needs; None for nothing. *trusted* as for Python. Raises ConfigError.

    Code that brings its node_modules with it needs no others.
    """
    if NODE_FILE not in files or any(name.startswith("node_modules/") for name in files):
        return None
    package = _package(files[NODE_FILE])
    if not any(package.get(key) for key in requirement.TABLES):
        return None
    beside = {name: _read(files[name]) for name in requirement.OF_NPM if name in files}
    parts = ["node", platform.machine(), json.dumps(requirement.decisive(package), sort_keys=True)]
    parts += (word for pair in beside.items() for word in pair)
    apart = "binding.gyp" in files or not requirement.of_node(package, beside)
    return Needs(kind="node", folder=home / _name(parts, files, trusted=trusted, apart=apart), file=True, apart=apart)


def _package(path: Path) -> dict[str, Any]:
    try:
        package: Any = json.loads(_read(path))
        json.dumps(package)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{NODE_FILE} is not JSON: {error}", hint="mend it; npm says more") from None
    if not isinstance(package, dict):
        return {}
    for key in requirement.TABLES:
        table = package.get(key, {})
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ConfigError(f"{key} of {NODE_FILE} is no table of texts", hint='write "NAME": "VERSION"')
    return package


def of_provided(files: Mapping[str, Path], home: Path, *, trusted: bool) -> Needs | None:
    """Return what a bootstrap of *files* needs for the ``python3`` or the ``node`` that it starts; None for nothing.

    Raises ConfigError.
    """
    node = of_node(files, home, trusted=trusted)
    if PYTHON_FILE not in files:
        return node
    python = interpreters.on_path("python3")
    chosen = python or Interpreter(runtime="python", program="", name="python3")
    needs = of_python(files, (), chosen, home, trusted=trusted)
    if node is not None and needs is not None:
        raise ConfigError(
            f"it has both a {PYTHON_FILE} and a {NODE_FILE}: which of them is its bootstrap's?",
            hint="take one out, and bring its packages along",
        )
    return needs or node


def _name(parts: list[str], files: Mapping[str, Path], *, trusted: bool, apart: bool) -> str:
    """Return the name of all that decides what is in an environment."""
    # What no sandbox held at its installation is for none that counts on one, and the other way round.
    parts = [*parts, "trusted" if trusted else "", snapshot.version_of(files) if apart else ""]
    words = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:_LENGTH]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8", hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}", hint="let the hub's user read it") from error
