"""Make the project's functions of what was discovered, what was written and what they inherit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from triggerhub.config import fitting, interpreters, metadata
from triggerhub.config.code import Code, CodeError, Shelf, broken, lacking
from triggerhub.config.complain import validate
from triggerhub.config.discover import Discovery, Found, RuntimeName
from triggerhub.config.interpreters import PROGRAMS, Missing, Wanted
from triggerhub.config.metadata import Metadata
from triggerhub.config.problem import Problem, Report, dotted
from triggerhub.config.schema import Defaults, Inline, given, merge
from triggerhub.config.schema import Function as FunctionTable
from triggerhub.config.secrets import Secrets
from triggerhub.config.values import NAME
from triggerhub.errors import ConfigError
from triggerhub.settings import AS_LAMBDA, Function, Idempotency, Interpreter, Secret


class Functions:
    """Builds every function of a project.

    ``made`` holds them by name, None where one has errors: its name is known all the same.
    """

    def __init__(self, shelf: Shelf, report: Report, secrets: Secrets, deployed: Collection[str] = frozenset()) -> None:
        """*deployed* are names of functions that were made elsewhere."""
        self._shelf = shelf
        self._report = report
        self._secrets = secrets
        self._deployed = deployed
        self.made: dict[str, Function | None] = {}
        self.given: dict[str, dict[str, Any]] = {}
        """What was written of a function, its layers merged."""
        self.inline: dict[str, tuple[str, Inline]] = {}
        """What handlers say of themselves, with the file that says it."""
        self.problems: list[Problem] = []
        self.inherited: dict[str, Any] = {}
        """What was written in ``[defaults]``."""
        self.retries: dict[str, dict[str, Any]] = {}
        """What was written of the ``retry`` of functions that were made elsewhere."""
        self._tables: Mapping[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self.sandboxes: dict[str, dict[str, Any]] = {}
        """And of their ``sandbox``, over ``[defaults]``: by the names that a function has it by."""

    def build(self, data: Mapping[str, Any], discovery: Discovery) -> None:
        """Build the functions of ``[functions]`` and of the handlers folder over ``[defaults]``."""
        inherited = validate(Defaults, data.get("defaults", {}), ("defaults",), self._report, self._secrets)
        self.inherited = self._defaults = given(inherited) if inherited else {}
        self._tables, self._discovery = data.get("functions", {}), discovery
        fitting.retry("defaults", self._defaults, self._report)
        fitting.warm(("defaults",), self._defaults, self._defaults, self._report)
        self.defaults = _inherited(self._defaults, self._shelf.project)
        used = self._used()
        self.problems += [one for name, one in discovery.unentered.items() if name not in {*used, *self._tables}]
        for name in sorted(discovery.names | discovery.undecided.keys() | self._tables.keys()):
            self.made[name] = None
            raw = self._tables.get(name, {})
            told = isinstance(raw, dict) and ("handler" in raw or "command" in raw)
            if name in discovery.undecided and not told:
                self.problems.append(discovery.undecided[name])
            elif name in discovery.unentered and not told:
                self.problems.append(replace(discovery.unentered[name], severity="error"))
            elif NAME.fullmatch(name) is None:
                message = f"{name!r} cannot be a function's name: letters, digits, '-' and '_', at most 64"
                self._report.error(("functions", name), "bad-name", message, at="key")
            elif name in self._deployed and name not in discovery.names and not told:
                del self.made[name]  # it is made where its code is
                self._elsewhere(name, raw)
            elif name in discovery.found or told or name not in discovery.names:
                self.made[name] = self._function(name, raw, discovery.found.get(name))

    def _used(self) -> set[str]:
        """Return the folders of the handlers folder that tables name something in."""
        words: list[object] = []
        for raw in self._tables.values():
            if isinstance(raw, dict):
                words.append(raw.get("handler"))
                command = raw.get("command")
                words += command if isinstance(command, list) else []
        parts = [word.split("/") for word in words if isinstance(word, str)]
        return {part for one in parts for part in one}

    def _function(self, name: str, raw: Any, found: Found | None) -> Function | None:
        """Make a function; None where that is an error, which is reported.

        What its own files say wrongly of it, whatever triggerhub.toml says, is a warning: the others go on, and on a
        reload its last good version does.
        """
        before = len(self._report.problems), len(self.problems)
        function = self._made(name, raw, found)
        told = self._report.problems[before[0] :], self.problems[before[1] :]
        wrong = _errors(*told)
        if not wrong:
            return function
        self._forget(before)
        function = self._made(name, raw, found, heeded=False)
        if _errors(self._report.problems[before[0] :], self.problems[before[1] :]):
            function = None
        self._forget(before)
        if function is not None and not self._alone(name, raw, found):
            function = None
        if function is not None:
            told = _warnings(told[0]), _warnings(told[1])
        self._report.problems += told[0]
        self.problems += told[1]
        return function and replace(function, faulty=_fault(wrong))

    def _alone(self, name: str, raw: Any, found: Found | None) -> bool:
        """Whether a function's own files are wrong where triggerhub.toml says no more of it than what its code is."""
        bare = Functions(self._shelf, Report(self._report.file), self._secrets, self._deployed)
        bare._made(name, {key: raw[key] for key in _OF_CODE if key in raw}, found)
        return bool(_errors(bare._report.problems, bare.problems))

    def _forget(self, before: tuple[int, int]) -> None:
        del self._report.problems[before[0] :], self.problems[before[1] :]

    def ignore(self, name: str, problems: Sequence[Problem]) -> list[Problem]:
        """Do without what a handler says of itself, which was found out to be wrong; return it as warnings."""
        before = len(self._report.problems), len(self.problems)
        function = self._made(name, self._tables.get(name, {}), self._discovery.found.get(name), heeded=False)
        self._forget(before)
        self.made[name] = function and replace(function, faulty=_fault(problems))
        return _warnings(problems)

    def _made(self, name: str, raw: Any, found: Found | None, *, heeded: bool = True) -> Function | None:
        """*heeded* is whether it is made as its own files say beside its code: inline metadata and packages."""
        base = ("functions", name)
        before = len(self._report.problems)
        table = validate(FunctionTable, raw, base, self._report, self._secrets)
        if table is None:
            return None
        unclear = any(key in raw and getattr(table, key) is None for key in _OF_CODE)
        code, inline = (None, Inline()) if unclear else self._code(name, table, found, heeded=heeded)
        own, said = given(table), given(inline) | given(table)
        written = merge(self._defaults, given(inline), {key: own[key] for key in own if key not in _OF_CODE})
        self.given[name] = written
        if "retry" in said:
            fitting.retry(f"functions.{name}", written, self._report)
        fitting.idempotency(name, written, said, self._report)
        fitting.sandbox(name, written, own, self._defaults, self._report)
        if code is not None:
            fitting.reuse(name, code, written, own, self._report)
        if code is not None and code.runtime == "executable":
            fitting.workers(name, own, self._report)
            written = {key: value for key, value in written.items() if key not in ("warm", "reuse")}
        elif {"warm", "concurrency"} & said.keys():
            fitting.warm(base, written, own, self._report)
        added = self._layers(name, table, written.get("layers", []))
        failed = any(problem.severity == "error" for problem in self._report.problems[before:])
        if code is None or added is None or failed:
            return None
        fitting.memory(name, written, own, self._report)
        self._look_for_program(name, code, written.get("env", {}), table)
        self.problems += fitting.weight(name, code)
        layers, opt = added
        if layers:
            fitting.layers(name, code, written, own, self._shelf.extensions(written["layers"]), self._report)
        written = {key: value for key, value in written.items() if key != "layers"}
        return _function(name, code, written | {"opt": opt}, [layers] if layers else [], self._shelf.project)

    def _layers(self, name: str, table: FunctionTable, layers: list[str]) -> tuple[str, Path | None] | None:
        """Return the name and the folder of what the layers come to; None where that is an error, which is reported."""
        if not layers:
            return "", None
        try:
            return self._shelf.opt(layers)
        except ConfigError as error:
            path = ("functions", name, "layers") if "layers" in given(table) else ("defaults", "layers")
            self._report.error(path, "bad-layer", f"{dotted(path)}: {error.message}", error.hint)
            return None

    def _code(
        self, name: str, table: FunctionTable, found: Found | None, *, heeded: bool
    ) -> tuple[Code | None, Inline]:
        base = ("functions", name)
        inline = Inline()
        if table.command is not None and table.handler is not None:
            message = f"functions.{name} has both a handler and a command"
            self._report.error((*base, "command"), "bad-handler", message, "leave one out", at="key")
            return None, inline
        if (chosen := self._interpreter(name, table)) is None:
            return None, inline
        runtime, interpreter = chosen
        key = "command" if table.command is not None else "handler" if table.handler is not None else "runtime"
        try:
            if table.command is not None:
                if runtime not in (None, "executable", "provided"):
                    raise CodeError("bad-handler", f"a command is an executable, not {table.runtime}")
                return self._shelf.of_command(name, table.command, runtime or "executable"), inline
            attribute = ""
            packages: tuple[str, ...] = ()
            if table.handler is not None:
                found, attribute = self._shelf.find(table.handler, runtime)
            elif found is None:
                self._without_code(name)
                return None, inline
            else:
                found = self._shelf.as_told(found, runtime)
            self.inline.pop(name, None)
            if found.runtime == "python" and heeded:
                said = self._said(found.entry, interpreter)
                inline, packages = said.inline, said.dependencies
                self.inline[name] = (self._shelf.show(found.entry), inline)
            sandbox = merge(self._defaults, given(table)).get("sandbox", {})
            trusted = sandbox.get("level") == "trusted"
            needs = packages if heeded else None
            return self._shelf.of_file(name, found, attribute, interpreter, needs, trusted=trusted), inline
        except ConfigError as error:
            kind = error.code if isinstance(error, CodeError) else "unreadable"
            message = f"functions.{name}: {error.message}"
            if name in self._tables:
                self._report.error((*base, key), kind, message, error.hint)
            else:
                file = self._shelf.show(found.folder_or_entry if found else self._shelf.handlers)
                self.problems.append(Problem(file=file, code=kind, message=message, hint=error.hint))
            return None, inline

    def _interpreter(self, name: str, table: FunctionTable) -> tuple[RuntimeName | None, Interpreter | None] | None:
        """Return what kind of runtime was asked for, and the interpreter, None being the hub's own.

        None where what was asked for is an error, which is reported. One that is not installed is a
        warning: the other functions go on, and a call of this one is told so.
        """
        if table.runtime is None:
            return None, None
        path, wanted = ("functions", name, "runtime"), Wanted(None)
        try:
            wanted = interpreters.parse(table.runtime)
            interpreter = interpreters.find(wanted, self._shelf.environ)
        except Missing as error:
            self._report.warn(path, "no-program", f"functions.{name} needs {error.message}", error.hint)
            interpreter = Interpreter(runtime=error.runtime, program="", name=error.name)
        except ConfigError as error:
            self._report.error(path, "bad-runtime", f"functions.{name}.runtime: {error.message}", error.hint)
            return None
        return wanted.runtime or (interpreter.runtime if interpreter else None), interpreter

    def _without_code(self, name: str) -> None:
        folder = self._shelf.show(self._shelf.handlers)
        hint = f"put {name}.py into {folder}, or write a handler or a command"
        message = f"functions.{name} has no code: nothing in {folder} is called {name}"
        self._report.error(("functions", name), "no-handler", message, hint, at="key")

    def _elsewhere(self, name: str, raw: Any) -> None:
        """Take what is said of retries and sandbox of a function that was made by the Lambda API; refuse all else."""
        table = validate(FunctionTable, raw, ("functions", name), self._report, self._secrets)
        if table is None:
            return
        written = given(table)
        for key in sorted(written.keys() - {"retry", "sandbox"}):
            message = f"functions.{name}.{key}: that function was made by the Lambda API, which alone sets its {key}"
            hint = "take it out, and use UpdateFunctionConfiguration or [defaults]; only retry and sandbox are set here"
            self._report.error(("functions", name, key), "no-handler", message, hint, at="key")
        retry = written.get("retry", {})
        policy = replace(AS_LAMBDA, **retry)
        if policy.initial > policy.max:
            path = ("functions", name, "retry", "initial" if "initial" in retry else "max")
            self._report.error(path, "bad-retry", fitting.too_long(f"functions.{name}", policy), fitting.SHORTER)
        self.retries[name] = retry
        own: dict[str, Any] = {key: written[key] for key in ("retry", "sandbox") if key in written}
        self.given[name] = merged = merge(self._defaults, own)
        if "sandbox" in own:
            fitting.sandbox(name, merged, own, self._defaults, self._report)
            self.sandboxes[name] = dict(_sandbox(merged["sandbox"], self._shelf.project))

    def _said(self, entry: Path, interpreter: Interpreter | None) -> Metadata:
        """Read a handler's inline metadata, and report what is wrong with it or with the file."""
        file = self._shelf.show(entry)
        try:
            whole = entry.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="let the hub's user read it") from None
        if wrong := broken(whole):
            line, column, reason = wrong
            # A warning: the other functions go on, and on a reload this one's last good version does.
            self.problems.append(
                Problem(
                    file=file, line=line, column=column, severity="warning", code="bad-handler",
                    message=f"{file} is not valid Python: {reason}",
                )
            )  # fmt: skip
        try:
            text = whole.decode("utf-8-sig")
        except UnicodeDecodeError:
            return Metadata()  # of another encoding
        said = metadata.read(text, file, self._secrets, interpreter)
        self.problems += said.problems
        return said

    def _look_for_program(self, name: str, code: Code, env: Mapping[str, str | Secret], table: FunctionTable) -> None:
        path = env.get("PATH", PROGRAMS)
        program = lacking(code, path if isinstance(path, str) else path.reveal())
        if program is None:
            return
        message = f"functions.{name} needs {program}, which is not installed here"
        if table.command is not None or table.handler is not None:
            key = "command" if table.command is not None else "handler"
            self._report.warn(("functions", name, key), "no-program", message)
        else:
            problem = Problem(file=code.source, severity="warning", code="no-program", message=message)
            self.problems.append(problem)


