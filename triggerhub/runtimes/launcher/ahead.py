"""Say what is imported ahead of handlers, and take it back where a function brings modules of the same names.

What a handler finds by a name must not depend on what is there already by chance: how long the hub has run.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable

NEEDED = ("atexit", "base64", "importlib.util", "io", "json", "time", "traceback", "types", "typing")
"""What the worker itself imports. Not ``threading``: what it does in each fork is a fifth of what a fork costs."""
IMPORTED = (
    "collections", "contextlib", "copy", "dataclasses", "datetime", "enum", "functools", "hashlib", "hmac", "itertools",
    "logging", "math", "operator", "os.path", "pathlib", "random", "re", "string", "struct", "tempfile", "textwrap",
    "uuid", "warnings", "decimal", "inspect", "pickle", "queue", "shutil", "subprocess", "zlib", "gzip", "zoneinfo",
    "concurrent.futures.thread", "urllib.parse", "ssl", "email.utils", "http.client", "urllib.request", "asyncio",
)  # fmt: skip
"""What handlers import most: done once here, every worker has it. What another needs comes before it."""
_PYTHONS = frozenset((
    "_abc", "_codecs", "_collections", "_collections_abc", "_frozen_importlib", "_frozen_importlib_external",
    "_functools", "_imp", "_io", "_json", "_operator", "_signal", "_sre", "_stat", "_struct", "_thread", "_tokenize",
    "_typing", "_warnings", "_weakref", "_weakrefset", "abc", "atexit", "base64", "binascii", "builtins", "codecs",
    "collections", "contextlib", "copyreg", "encodings", "enum", "functools", "genericpath", "importlib", "io",
    "itertools", "json", "keyword", "linecache", "marshal", "operator", "os", "posix", "posixpath", "re", "reprlib",
    "site", "stat", "struct", "sys", "textwrap", "threading", "time", "token", "tokenize", "traceback", "types",
    "typing", "warnings", "weakref", "zipimport",
))  # fmt: skip
"""What the worker needs, and what that needs: Python's own for whoever imports it."""


def yield_to(root: str, handler: str, lacking: Iterable[str]) -> None:
    """Forget what code in *root*, or a layer, brings itself: whoever imports it then finds that.

    *handler* is Lambda's notation; *lacking* is what of IMPORTED is not there yet. Python's own modules keep what they
    have imported of each other, so that all of them are there before any is forgotten.
    """
    python = os.path.dirname(os.__file__)
    own = handler.rpartition(".")[0]
    first = sys.path.index(python) if python in sys.path else 0
    brought = _names(root)
    if os.path.isfile(f"{root}/{own}.py"):
        # A handler may be called queue.py: whoever imports queue shall still get Python's.
        brought.discard(own)
    brought.update(*map(_names, sys.path[:first]))
    _import((brought & _PYTHONS).difference(sys.modules), first)
    wanted = (brought & sys.stdlib_module_names) - _PYTHONS
    if not wanted:
        return
    _import(lacking, first)
    before = sys.path[:first]
    sys.path.insert(0, root)
    found = {name for name in wanted if _is_in(name, (root, *before))}
    del sys.path[0]
    for name in [name for name in sys.modules if name.partition(".")[0] in found]:
        del sys.modules[name]


def _import(names: Iterable[str], first: int) -> None:
    """Import what Python has by these names, from the entry of ``sys.path`` that is its own on."""
    before = sys.path[:first]
    del sys.path[:first]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.path[:0] = before


def _names(folder: str) -> set[str]:
    try:
        return {name.partition(".")[0] for name in os.listdir(folder)}
    except OSError:
        return set()


def _is_in(name: str, folders: Iterable[str]) -> bool:
    """Whether one of *folders* is where an import finds it: a folder without code hides nothing."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None)
        if spec is not None:
            origin = spec.origin or ""
            return any(origin.startswith(f"{folder}/") for folder in folders)
    return False
