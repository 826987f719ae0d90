"""Turn a handler or a command into a version of code that can be started."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from triggerhub.config import needs
from triggerhub.config.discover import BOOTSTRAP, RUNTIMES, Found, RuntimeName, entry_of, runtime_of
from triggerhub.config.interpreters import PROGRAMS
from triggerhub.errors import ConfigError
from triggerhub.policy.sandbox import view
from triggerhub.runtimes import layers as assembly
from triggerhub.runtimes import snapshot
from triggerhub.settings import Interpreter, Needs

_HANDLER = re.compile(r"[\w.$/-]+")
"""What a runtime of one's own may be told to run; Lambda's rule is looser only in its other signs."""


class CodeError(ConfigError):
    """A function's code cannot be used; ``code`` is the problem's."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What ``settings.Function`` says of its code."""

    runtime: RuntimeName
    handler: str
    command: tuple[str, ...]
    version: str
    content: str
    code: Path
    source: str
    interpreter: Interpreter | None = None
    needs: Needs | None = None
    program: str | None = None
    """What a command begins with, where that is to be found on the PATH."""
    size: int = 0
    """Of all its files, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a project's code lies, and where its versions are kept; None hashes them only."""

    project: Path
    handlers: Path
    versions: Path | None
    environ: Mapping[str, str]
    """The hub's own variables: where interpreters are looked for."""
    data: Path
    """The hub's own folder."""
    layers: Path | None = None
    """Where layers are put together; None looks at them only."""
    environments: Path = Path()
    """Where the packages are that functions depend on."""

    def show(self, path: Path) -> str:
        """Write a path as people know it."""
        return str(path.relative_to(self.project)) if path.is_relative_to(self.project) else str(path)

    def find(self, handler: str, runtime: RuntimeName | None) -> tuple[Found, str]:
        """Return the file that ``FILE`` or ``FILE:ATTRIBUTE`` names, and the attribute. Raises CodeError."""
        name, _, attribute = handler.partition(":")
        path = Path(os.path.normpath(self.handlers / name))
        if not path.is_relative_to(self.handlers) or path == self.handlers:
            raise CodeError("outside", f'"{name}" is not within {self.show(self.handlers)}')
        if path.is_dir():
            entries = entry_of(path)
            if len(entries) != 1:
                hint = f'name the file: "{name}/main.py"'
                raise CodeError("bad-handler", f"{self.show(path)} is a folder with {len(entries)} entries", hint=hint)
            path = entries[0]
        if not path.is_file():
            raise CodeError("no-handler", f"there is no {self.show(path)}", hint=self._nearest(name, attribute))
        found = Found(entry=path, runtime=self._runtime(path, runtime), folder=path.parent != self.handlers)
        fits = _HANDLER.fullmatch(attribute) if found.runtime == "provided" else attribute.isidentifier()
        if attribute and not fits:
            raise CodeError("bad-handler", f'"{attribute}" cannot be the name of a function in {name}')
        return found, attribute

    def _nearest(self, name: str, attribute: str) -> str | None:
        """Return the handler that may have been meant where there is no file of that name."""
        stem, dot, last = name.rpartition(".")
        if dot and f".{last}" in RUNTIMES:
            name = stem
        elif dot and not attribute and last.isidentifier():
            name, attribute = stem, last  # as Lambda writes it: FILE.NAME
        there: dict[str, str] = {}
        for path in (*self.handlers.glob("*"), *self.handlers.glob("*/*")):
            file = str(path.relative_to(self.handlers))
            if not file.startswith(("_", ".", "node_modules")) and path.is_file() and runtime_of(path) is not None:
                there[file.removesuffix(path.suffix)] = file
        if not (close := get_close_matches(name, there, n=1, cutoff=0.6)):
            return None
        return f'did you mean "{there[close[0]]}{attribute and f":{attribute}"}"?'

    def as_told(self, found: Found, runtime: RuntimeName | None) -> Found:
        """Return what was discovered, to be run by *runtime*. Raises CodeError where that cannot be."""
        return Found(entry=found.entry, runtime=self._runtime(found.entry, runtime), folder=found.folder)

    def _runtime(self, path: Path, wanted: RuntimeName | None) -> RuntimeName:
        in_folder = path.name == BOOTSTRAP and path.parent != self.handlers
        natural = "provided" if in_folder and os.access(path, os.X_OK) else runtime_of(path)
        if wanted is None and natural is None:
            hint = "give it a #! line and make it executable"
            raise CodeError(
                "bad-handler", f"{self.show(path)} is neither .py, .js, .mjs, .cjs nor executable", hint=hint
            )
        programs = ("executable", "provided")
        if wanted in programs and not os.access(path, os.X_OK):
            raise CodeError("bad-handler", f"{self.show(path)} is not executable", hint=f"chmod +x {self.show(path)}")
        if wanted not in (None, *programs) and wanted != natural:
            suffixes = " or ".join(suffix for suffix, runtime in RUNTIMES.items() if runtime == wanted)
            raise CodeError("bad-handler", f"a handler for {wanted} ends in {suffixes}, not {path.name}")
        runtime = wanted or natural
        assert runtime is not None
        if runtime not in programs and "." in path.stem:
            raise CodeError("bad-handler", f"{path.name} cannot be imported by that name: it has two dots")
        return runtime

    def of_file(
        self,
        name: str,
        found: Found,
        attribute: str = "",
        interpreter: Interpreter | None = None,
        packages: tuple[str, ...] | None = (),
        *,
        trusted: bool = False,
    ) -> Code:
        """Keep the version of a handler's file or folder. Raises ConfigError for what cannot be read.

        *packages* are what the handler's inline metadata depends on; None ignores all that it depends on. *trusted* is
        whether it runs at that level.
        """
        entry = found.entry
        files = snapshot.files_of_folder(entry.parent) if found.folder else snapshot.files_of_file(entry)
        if found.runtime == "executable":
            return self._kept(name, found.runtime, "", [_In(entry.name)], files, self.show(entry))
        provided = found.runtime == "provided"
        try:
            if packages is None:
                required = None
            elif found.runtime == "python":
                required = needs.of_python(files, packages, interpreter, self.environments, trusted=trusted)
            elif provided:
                required = needs.of_provided(files, self.environments, trusted=trusted)
            else:
                required = needs.of_node(files, self.environments, trusted=trusted)
        except ConfigError as error:
            raise CodeError("bad-dependencies", error.message, hint=error.hint) from None
        handler = attribute or BOOTSTRAP if provided else f"{entry.stem}.{attribute}"
        words = [_In(entry.name)] if provided else []
        return self._kept(name, found.runtime, handler, words, files, self.show(entry), interpreter, required)

    def of_command(self, name: str, command: Sequence[str], runtime: RuntimeName = "executable") -> Code:
        """Keep the version of the files within the handlers folder that a command names. Raises ConfigError."""
        words: list[str | _In] = []
        files: dict[str, Path] = {}
        for number, word in enumerate(command):
            path = Path(os.path.normpath(self.project / word)) if word and not word.startswith("-") else None
            if path is None or not path.is_relative_to(self.handlers) or path == self.handlers:
                words.append(self._program(word) if number == 0 else word)
                continue
            if not path.exists():
                raise CodeError("no-handler", f"there is no {self.show(path)}")
            if number == 0 and not os.access(path, os.X_OK):
                raise CodeError(
                    "bad-handler", f"{self.show(path)} is not executable", hint=f"chmod +x {self.show(path)}"
                )
            files |= self._files(path)
            words.append(_In(str(path.relative_to(self.handlers))))
        first = next((word for word in words if isinstance(word, _In)), None)
        source = self.show(self.handlers / first) if first else " ".join(command)
        handler = BOOTSTRAP if runtime == "provided" else ""
        return self._kept(name, runtime, handler, words, files, source)

    def opt(self, layers: Sequence[str]) -> tuple[str, Path | None]:
        """Return the name of what layers come to, and their folder where it is kept. Raises ConfigError."""
        paths = [self.project / layer for layer in layers]
        for path in paths:
            self._refuse(path)
        if self.layers is None:
            name = assembly.identify(paths)
            assembly.check(paths)
            return name, None
        folder = assembly.assemble(self.layers, paths)
        return folder.name, folder

    def _refuse(self, layer: Path) -> None:
        """Let no layer show what no grant may, nor all handlers' code: it would change with every one of them."""
        real, data, handlers = (os.path.realpath(path) for path in (layer, self.data, self.handlers))
        if view.within(real, data):
            why = "that is the hub's data"
        elif view.within(data, real) or view.within(handlers, real):
            inside = "the hub's data" if view.within(data, real) else "every handler"
            why = f"{inside} is in it"
        else:
            return
        raise ConfigError(f"{layer} cannot be a layer: {why}", hint="name a folder beside it, such as layers/tools")

    def extensions(self, layers: Sequence[str]) -> list[str]:
        """Name the programs that layers bring to run beside the runtime. Raises ConfigError."""
        return assembly.extensions([self.project / layer for layer in layers])

    def _files(self, path: Path) -> Mapping[str, Path]:
        if path.parent == self.handlers and path.is_file():
            return snapshot.files_of_file(path)
        folder = path if path.is_dir() else path.parent
        inside = folder.relative_to(self.handlers)
        return {str(inside / name): file for name, file in snapshot.files_of_folder(folder).items()}

    def _program(self, word: str) -> str:
        if "/" not in word:
            return word
        if not word.startswith("/"):
            hint = f"put it into {self.show(self.handlers)}, or write the whole path"
            raise CodeError("outside", f'"{word}" is not within {self.show(self.handlers)}', hint=hint)
        if not os.access(word, os.X_OK):
            raise CodeError("no-handler", f"{word} is not an executable file")
        return word

    def _kept(
        self,
        name: str,
        runtime: RuntimeName,
        handler: str,
        words: Sequence[str],
        files: Mapping[str, Path],
        source: str,
        interpreter: Interpreter | None = None,
        required: Needs | None = None,
    ) -> Code:
        salt = salt_of(runtime, handler, words, interpreter, required)
        if self.versions is None:
            version, folder = snapshot.version_of(files, salt), Path()
        else:
            version, folder = snapshot.snapshot(self.versions, name, files, salt, links_of(required))
        own = salt_of(runtime, handler, words, interpreter, None)
        content = version if required is None else snapshot.version_of(files, own)
        command = tuple(str(folder / word) if isinstance(word, _In) else word for word in words)
        within = not words or isinstance(words[0], _In) or "/" in words[0]
        return Code(
            runtime=runtime,
            handler=handler,
            command=command,
            version=version,
            content=content,
            code=folder,
            source=source,
            interpreter=interpreter,
            needs=required,
            program=None if within else words[0],
            size=snapshot.size_of(files),
        )