_TABLELESS = ("concurrency", "dead_letters", "idle", "rate", "reuse", "sandbox")
_OF_CODE = frozenset({"handler", "command", "runtime"})


def _errors(*told: Sequence[Problem]) -> list[Problem]:
    return [one for problems in told for one in problems if one.severity == "error"]


def _warnings(problems: Sequence[Problem]) -> list[Problem]:
    return [replace(one, severity="warning") for one in problems]


def _fault(problems: Sequence[Problem]) -> str:
    """Return what keeps a function from being started, for who calls it."""
    (first, *more) = problems
    place = f"{first.file}:{first.line}: " if first.line else f"{first.file}: "
    return f"{place}{first.message}{f' (and {len(more)} more)' if more else ''}"


def _inherited(written: Mapping[str, Any], project: Path) -> Function:
    """Return what a function that has no table takes from ``[defaults]``, as a function without code."""
    code = Code(runtime="python", handler="", command=(), version="", content="", code=Path(), source="")
    return _function("", code, {key: written[key] for key in _TABLELESS if key in written}, [], project)


def _function(name: str, code: Code, written: Mapping[str, Any], beside: Sequence[str], project: Path) -> Function:
    """*beside* names what else than its code makes a version of it."""
    parts = dict(_parts(code, written, project))
    for part in ("version", "content") if beside else ():
        words = "\0".join([parts[part], *beside])
        parts[part] = hashlib.sha256(words.encode()).hexdigest()[: len(code.version)]
    return Function(name=name, **parts)


def _parts(code: Code, written: Mapping[str, Any], project: Path) -> Iterator[tuple[str, Any]]:
    for part in ("runtime", "handler", "command", "interpreter", "needs", "version", "content", "code", "source"):
        yield part, getattr(code, part)
    for key, value in written.items():
        match key:
            case "retry":
                yield key, fitting.retry_policy(written)
            case "dead_letters":
                if "keep" in value:
                    yield "dead_letters_keep", value["keep"]
            case "idempotency":
                if value is not None:
                    yield key, Idempotency(**value)
            case "on_success" | "on_failure":
                yield key, tuple(value)
            case "sandbox":
                yield from _sandbox(value, project)
            case _:
                yield key, value


def _sandbox(value: Mapping[str, Any], project: Path) -> Iterator[tuple[str, Any]]:
    if "level" in value:
        yield "level", value["level"]
    if "network" in value:
        network = value["network"]
        yield "network", tuple(dict.fromkeys(network)) if isinstance(network, list) else network
    for part in ("read", "write"):
        yield part, tuple(Path(os.path.normpath(project / path)) for path in value.get(part, ()))
