"""Find source modules by their type: the hub's own first, then those in the project's ``sources`` folder.

The project itself never goes on ``sys.path``: its folder is appended to the path of the ``sources``
namespace. A module of the project is imported again when a file in that folder has changed, and is
the same module as long as none has, so that a reload touches no trigger that did not change.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import traceback
from importlib.machinery import FileFinder, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import triggerhub
from triggerhub import source
from triggerhub.config.complain import suggestion
from triggerhub.config.schema import ACKS, COMMON, MAX_BATCH
from triggerhub.errors import ConfigError

BUILT_IN = Path(triggerhub.__file__).resolve().parent.parent / "sources"
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_IMPORT = re.compile(rf"{_TYPE.pattern}(\.{_TYPE.pattern})+")
_HOOKS = ("envelope", "retried", "identifier", "wrap", "fire", "samples", "check", "upcoming", "probe")

_seen: dict[Path, tuple[tuple[str, int, int], ...]] = {}
"""By project folder, what its files looked like when modules were last taken from there."""


class PluginError(ConfigError):
    """A source cannot be used; ``code`` is the problem's."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class _Loader(SourceFileLoader):
    """Reads the text each time: compiled files tell an edit by whole seconds, which is too coarse for a reload."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("no compiled files are used")


class Plugins:
    """The sources that one project can use. Making it points the ``sources`` namespace at this project."""

    def __init__(self, project: Path, built_in: Path = BUILT_IN) -> None:
        self.folder = project / "sources"
        own = self.folder.is_dir() and self.folder.resolve() != built_in
        self.names = _modules(built_in)
        self.clashes: list[tuple[Path, Path]] = []
        """Modules of one name: the one that is used, and the other."""
        for name, file in _modules(self.folder).items() if own else ():
            if name in self.names:
                self.clashes.append((self.names[name], file))
            else:
                self.names[name] = file
        self._open([built_in, *([self.folder.resolve()] if own else [])])

    def load(self, type_: str, *, fresh: bool = False) -> ModuleType:
        """Return the module of a type; *fresh* executes it again. Raises PluginError with the reason."""
        if type_ not in self.names and not _IMPORT.fullmatch(type_):
            raise PluginError(
                "unknown-type",
                f'no source named "{type_}"; there is {", ".join(sorted(self.names)) or "none"}',
                hint=self._hint(type_),
            )
        name = type_ if "." in type_ else f"sources.{type_}"
        if fresh:
            sys.modules.pop(name, None)
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise PluginError("bad-source", f'the source "{type_}" cannot be imported: {_told(error)}') from error
        _require(module, type_)
        return module

    def _hint(self, type_: str) -> str:
        close = suggestion(type_, self.names) or ""
        if close.startswith("did") or not _TYPE.fullmatch(type_):
            return close
        return f"put {type_}.py into {self.folder}"

    def _open(self, folders: list[Path]) -> None:
        spec = None if "sources" in sys.modules else PathFinder.find_spec("sources")
        origin = spec.origin if spec else getattr(sys.modules.get("sources"), "__file__", None)
        if origin:
            raise PluginError(
                "foreign-sources",
                f"a package called sources at {Path(origin).parent} hides the hub's own",
                hint="uninstall it, or give the hub an environment of its own",
            )
        if _hook not in sys.path_hooks:
            sys.path_hooks.insert(0, _hook)
        namespace = importlib.import_module("sources") if spec or "sources" in sys.modules else _namespace()
        for folder in folders[1:]:
            look = _look(folder)
            if _seen.get(folder) != look:
                _forget(folder)
                _seen[folder] = look
                sys.path_importer_cache.pop(str(folder), None)
        namespace.__path__ = [str(folder) for folder in folders]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) if name.startswith("sources.") else None
            if file and not any(Path(file).is_relative_to(folder) for folder in folders):
                del sys.modules[name]
                _seen.pop(Path(file).parent, None)


def _namespace() -> ModuleType:
    module = sys.modules["sources"] = ModuleType("sources")
    return module


def _hook(path: str) -> FileFinder:
    """Make the finder of a project's folder; every other folder is left to the interpreter."""
    if not any(Path(path).is_relative_to(folder) for folder in _seen):
        raise ImportError(path)
    return FileFinder(path, (_Loader, [".py"]))


def _modules(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.suffix == ".py" and _TYPE.fullmatch(entry.stem):
                found[entry.stem] = entry
            elif _TYPE.fullmatch(entry.name) and (entry / "__init__.py").is_file():
                found.setdefault(entry.name, entry / "__init__.py")
    return found


def _look(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = ((file, file.stat()) for file in sorted(folder.rglob("*.py")) if file.is_file())
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in files)


def _forget(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if name.startswith("sources.") else None
        if file and Path(file).is_relative_to(folder):
            del sys.modules[name]


def _told(error: BaseException) -> str:
    """Say an import's error with the place in the plug-in that it came from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: SyntaxError: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    own = [frame for frame in frames if frame.filename != __file__]
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {error}"


def _require(module: ModuleType, type_: str) -> None:
    """Raise PluginError unless the module is a source.Source."""
    options, run = getattr(module, "Options", None), getattr(module, "run", None)
    missing = []
    if not (isinstance(options, type) and issubclass(options, source.Options)):
        missing.append("a class Options derived from triggerhub.source.Options")
    if not inspect.iscoroutinefunction(run):
        missing.append("a coroutine function: async def run(ctx, options)")
    said = [f"it needs {' and '.join(missing)}"] if missing else []
    said += [f"its {name} is no function" for name in _HOOKS if not callable(getattr(module, name, len))]
    size, acks = getattr(module, "batch_size", 1), getattr(module, "acks", ACKS)
    if type(size) is not int or not 1 <= size <= MAX_BATCH:
        said.append(f"its batch_size is {size!r:.80}, expected a whole number from 1 to {MAX_BATCH}")
    if not isinstance(acks, tuple | list) or not acks or any(one not in ACKS for one in acks):
        said.append(
            f"its acks are {acks!r:.80}, expected a tuple of {' and '.join(map(json.dumps, ACKS))}, or of one of them"
        )
    if said:
        raise PluginError("bad-source", f'the source "{type_}" is not one: {"; ".join(said)}')
    if taken := sorted(COMMON & set(options.model_fields)):  # type: ignore[union-attr]
        raise PluginError(
            "bad-source",
            f'the source "{type_}" has options that every trigger has: {", ".join(taken)}',
            hint="give them other names",
        )