def salt_of(
    runtime: RuntimeName, handler: str, words: Sequence[str], interpreter: Interpreter | None, required: Needs | None
) -> list[str]:
    """Return what besides its files makes a version of code."""
    salt = [runtime, handler, *words, *([interpreter.program, interpreter.name] if interpreter else [])]
    return salt if required is None else [*salt, required.folder.name]


def links_of(required: Needs | None) -> dict[str, Path]:
    """Return what a copy of code links to: modules of Node are looked for beside the code and nowhere else."""
    return {"node_modules": required.folder / "node_modules"} if required and required.kind == "node" else {}


class _In(str):
    """A path within the snapshot."""

    __slots__ = ()


def broken(text: bytes) -> tuple[int, int, str] | None:
    """Return line, column and reason where a Python handler does not compile, in whichever encoding it says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "handler", "exec", dont_inherit=True)
        except SyntaxError as error:
            return error.lineno or 1, error.offset or 1, error.msg
        except (ValueError, RecursionError, MemoryError) as error:
            return 1, 1, str(error) or "it is nested too deeply"
    return None


def lacking(code: Code, path: str | None) -> str | None:
    """Return the program that a function needs and this host does not have."""
    if code.runtime == "node" and code.interpreter is None:
        return None if shutil.which("node") else "node"
    return code.program if code.program and shutil.which(code.program, path=path or PROGRAMS) is None else None
