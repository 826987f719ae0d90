"""Start a function of the handlers folder again from the copy of an earlier version.

A version is its files, the handler, the layers and what its files depend on; that is written down beside the copy, as
far as the copy does not say it itself. Everything else is as the configuration has it now. All here blocks and belongs
in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from triggerhub.config import needs, pinned
from triggerhub.config.code import links_of, salt_of
from triggerhub.config.load import ENVIRONMENTS, LAYERS, VERSIONS
from triggerhub.errors import ConfigError
from triggerhub.model import Json
from triggerhub.runtimes import snapshot
from triggerhub.settings import Function, Needs

OTHER = "Save the earlier files in the folder instead."


class Earlier:
    """The copies of versions below a data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._versions, self._environments, self._layers = data / VERSIONS, data / ENVIRONMENTS, data / LAYERS

    def describe(self, function: Function) -> tuple[Json, int]:
        """Return what is written down of a function's version, as JSON, and the bytes of its code. ConfigError."""
        words = [_within(word, function.code) for word in function.command]
        plain = [word for word, _ in words]
        interpreter, required = function.interpreter, function.needs
        code = {
            "folder": function.code.name,
            "runtime": function.runtime,
            "interpreter": interpreter.name if interpreter else None,
            "handler": function.handler,
            "command": words,
            "salt": salt_of(function.runtime, function.handler, plain, interpreter, required),
            "packages": list(required.packages) if required else [],
            "environment": required.folder.name if required else None,
            "layers": function.opt.name if function.opt else None,
            "faulty": function.faulty,
        }
        try:
            size = sum(path.stat().st_size for path in snapshot.held(function.code).values())
        except OSError as error:
            raise ConfigError(f"{function.code} cannot be read: {error.strerror}") from error
        return code, size

    def restore(self, version: str, code: Json, current: Function) -> Function:
        """Return *current* with the code of *version*, once that is seen to be whole. Raises ConfigError."""
        name = current.name
        folder = self._versions / name / code["folder"]
        files = snapshot.held(folder)
        if not files:
            raise ConfigError(f"the copy of version {version} of {name} is gone from {folder.parent}", hint=OTHER)
        if code.get("faulty"):
            raise ConfigError(f"version {version} of {name} cannot be started: {code['faulty']}", hint=OTHER)
        if snapshot.version_of(files, code["salt"]) != code["folder"]:
            raise ConfigError(f"the copy of version {version} of {name} is damaged: {folder}", hint=OTHER)
        interpreter = current.interpreter.name if current.interpreter else None
        if (code["runtime"], code["interpreter"]) != (current.runtime, interpreter):
            then, now = code["interpreter"] or code["runtime"], interpreter or current.runtime
            raise ConfigError(f"version {version} of {name} was for {then}, and {name} is for {now} now", hint=OTHER)
        opt = self._layers / code["layers"] if code["layers"] else None
        if opt is not None and not opt.is_dir():
            raise ConfigError(f"the layers of version {version} of {name} are gone: {opt}", hint=OTHER)
        required = self._needs(files, code, current)
        snapshot.keep(folder, links_of(required))
        return replace(
            current,
            handler=code["handler"],
            command=tuple(str(folder / word) if inside else word for word, inside in code["command"]),
            version=version,
            code=folder,
            needs=required,
            opt=opt,
            lost="",
            faulty="",
        )

    def _needs(self, files: dict[str, Path], code: Json, current: Function) -> Needs | None:
        """Return what the version depends on, by the interpreters that are here now."""
        if code["environment"] is None:
            return None
        home, trusted = self._environments, current.level == "trusted"
        match current.runtime:
            case "python":
                return needs.of_python(files, tuple(code["packages"]), current.interpreter, home, trusted=trusted)
            case "node":
                return needs.of_node(files, home, trusted=trusted)
            case _:
                return needs.of_provided(files, home, trusted=trusted)

    def note(self, pins: Mapping[str, tuple[str, str]]) -> None:
        """Let who looks while no hub runs know what is pinned; see ``config.pinned``. Raises ConfigError."""
        try:
            pinned.write(self._data, pins)
        except OSError as error:
            raise ConfigError(f"{self._versions} cannot be written: {error.strerror}") from error

    def remove(self, name: str, code: Json) -> None:
        """Remove a copy. What a version depended on goes at the next start."""
        snapshot.remove_tree(self._versions / name / code["folder"])

    def paths(self, name: str, code: Json) -> Iterator[Path]:
        """Yield the folders that a version is made of."""
        yield self._versions / name / code["folder"]
        if code["environment"]:
            yield self._environments / code["environment"]
        if code["layers"]:
            yield self._layers / code["layers"]


def _within(word: str, code: Path) -> tuple[str, bool]:
    """Return a word of a command, and whether it is a path within the code."""
    path = Path(word)
    return (str(path.relative_to(code)), True) if path.is_relative_to(code) else (word, False)
